"""Saliency and perturbations of runs, side by side: what `hardball explain` does."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hardball import environment, interpretation
from hardball.commands.measure import trained_eps, trained_norm
from hardball.commands.pictures import (
    Show,
    about,
    folder_for,
    save,
    silent,
)
from hardball.commands.side_by_side import distinct_names, side_by_side
from hardball.commands.subject import LoadConfig, Split, Subject
from hardball.commands.words import flags_of
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.interpretation import PERTURBATION, View, ViewSettings, views
from hardball.interpretation.saliency import GRADIENT
from hardball.report import explain_figures

Measured = dict[tuple[str, str, float, str], Tensor]
"""(kind, method or attack, ε, measure) → one value for each of the n images."""

FIRST = (0, 1, 2, 3)
"""The images shown where none are named."""


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(LoadConfig):
    """Which runs, which images, and where the results go."""

    runs: list[Path] = field(kw_only=False)
    """Runs, weights files or files of an epoch (RUN/epochs/…), of the same data."""
    index: int | list[int] | None = None
    """The images to show, by their place in the data from 0, e.g. '[0, 3]'; the first four by default."""
    eps: float | None = None
    """ε of the perturbations; by default the one the first run was trained for."""
    saliency_eps: float | None = None
    """ε of the signed attack that gives the perturbed input of the second saliency; that of the
    perturbations by default."""
    norm: str | None = None
    """The norm: linf, l2, l0 or unbounded; that of the first run's training by default."""
    methods: str | list[str] = GRADIENT
    """Saliency, one or several: gradient, integrated-gradients, smoothgrad (the last two: extra
    `explain`), or your own package.module:function."""
    steps: int = 100
    """Steps of the two attacks, which start at the image itself."""
    raw_step_size: float = 5e4
    """Step size of the raw attack: factor on the gradient."""
    n: int = 200
    """Images that are measured, from the first."""
    foreground: float = 0.0
    """Pixels brighter than this are the foreground."""
    grow: int = 0
    """And those within so many pixels of them."""
    split: Split = "test"
    """The part of the data: test or train."""
    seed: int = 0
    """Of the methods that draw random numbers."""
    batch_size: int = 250
    """Images at a time; changes the speed, not the answer."""
    out: Path | None = None
    """Folder for explain.json and explain.png; by default the first run."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("no run; name one or several: hardball explain RUN ...")
        least = {"steps": 1, "n": 2, "grow": 0, "seed": 0, "batch_size": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value < smallest:
                raise UserError(f"`{name}={value}`; allowed is {smallest} or more")
        if not 0 <= self.foreground < 1:
            raise UserError(f"`foreground={self.foreground}`; allowed is 0 or more, below 1")
        if self.index == []:
            raise UserError("`index=[]`; name at least one image, e.g. `index=0`")

    @property
    def indices(self) -> list[int]:
        """Of the images to show, each once."""
        if self.index is None:
            return [index for index in FIRST if index < self.n]
        found = self.index if isinstance(self.index, list) else [self.index]
        return list(dict.fromkeys(found))

    def settings(self, first: Subject) -> ViewSettings:
        """What the flags leave open is the first run's."""
        eps = trained_eps(self.runs[0], first.config) if self.eps is None else self.eps
        return ViewSettings(
            norm=self.norm or trained_norm(first.config),
            eps=eps,
            saliency_eps=eps if self.saliency_eps is None else self.saliency_eps,
            methods=[self.methods] if isinstance(self.methods, str) else self.methods,
            steps=self.steps,
            raw_step_size=self.raw_step_size,
            seed=self.seed,
            batch_size=self.batch_size,
        )

    def command(self) -> str:
        """What remakes the result, apart from where files are."""
        flags = flags_of(self, never=("runs", "data_root", "device", "batch_size", "out"))
        return " ".join(["hardball explain", *map(str, self.runs), *flags])


