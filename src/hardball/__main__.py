"""`python -m hardball`."""

from hardball.cli import main

main()
