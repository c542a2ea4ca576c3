"""Errors that a user's own input can raise, by what is to be done about them.

Messages speak of arguments: `data_root` in backticks, or `steps=20` with a value. The command line
shows them as flags (see `as_flags`).
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input: the message echoes the value, says what is allowed and names the cure.

    The command line prints the message as one line and exits with code 2.

    Example:
        >>> try:
        ...     hb.LInf(8)
        ... except hb.UserError as error:
        ...     print(type(error).__name__)
        UserError
    """


class LostProcess(UserError):
    """Another process of the same work has ended. Each one that is left says so and fails by itself: the
    one that usually speaks for all may be the lost one."""


class CannotRun(UserError):
    """An attack, a check or a certificate cannot run here; others may."""


class MissingExtra(CannotRun):
    """A package of one of hardball's extras is not installed."""


class NoGradient(CannotRun):
    """No gradient flows from the model's logits to its images."""


class Unsupported(CannotRun):
    """A norm, or images of a shape, that this attack does not know."""


class StorageError(UserError):
    """A file cannot be read or written."""


class Damaged(StorageError):
    """A file is not what it should be: truncated, changed, or of another kind."""


class WrongArchitecture(UserError):
    """Weights of one network cannot be loaded into another."""


class Untrusted(UserError):
    """A file names code of somebody's own, and nobody has said that it may run."""


class Contradiction(UserError):
    """Two results cannot both be true."""


def unknown(kind: str, name: object, known: Iterable[object]) -> UserError:
    """An unknown name, answered with the nearest one and all that exist."""
    names = sorted(str(k) for k in known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UserError(f"unknown {kind} {name!r}; {hint}there are: {', '.join(names) or 'none yet'}")


def as_flags(message: str) -> str:
    """A message with its arguments written as the command line has them: `data_root` becomes
    --data-root, `steps=20` becomes --steps 20."""

    def flag(found: re.Match[str]) -> str:
        name, equals, value = found[1].partition("=")
        return f"--{name.replace('_', '-')}" + (f" {value}" if equals else "")

    return re.sub(r"`([a-z][a-z0-9_.]*(?:=[^`]*)?)`", flag, message)
