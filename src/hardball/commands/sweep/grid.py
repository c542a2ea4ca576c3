"""A grid of trainings, as a YAML file writes it: one base, and what the trials have of their own."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Self

from hardball import names, settings_file, storage
from hardball.errors import UserError, unknown
from hardball.presets import Values

MOST = 10_000
"""Trials of a sweep."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """So many of the trials, drawn without replacement."""

    n: int
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """The attacks, stronger than that of the training, that tell masking from robustness."""

    n: int = 200
    """Images, of those that the training held out."""
    attacks: list[str] = field(
        default_factory=lambda: ["pgd-100", "pgd-margin-100", "targeted-pgd-20"]
    )
    """Names, as those of `hardball evaluate --attacks`."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"probe n={self.n}; allowed is 1 or more")
        if not self.attacks:
            raise UserError("probe without attacks; name one or several, e.g. [pgd-100]")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a sweep tries."""

    base: Values = field(default_factory=dict)
    """Settings that all trials have."""
    axes: tuple[Mapping[str, list[Any]], ...] = ()
    """Products: setting → its values."""
    trials: tuple[Values, ...] = ()
    """Further trials, each with the settings of its own."""
    sample: Sample | None = None
    probe: ProbePlan = field(default_factory=ProbePlan)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """From the content of a file.

        Raises:
            UserError: an unknown key, an axis that is no list, nothing to try, more than `MOST` trials.
        """
        known = [one.name for one in fields(cls)]
        for key in content:
            if key not in known:
                raise unknown("key of a sweep", key, known)
        base, sample = content.get("base") or {}, content.get("sample")
        for name, value in (("base", base), ("sample", sample or {})):
            _refuse_unless_mapping(name, value)
        given = content.get("axes") or []
        axes = tuple(_axes(one) for one in (given if isinstance(given, list) else [given]))
        trials = content.get("trials") or []
        if not isinstance(trials, list):
            raise UserError(f"trials={_shown(trials)} is no list; write [{{lr: 0.1}}, ...]")
        for number, one in enumerate(trials, 1):
            _refuse_unless_mapping(f"trial {number} of trials", one)
        found = cls(
            base=base,
            axes=axes,
            trials=tuple(trials),
            sample=None if sample is None else names.made("sample", "sample", Sample, **sample),
            probe=_probe(content.get("probe")),
        )
        found._check_size()
        return found

    def _check_size(self) -> None:
        count = self.size
        if not count:
            raise UserError(
                "no axes and no trials, so nothing to try; give axes: {lr: [0.1, 0.01]}, or trials"
            )
        if count > MOST:
            raise UserError(f"{count:,} trials; allowed are {MOST:,}: shorten an axis")
        if self.sample is not None and not 1 <= self.sample.n <= count:
            raise UserError(
                f"sample n={self.sample.n} of {count} trials; allowed is 1 … {count}: leave sample out "
                "for all of them"
            )

    @property
    def size(self) -> int:
        """Trials before any sampling."""
        return len(self.trials) + sum(math.prod(map(len, one.values())) for one in self.axes)

    def own_settings(self) -> list[Values]:
        """Those of each trial, in the order of the file."""
        every = [*self._products(), *self.trials]
        if self.sample is None:
            return every
        places = Random(self.sample.seed).sample(range(len(every)), self.sample.n)
        return [every[place] for place in sorted(places)]

    def _products(self) -> Iterator[Values]:
        for one in self.axes:
            for values in product(*one.values()):
                yield dict(zip(one, values, strict=True))


def read_grid(path: Path) -> tuple[Grid, dict[str, Any]]:
    """The grid in a YAML file, and the file's content.

    Raises:
        UserError: see `Grid.of`; or no YAML file.
    """
    content = storage.read_bytes(path, "sweep")
    try:
        found = settings_file.parse(content)
    except ValueError as error:
        raise UserError(f"{path} is no sweep: {error}") from error
    return Grid.of(found), found


def _axes(one: Any) -> dict[str, list[Any]]:
    _refuse_unless_mapping("axes", one)
    if not one:
        raise UserError(
            "axes={} names no setting; write a setting and its values: {lr: [0.1, 0.01]}"
        )
    for name, values in one.items():
        if not isinstance(values, list):
            raise UserError(
                f"the axis {name}={_shown(values)} is no list; write [{_shown(values)}], or move it "
                "to base"
            )
        if not values:
            raise UserError(f"the axis {name} is empty, so no trial is left; give it a value")
    return dict(one)


def _probe(given: Any) -> ProbePlan:
    _refuse_unless_mapping("probe", given or {})
    found: ProbePlan = names.made("probe", "probe", ProbePlan, **(given or {}))
    return found


def _refuse_unless_mapping(what: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"{what}={_shown(value)} is no mapping; write settings and their values")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
