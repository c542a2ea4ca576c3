"""Networks to play with: what `hardball explore` shows, apart from the page it is shown on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardball.attacks import Attack
from hardball.commands.drawing import as_image, extent
from hardball.commands.measure import trained_eps, trained_norm
from hardball.commands.side_by_side import distinct_names, side_by_side
from hardball.commands.subject import LoadConfig, Split, Subject
from hardball.errors import UserError
from hardball.evaluation import protocols
from hardball.interpretation import Look, look
from hardball.report import explore_pictures
from hardball.threats import GEOMETRIES, ThreatModel

MOST_RUNS = 4
"""Side by side."""

NORMS = ("linf", "l2", "l0")
"""Norms whose ε is something to move."""


@dataclass(frozen=True, kw_only=True)
class ExploreConfig(LoadConfig):
    """Which runs, and where the page is."""

    runs: list[Path] = field(kw_only=False)
    """Runs, weights files or files of an epoch (RUN/epochs/…), of the same data; two side by side are
    easiest to read."""
    norm: str | None = None
    """The norm: linf, l2 or l0; that of the first run's training by default."""
    split: Split = "test"
    """The part of the data to pick images from: test or train."""
    port: int | None = None
    """Port on 127.0.0.1; by default the first free one from 7860."""
    eps: float | None = None
    """ε where the slider begins; by default the largest that a run was trained for."""
    seed: int = 0
    """Of the attack's random numbers."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.runs) <= MOST_RUNS:
            raise UserError(
                f"{len(self.runs)} runs to explore; allowed is 1 … {MOST_RUNS}: hardball explore RUN RUN"
            )
        if self.port is not None and not 1 <= self.port <= 65535:
            raise UserError(f"`port={self.port}`; allowed is 1 … 65535")
        if self.seed < 0:
            raise UserError(f"`seed={self.seed}`; allowed is 0 or more")


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """What the page shows of one run: pictures as uint8 [H, W, 3], confidences by class."""

    name: str
    sentence: str
    """What the attack did, in words."""
    before: Mapping[str, float]
    after: Mapping[str, float]
    attacked: NDArray[np.uint8]
    perturbation: NDArray[np.uint8]
    saliency: NDArray[np.uint8]
    scales: tuple[float, float]
    """What the strongest red or blue of perturbation and saliency means."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Explorer:
    """The networks and their data."""

    names: Sequence[str]
    subjects: Sequence[Subject]
    norm: str
    eps: float
    """Where the slider begins."""
    most: float
    """Where it ends."""
    seed: int
    fills: float
    """See `drawing.extent`."""

    @property
    def attacks(self) -> Mapping[str, Attack]:
        """By name, quickest first."""
        table = protocols.ATTACKS
        return {name: table[name] for name in sorted(table, key=lambda name: table[name].cost)}

    @property
    def classes(self) -> int:
        return self.subjects[0].data.classes

    @property
    def count(self) -> int:
        """Images to pick from."""
        return len(self.subjects[0].data)

    @property
    def takes_drawings(self) -> bool:
        """The data is grey."""
        shape = self.subjects[0].data.shape
        return len(shape) == 3 and shape[0] == 1

    def picked(self, index: int) -> tuple[Tensor, int]:
        """An image of the data and its class.

        Raises:
            UserError: it does not exist.
        """
        if not 0 <= index < self.count:
            raise UserError(f"image {index} of {self.count}; allowed is 0 … {self.count - 1}")
        data = self.subjects[0].data
        return data.images[index], int(data.labels[index])

    def drawn(self, ink: NDArray[np.float32]) -> Tensor | None:
        """A drawing, 0 paper and 1 ink, as an image of this data; None for an empty one."""
        data = self.subjects[0].data
        height, width = data.shape[1:]
        found = as_image(torch.from_numpy(ink), (height, width), self.fills)
        return None if found is None else found.to(data.images)

    def panels(self, image: Tensor, label: int | None, attack: str, eps: float) -> list[Panel]:
        """What the page shows of each run.

        Args:
            image: [C, H, W]
            label: the class to attack; by default what each network predicts.
            attack: a name of the evaluation's table.

        Raises:
            UserError: no such attack or label, an ε that the norm does not have.
            CannotRun: the attack cannot run here.
        """
        chosen = protocols.named([attack])[attack]
        threat = ThreatModel(self.norm, eps)
        return [
            _panel(
                name,
                look(found.network, image, chosen, threat, label=label, seed=self.seed),
                threat,
            )
            for name, found in zip(self.names, self.subjects, strict=True)
        ]


def explorer(config: ExploreConfig) -> Explorer:
    """Load the runs.

    Raises:
        UserError: no such run, or runs of different data.
        Untrusted: a file names code outside hardball.
    """
    subjects = side_by_side(config, config.runs, config.split)
    data = subjects[0].data
    norm = config.norm or trained_norm(subjects[0].config)
    eps = _first_eps(config, subjects)
    ThreatModel(norm, eps)
    if norm not in NORMS:
        raise UserError(f"`norm={norm}` has no ε to move; allowed is {', '.join(NORMS)}")
    _, high = GEOMETRIES[norm].radii
    return Explorer(
        names=distinct_names(config.runs),
        subjects=subjects,
        norm=norm,
        eps=eps,
        most=high if high < math.inf else 3 * (eps or 1),
        seed=config.seed,
        fills=extent(data.images[:500].cpu()),
    )


def _first_eps(config: ExploreConfig, subjects: Sequence[Subject]) -> float:
    """The one asked for, or the largest that a run was trained for."""
    if config.eps is not None:
        return config.eps
    pairs = zip(config.runs, subjects, strict=True)
    return max(trained_eps(path, found.config) for path, found in pairs)


def _panel(name: str, seen: Look, threat: ThreatModel) -> Panel:
    perturbation, scale = explore_pictures.signed(seen.perturbation.cpu().numpy())
    saliency, strongest = explore_pictures.signed(seen.attacked_saliency.cpu().numpy())
    return Panel(
        name=name,
        sentence=_sentence(seen, threat),
        before=_confidences(seen.confidences),
        after=_confidences(seen.attacked_confidences),
        attacked=explore_pictures.shown(seen.attacked.cpu().numpy()),
        perturbation=perturbation,
        saliency=saliency,
        scales=(scale, strongest),
    )


def _sentence(seen: Look, threat: ThreatModel) -> str:
    before, after = int(seen.confidences.argmax()), int(seen.attacked_confidences.argmax())
    if float(threat.eps) == 0:
        return f"predicts {before}; ε = 0 allows no attack"
    if seen.wrong_before:
        return f"predicts {before} for a {seen.label} without any attack, which leaves it as it is"
    size = float(threat.size(seen.perturbation[None]))
    used = f"perturbation {threat.norm} {size:.3g} of {float(threat.eps):.3g}"
    if seen.fooled:
        return f"broken: {before} becomes {after}; {used}"
    return f"holds: predicts {after} before and after; {used}"


def _confidences(values: Tensor) -> dict[str, float]:
    return {str(number): float(value) for number, value in enumerate(values)}
