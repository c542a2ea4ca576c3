"""Names that users write: a key of a table, or "package.module:name" of code of their own.

Every seam resolves its names here: models, data sets, attacks, objectives, curricula, certificates.
"""

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hardball.errors import Untrusted, UserError, unknown

T = TypeVar("T")


def is_own(name: str) -> bool:
    """The name is of the form "package.module:name": code outside hardball."""
    return ":" in name


def find(kind: str, name: str, known: Mapping[str, T], *, trusted: bool = True) -> T | Any:
    """The object that a name refers to.

    Args:
        kind: of what is looked for, as messages say it ("attack").
        name: a key of `known`, or "package.module:name" of something importable (the current
            directory counts).
        known: the table.
        trusted: False where a file names it, and not the user: then only the table's names count,
            and nothing is imported.

    Raises:
        UserError: no such name, or nothing importable.
        Untrusted: code of somebody's own, unasked.
    """
    if not isinstance(name, str):  # a file may say anything
        raise UserError(f"the {kind} {name!r} is no name; name one of {', '.join(sorted(known))}")
    if not is_own(name):
        if name not in known:
            raise unknown(
                kind, name, [*known, f"your.module:{kind.rsplit(maxsplit=1)[-1].capitalize()}"]
            )
        return known[name]
    if not trusted:
        refuse_code(kind, name)
    return _imported(kind, name)


def refuse_code(kind: str, name: object) -> None:
    """Refuse a file's name for code outside hardball, before anything is imported.

    Raises:
        Untrusted: it is one, or no name at all.
    """
    if not isinstance(name, str) or is_own(name):
        raise Untrusted(
            f"the {kind} {name!r} is code outside hardball, which a file asks to run; nothing was "
            "imported: if you trust it pass `trust_model_code=true` (from Python: trust=True)"
        )


def instance(kind: str, name: str, known: Mapping[str, T], base: type[T]) -> T:
    """What a user's name refers to, as an instance of `base`: a class is called without arguments,
    an instance is taken as it is.

    Raises:
        UserError: no such name, a class that needs arguments, or something else than a `base`.
    """
    found = find(kind, name, known)
    if isinstance(found, type) and issubclass(found, base):
        found = made(kind, name, found)
    return derived(kind, name, found, base)


def derived(kind: str, name: str, thing: object, base: type[T]) -> T:
    """`thing` itself, seen to be an instance of `base`.

    Raises:
        UserError: it is not.
    """
    if not isinstance(thing, base):
        what = f"the class {thing.__qualname__}" if isinstance(thing, type) else repr(thing)
        package = base.__module__.rpartition(".")[0]
        raise UserError(
            f"{kind} {name!r} is {what[:60]}; allowed is an instance of a class derived from "
            f"{package}.{base.__qualname__}"
        )
    return thing


def _imported(kind: str, name: str) -> Any:
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        imported = importlib.import_module(module)
        there = hasattr(imported, attribute)  # which may import more
    except (ImportError, ValueError, TypeError) as error:  # the last two: no or a relative name
        raise UserError(
            f"{kind} {name!r}: {error}; name an importable module, e.g. mymodule:Mine"
        ) from error
    except Exception as error:  # whatever a user's module does when it is imported
        raise UserError(
            f"{kind} {name!r}: {module} cannot be imported: {_where(error)}; correct it"
        ) from error
    if not there:
        raise UserError(f"{kind} {name!r}: {module} has no {attribute!r}; check the spelling")
    return getattr(imported, attribute)


def _where(error: Exception) -> str:
    """What went wrong while a module was imported, with file and line."""
    said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}"
    if isinstance(error, SyntaxError):
        return said  # which ends in (nets.py, line 3)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{said} ({Path(last.filename).name}, line {last.lineno})"


def made(kind: str, name: str, maker: Any, /, *positional: Any, **arguments: Any) -> Any:
    """`maker` called with a user's arguments.

    Raises:
        UserError: it is not callable, or does not take them. The fields of a dataclass must be of the
            types that it declares.
    """
    if not callable(maker):
        raise UserError(f"{kind} {name!r} is a {type(maker).__name__}; name a class or a function")
    if is_dataclass(maker):
        check_types(f"{kind} {name}", _hints(maker), arguments)
    try:
        return maker(*positional, **arguments)
    except TypeError as error:
        raise UserError(f"{kind} {name} with {arguments}: {error}; change its arguments") from error


def check_types(what: str, kinds: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse values of other types than declared: a YAML file may say anything.

    Args:
        what: what the values are of, as messages say it.
        kinds: name → type; names that are not in it are not looked at.
        values: name → value.

    Raises:
        UserError: the first that does not fit.
    """
    for name, kind in kinds.items():
        if name in values and not _fits(values[name], kind):
            allowed = getattr(kind, "__name__", str(kind)) if isinstance(kind, type) else str(kind)
            raise UserError(
                f"{what}: {name}={_shown(values[name])}; allowed is {allowed.replace('typing.', '')}"
            )


def _hints(maker: Any) -> dict[str, Any]:
    try:
        return get_type_hints(maker)
    except (TypeError, NameError, AttributeError):  # names that do not resolve
        return {}


def _fits(value: object, kind: Any) -> bool:
    """A value from YAML is of a declared type. What is no plain type is not looked into."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return value in inner
    if kind in (int, float):  # a bool is an int to Python, and an int does for a float
        return isinstance(value, int if kind is int else int | float) and not isinstance(
            value, bool
        )
    if kind is Path:
        return isinstance(value, str | Path)
    if origin is list:
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value)
    plain = kind if origin is None else origin
    return plain not in (bool, str, dict, type(None)) or isinstance(value, plain)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def name_of(thing: object, known: Mapping[str, object]) -> str:
    """The name by which `find` gives this class or function."""
    return next(
        (name for name, value in known.items() if value is thing),
        f"{getattr(thing, '__module__', '?')}:{getattr(thing, '__qualname__', '?')}",
    )
