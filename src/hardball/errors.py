"""The one error that a user's own input can raise."""

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: the message echoes the value, says what is allowed and names the cure.

    The command line prints the message as one line and exits with code 2.
    """


def unknown(kind: str, name: object, known: Iterable[object]) -> UserError:
    """An unknown name, answered with the names that exist."""
    names = ", ".join(sorted(str(k) for k in known))
    return UserError(f"unknown {kind} {name!r}; there are: {names}")
