"""The command `hardball`, and `python -m hardball`."""

import os
import signal
import sys


def start() -> None:
    """Run the command. Ctrl-C is one line and exit code 130 before, within and after it."""
    try:
        from hardball.cli.main import main
    except KeyboardInterrupt:
        sys.stderr.write("hardball: interrupted\n")
        sys.exit(130)
    try:
        main()
    finally:
        # nothing is left to interrupt, and the interpreter's own end would answer with a traceback
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))


if __name__ == "__main__":
    start()