def explain(config: ExplainConfig, show: Show = silent) -> dict[str, Any]:
    """Saliency and perturbations of some images for each run, and measures of both over the first n,
    written to `out` as explain.json and drawn beside it.

    Raises:
        UserError: no such run, image, method or device; runs of different data.
        MissingExtra: matplotlib is not installed, or for a method of captum's captum.
    """
    began = time.perf_counter()
    folder = folder_for(config.out, config.runs[0])
    subjects = side_by_side(config, config.runs, config.split)
    names, data = distinct_names(config.runs), subjects[0].data
    _refuse_missing_images(config, len(data))
    settings = config.settings(subjects[0])
    indices = sorted({*range(config.n), *config.indices})
    chosen = data.rows(torch.tensor(indices, device=data.images.device))
    shown = [indices.index(index) for index in config.indices]
    counted = slice(0, config.n)
    images = chosen.images[counted]
    mask = interpretation.foreground(images, above=config.foreground, grow=config.grow)
    tick = show("runs", len(subjects))
    measured, pictures = [], []
    for found in subjects:
        seen = views(found.network, chosen, settings, indices)
        measured.append(
            {
                (*view.key, name): measure(view.values[counted], images, mask)
                for view in seen
                for name, measure in interpretation.MEASURES.items()
            }
        )
        pictures.append(_maps(found, chosen, seen, shown))
        tick()
    result = {
        "kind": "explain",
        "runs": [
            about(path) | {"name": name} for path, name in zip(config.runs, names, strict=True)
        ],
        "models": [found.config["model"] for found in subjects],
        "data": data.name,
        "split": config.split,
        "n": config.n,
        "data_sha256": chosen.rows(counted).sha256,
        "norm": settings.norm,
        "eps": settings.eps,
        "saliency_eps": settings.saliency_eps,
        "methods": list(settings.methods),
        "attacks": {name: attack.description() for name, attack in settings.attacks.items()},
        "foreground": {"above": config.foreground, "grow": config.grow},
        "chance": interpretation.chance(images, mask),
        "seed": config.seed,
        "numbers": [
            row for name, one in zip(names, measured, strict=True) for row in _rows(name, one)
        ],
        "differences": [
            row
            for name, one in zip(names[1:], measured[1:], strict=True)
            for row in _differences(name, one, names[0], measured[0])
        ],
        "images": [
            {
                "index": indices[row],
                "label": int(chosen.labels[row]),
                "pixels": _rounded(chosen.images[row].permute(1, 2, 0).squeeze(2)),
                "runs": [one[place] for one in pictures],
            }
            for place, row in enumerate(shown)
        ],
        "seconds": round(time.perf_counter() - began, 1),
        "command": config.command(),
        "machine": environment.facts(data.images.device),
    }
    save(folder, "explain", result, explain_figures.explain(result))
    return result


def _refuse_missing_images(config: ExplainConfig, count: int) -> None:
    """The images asked for are there.

    Raises:
        UserError: naming the first that is not.
    """
    if config.n > count:
        raise UserError(
            f"`n={config.n}` of the {count} {config.split} images; allowed is 2 … {count}"
        )
    for index in config.indices:
        if not 0 <= index < count:
            raise UserError(
                f"`index={index}` of the {count} {config.split} images; allowed is 0 … {count - 1}"
            )


def _rows(run: str, measured: Measured) -> list[dict[str, Any]]:
    """The mean of each quantity with its interval."""
    return [
        {"run": run, **_quantity(key), **interpretation.mean_of(values).as_json()}
        for key, values in measured.items()
    ]


def _differences(
    run: str, measured: Measured, against: str, base: Measured
) -> list[dict[str, Any]]:
    """Run minus `against`, image by image."""
    return [
        {
            "run": run,
            "against": against,
            **_quantity(key),
            **interpretation.paired_difference(values, base[key]).as_json(),
        }
        for key, values in measured.items()
    ]


def _quantity(key: tuple[str, str, float, str]) -> Mapping[str, Any]:
    kind, name, eps, measure = key
    return {
        "quantity": f"{name} {kind}: {measure.replace('_', ' ')}",
        "kind": kind,
        "name": name,
        "measure": measure,
        "eps": eps,
    }


def _maps(
    found: Subject, data: Dataset, seen: Sequence[View], shown: Sequence[int]
) -> list[dict[str, Any]]:
    """For each image shown: what is predicted, and its maps as they are drawn, the mean over the
    channels divided by its largest absolute value."""
    pictures = []
    for row in shown:
        image = data.images[row]
        maps = []
        for view in seen:
            flat = view.values[row].mean(dim=0)
            scale = float(flat.abs().max())
            one = {
                "kind": view.kind,
                "name": view.name,
                "eps": view.eps,
                "scale": scale,
                "values": _rounded(flat / scale if scale else flat),
            }
            if view.kind == PERTURBATION:
                one["prediction"] = _prediction(found, image + view.values[row])
            maps.append(one)
        pictures.append({"prediction": _prediction(found, image), "maps": maps})
    return pictures


@torch.no_grad()
def _prediction(found: Subject, image: Tensor) -> int:
    return int(found.network(image[None]).argmax())


def _rounded(values: Tensor) -> list[Any]:
    rounded: list[Any] = (values.double() * 1000).round().div(1000).tolist()
    return rounded
