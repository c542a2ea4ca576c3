"""Settings by the short names of their flags, for tests that set one or two of them."""

from dataclasses import fields, replace
from typing import Any

from hardball.training.settings import PARTS, Settings

SHORT = {"optimizer": ("optimizer", "name"), "attack_mode": ("attack", "mode")}
"""Short names that are not the field's own."""


def settings(base: Settings | None = None, **values: Any) -> Settings:
    """`base` (the defaults) with other values: settings(lr=0.1, steps=3)."""
    found = base or Settings()
    changes: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, field = SHORT.get(name, (_group_of(name), name))
        inner = changes if group is None else parts.setdefault(group, {})
        inner[field] = value
    made = {group: replace(getattr(found, group), **inner) for group, inner in parts.items()}
    return replace(found, **changes, **made)


def _group_of(field: str) -> str | None:
    return next((g for g, part in PARTS.items() if field in {f.name for f in fields(part)}), None)
