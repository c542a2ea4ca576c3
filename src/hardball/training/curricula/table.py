"""Curricula by name."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from hardball import names
from hardball.errors import UserError
from hardball.training.curricula.adaptive import Adaptive
from hardball.training.curricula.base import Curriculum
from hardball.training.curricula.constant import Constant
from hardball.training.curricula.iterative import Iterative

CURRICULA: dict[str, type[Any]] = {
    "constant": Constant,
    "iterative": Iterative,
    "adaptive": Adaptive,
}
"""name → class, whose first field is the target ε."""


def curriculum_class(name: str, *, trusted: bool = True) -> type[Any]:
    """The class of a curriculum: a key of `CURRICULA`, or "package.module:Class".

    Raises:
        UserError: no such name, or no dataclass whose first field is the target ε.
        Untrusted: see `names.find`.
    """
    found = names.find("curriculum", name, CURRICULA, trusted=trusted)
    if not (isinstance(found, type) and is_dataclass(found) and fields(found)):
        raise UserError(
            f"curriculum {name!r} is a {type(found).__name__}; name a dataclass whose first field is "
            "the target ε"
        )
    return found


def target_field(maker: type[Any]) -> str:
    """The name of the field that takes the target ε."""
    return fields(maker)[0].name


def curriculum_from(spec: Mapping[str, Any], *, trusted: bool = True) -> Curriculum:
    """The curriculum that `as_spec` describes.

    Raises:
        UserError: no such curriculum, or values that it refuses.
        Untrusted: see `names.find`.
    """
    values = {key: value for key, value in spec.items() if key not in ("name", "target")}
    name = str(spec.get("name"))
    maker = curriculum_class(name, trusted=trusted)
    found: Curriculum = names.made("curriculum", name, maker, spec.get("target"), **values)
    return found


def as_spec(curriculum: Curriculum) -> dict[str, Any]:
    """Name, target ε and further fields: what config.yaml says of a curriculum."""
    maker: type[Any] = type(curriculum)
    values = dict(vars(curriculum))
    if is_dataclass(maker):
        values.pop(target_field(maker), None)
    values.pop("target", None)
    name = names.name_of(maker, CURRICULA)
    return {"name": name, "target": curriculum.target, **values}
