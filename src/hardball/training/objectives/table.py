"""Objectives by name."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hardball import names
from hardball.errors import UserError
from hardball.training.objectives.attacked import MART, TRADES, Adversarial, GaussianNoise
from hardball.training.objectives.base import Objective
from hardball.training.objectives.certified import MTLIBP, SABR, CROWNIBPLoss, IBPLoss

OBJECTIVES: dict[str, type[Objective]] = {
    "adversarial": Adversarial,
    "trades": TRADES,
    "mart": MART,
    "ibp": IBPLoss,
    "mtl-ibp": MTLIBP,
    "sabr": SABR,
    "crown-ibp": CROWNIBPLoss,
    "noise": GaussianNoise,
}
"""name → class."""


def objective_class(name: str, *, trusted: bool = True) -> type[Objective]:
    """The class of an objective: a key of `OBJECTIVES`, or "package.module:Class".

    Raises:
        UserError: no such name, or no subclass of `Objective`.
        Untrusted: see `names.find`.
    """
    found = names.find("objective", name, OBJECTIVES, trusted=trusted)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise UserError(f"objective {name!r} is no class derived from hardball.Objective; name one")
    return found


def objective_from(spec: Mapping[str, Any], *, trusted: bool = True) -> Objective:
    """The objective that `objective_spec` describes.

    Raises:
        UserError: no such objective, or values that it refuses.
        Untrusted: see `names.find`.
    """
    values = {key: value for key, value in spec.items() if key != "name"}
    name = str(spec.get("name"))
    maker = objective_class(name, trusted=trusted)
    found: Objective = names.made("objective", name, maker, **values)
    return found


def objective_spec(objective: Objective) -> dict[str, Any]:
    """Name and fields: what config.yaml says of an objective."""
    values = {field.name: getattr(objective, field.name) for field in fields(objective)}
    return {"name": names.name_of(type(objective), OBJECTIVES), **values}
