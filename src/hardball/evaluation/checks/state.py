"""What a module keeps from one pass to the next: buffers, parameters, attributes of any depth, what
its functions close over, and the variables of the modules that its code is written in."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

State = dict[str, str]
"""place → digest of what is there"""

DEPTH = 12
"""How far attributes of attributes are followed."""

LIBRARIES = ("torch", "numpy", "hardball", "builtins", "torchvision", "scipy")
"""Whose modules keep no state of a network's; their variables are not looked at."""

FOREIGN = sys.stdlib_module_names - {"types", "__main__"}
"""Whose objects are not looked into, unless `_parts` knows their kind: loggers, locks, files."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, np.generic)


def state_of(model: nn.Module) -> State:
    """Digests of everything found, by where it is."""
    found: State = {}
    seen: set[int] = set()
    for place, value in _roots(model):
        for where, content in _walk(place, value, seen, DEPTH):
            found[where] = content
    return found


def differing(one: State, other: State) -> list[str]:
    """The places whose content is not the same in both."""
    return sorted(place for place in one.keys() | other if one.get(place) != other.get(place))


def _roots(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The model, and the variables of the modules that define its parts."""
    yield "model", model
    homes = {type(part).__module__ for part in model.modules()}
    for name in sorted(homes):
        if name.partition(".")[0] not in LIBRARIES and name in sys.modules:
            yield from _variables(name, vars(sys.modules[name]))


def _variables(name: str, variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    kinds = (ModuleType, type)  # those of other files, and classes, hold what others use too
    for key, value in variables.items():
        if not key.startswith("__") and not isinstance(value, kinds):
            yield f"{name}.{key}", value


def _walk(place: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, str]]:
    """(place, digest) of a value and of what it holds."""
    if isinstance(value, PLAIN):
        yield place, repr(value)
        return
    if id(value) in seen or depth == 0:
        return
    seen.add(id(value))
    if isinstance(value, Tensor | np.ndarray):
        yield place, _numbers(value)
        return
    for key, part in _parts(value):
        yield f"{place}{key}", "there"
        yield from _walk(f"{place}{key}", part, seen, depth - 1)


def _numbers(value: Tensor | np.ndarray[Any, Any]) -> str:
    array = value.detach().cpu() if isinstance(value, Tensor) else value
    if isinstance(array, Tensor):
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    # objects have addresses, not numbers
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return sha256(f"{array.dtype} {array.shape} ".encode() + content).hexdigest()


Parts = list[tuple[str, Any]]
"""(suffix of the place, what is there) of what a value holds."""


def _parts(value: Any) -> Parts:
    for kind, look in LOOKS.items():
        if isinstance(value, kind):
            return look(value)
    if hasattr(value, "cache_info"):
        return [(".cached", value.cache_info().currsize), (".__wrapped__", value.__wrapped__)]
    return _attributes(value) if _is_of_the_network(value) else []


def _of_function(value: FunctionType) -> Parts:
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=False)
    return [
        *[(f"<{name}>", cell.cell_contents) for name, cell in cells if _is_filled(cell)],
        *[(f"({i})", part) for i, part in enumerate(value.__defaults__ or ())],
        *[(f"({key})", part) for key, part in (value.__kwdefaults__ or {}).items()],
        *[(f".{key}", part) for key, part in vars(value).items()],
    ]


def _attributes(value: Any) -> Parts:
    slots = [
        name
        for kind in type(value).__mro__
        for name in _names(vars(kind).get("__slots__", ()))
        if not name.startswith("__") and hasattr(value, name)
    ]
    own = list(getattr(value, "__dict__", {}).items())
    return [(f".{key}", part) for key, part in [*own, *((k, getattr(value, k)) for k in slots)]]


LOOKS: dict[Any, Callable[[Any], Parts]] = {
    Mapping: lambda value: [(f"[{_key(key)}]", part) for key, part in list(value.items())],
    list | tuple | deque: lambda value: [(f"[{i}]", part) for i, part in enumerate(value)],
    set | frozenset: lambda value: [(f"{{{_key(part)}}}", None) for part in value],
    MethodType: lambda value: [("", value.__func__), (".__self__", value.__self__)],
    FunctionType: _of_function,
    ModuleType | type: lambda value: [],
    partial: lambda value: [("", value.func), ("()", value.args), ("(**)", value.keywords)],
    nn.Module: _attributes,
}
"""What is looked at in a value of each kind."""


def _is_of_the_network(value: Any) -> bool:
    home = type(value).__module__.partition(".")[0]
    return home not in LIBRARIES and home not in FOREIGN


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _key(key: object) -> str:
    """A key in words that are the same from call to call: an object's own would have its address."""
    if isinstance(key, PLAIN):
        return repr(key)
    if isinstance(key, tuple):
        return f"({', '.join(map(_key, key))})"
    return type(key).__qualname__
