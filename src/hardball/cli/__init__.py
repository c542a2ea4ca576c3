"""The command `hardball`: parse, call, print; no logic."""

from hardball.cli.main import main

__all__ = ["main"]
