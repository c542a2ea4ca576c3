"""A few images attacked at several ε, for a page to show: what a run's network makes of them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from hardball import storage
from hardball.attacks import Classifier
from hardball.commands.measure import trained_norm
from hardball.commands.subject import LoadConfig, Split, Subject, complete_config, subject
from hardball.commands.train import weights_of
from hardball.data import Dataset
from hardball.data.dataset import drawn
from hardball.errors import UserError
from hardball.evaluation import protocols
from hardball.evaluation.forward import accepting, logits_of
from hardball.evaluation.tasks import Task, search
from hardball.evaluation.witnesses import about_of
from hardball.losses import correct
from hardball.perf import measuring
from hardball.places import Places
from hardball.report.examples import Examples
from hardball.threats import GEOMETRIES, ThreatModel

SPLIT: Split = "test"
FILE = "examples.safetensors"
STEPS = 10
"""Radii up to the largest, at most."""


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig(LoadConfig):
    """Which examples."""

    examples: int = 10
    """Test images to attack, the first of each class in turn; 0 for none."""
    eps: float | list[float] | None = None
    """The ε to attack them at; by default those evaluated and round numbers between."""
    attack: str = "pgd-100"
    """An attack of `hardball evaluate`, e.g. pgd-200-x5 or your own package.module:Class. Witnesses of an
    evaluation come first."""
    seed: int = 0
    """Of the attack's random starts."""

    def __post_init__(self) -> None:
        for name, most in (("examples", 100), ("seed", 2**63 - 1)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UserError(f"`{name}={value}`; allowed is 0 … {most}")
        radii = [] if self.eps is None else self.eps if isinstance(self.eps, list) else [self.eps]
        if self.eps is not None and not all(0 < eps < math.inf for eps in radii or [0.0]):
            raise UserError(f"`eps={self.eps}`; allowed are positive numbers, at least one")

    @property
    def radii(self) -> list[float] | None:
        """Those asked for, ascending and each once."""
        if self.eps is None:
            return None
        return sorted({*(self.eps if isinstance(self.eps, list) else [self.eps])})


def round_radii(known: Sequence[float], norm: str) -> list[float]:
    """The radii that are known, and round numbers up to the largest of them.

    Raises:
        UserError: all of them are 0.
    """
    largest = max(known, default=0.0)
    if largest == 0:
        raise UserError("no ε is known: nothing was trained or measured at one; pass `eps`")
    low = GEOMETRIES[norm].radii[0]
    if low > 0:  # unbounded: there is one radius
        return [largest]
    step = 10 ** math.floor(math.log10(largest / STEPS))
    step *= next(f for f in (1, 2, 5, 10) if largest / (f * step) <= STEPS + 1e-9)
    if norm == "l0":  # it counts
        step = math.ceil(step)
    between = [round(i * step, 12) for i in range(1, STEPS + 1)]
    kept = [eps for eps in known if eps > 0]
    more = [b for b in between if b < largest and all(abs(b - k) > step / 100 for k in kept)]
    return sorted({*kept, *more})


def examples_for(run: Path, config: ExamplesConfig, radii: Sequence[float]) -> Examples:
    """The examples of a run; those kept beside it, if they are of the same network, attack and radii.

    Raises:
        UserError: see `subject`; no such attack, a radius that the norm does not have.
    """
    attack = protocols.named([config.attack])[config.attack]
    subject_config = config.of(run, SPLIT)
    known = complete_config(subject_config)
    norm = trained_norm(known)
    for eps in radii:
        ThreatModel(norm, eps)
    witnesses = Places.of(run).witnesses
    asked: dict[str, Any] = {
        "weights_sha256": storage.digest(storage.read_bytes(weights_of(run), "weights")),
        "witnesses_sha256": storage.digest(storage.read_bytes(witnesses, "witnesses"))
        if witnesses.is_file()
        else None,
        "data": known["data"]["name"],
        "split": SPLIT,
        "model": {name: known["model"].get(name) for name in ("name", "args")},
        "norm": norm,
        "eps": list(radii),
        "attack": {"name": config.attack, "is": attack.description()},
        "seed": config.seed,
        "count": config.examples,
    }
    kept = (run if run.is_dir() else run.parent) / FILE
    if run.is_dir() and kept.is_file():
        there = Examples.load(kept)
        if there.asked == asked:
            return there
    found = _made(subject(subject_config), asked, witnesses)
    if run.is_dir():
        found.save(kept)
    return found


def _made(found: Subject, asked: dict[str, Any], witnesses: Path) -> Examples:
    rows = in_turn(found.data.labels.cpu(), asked["count"])
    model = accepting(found.network, found.data.images.dtype)
    known = _witnesses(witnesses, found, asked["norm"]) if asked["witnesses_sha256"] else {}
    name = asked["attack"]["name"]
    attack = protocols.named([name])[name]
    with measuring(model, found.data.images):
        now = _Attacked.of(model, found.data, rows)
        levels = [now]
        for eps in asked["eps"]:
            threat = ThreatModel(asked["norm"], eps)
            task = Task(name=name, attack=attack, threat=threat, rows=rows, seed=asked["seed"])
            now = now.after(model, found.data, task, known)
            levels.append(now)
    return Examples(
        asked=asked,
        index=tuple(rows.tolist()),
        labels=found.data.labels.cpu()[rows],
        images=torch.stack([level.images for level in levels], dim=1),
        probabilities=torch.stack([level.probabilities for level in levels], dim=1),
        by=tuple(zip(*(level.by for level in levels), strict=True)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attacked:
    """The images at one ε. Shapes: E images, K classes."""

    rows: Tensor
    images: Tensor
    """[E, C, H, W], on the CPU."""
    probabilities: Tensor
    """[E, K]"""
    right: Tensor
    """bool [E]"""
    by: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: Classifier,
        data: Dataset,
        rows: Tensor,
        images: Tensor | None = None,
        by: Sequence[str] = (),
    ) -> "_Attacked":
        """Asked of the network in a pass of their own; by default the images themselves."""
        here = rows.to(data.images.device)
        shown = data.images[here] if images is None else images.to(data.images)
        logits = logits_of(model, data, shown, len(rows))
        return cls(
            rows=rows,
            images=shown.cpu(),
            probabilities=logits.float().softmax(dim=1),
            right=correct(logits, data.labels[here].cpu()),
            by=tuple(by) or ("",) * len(rows),
        )

    def after(
        self,
        model: Classifier,
        data: Dataset,
        task: Task,
        witnesses: dict[int, tuple[float, Tensor, str]],
    ) -> "_Attacked":
        """At the next ε: a witness found just there; or else what the attack breaks; or else what was
        broken at a smaller ε; or else where the attack found the highest loss."""
        result = search(model, data, task).examples.detach()
        here = self.rows.to(data.images.device)
        inside = task.threat.allows(result, data.images[here]).cpu()
        new = _Attacked.of(model, data, self.rows, result)
        images, by = new.images.clone(), [task.name] * len(self.rows)
        eps = float(task.threat.eps)
        for place, row in enumerate(self.rows.tolist()):
            broken = bool(inside[place] & ~new.right[place])
            least, image, name = witnesses.get(row, (math.inf, None, ""))
            if image is not None and (least == eps or (least < eps and not broken)):
                images[place], by[place] = image.to(images), name
            elif not broken and (not self.right[place] or not inside[place]):
                images[place], by[place] = self.images[place], self.by[place]
        return _Attacked.of(model, data, self.rows, images, by)


def in_turn(labels: Tensor, count: int) -> Tensor:
    """int64 [count]: the first image of each class, then the second of each, and so on."""
    seen: Counter[int] = Counter()
    order = []
    for row, label in enumerate(labels.tolist()):
        order.append((seen[label], label, row))
        seen[label] += 1
    return torch.tensor([row for *_, row in sorted(order)[:count]], dtype=torch.int64)


def _witnesses(path: Path, found: Subject, norm: str) -> dict[int, tuple[float, Tensor, str]]:
    """Index → (ε, image, attack), where they are of this network and these images."""
    content = storage.read_bytes(path, "witnesses")
    about = about_of(content)
    same = about["weights_sha256"] == found.weights_sha256 and about["norm"] == norm
    whole, n, sample = len(found.data), about["n"], about.get("sample")
    if not same or n > whole:
        return {}
    rows = torch.arange(n) if sample is None else drawn(whole, n, sample)
    if found.data.rows(rows).sha256 != about["data_sha256"]:
        return {}
    tensors = parse_safetensors(content)
    return {
        int(row): (float(eps), image, about["attacks"][int(attack)])
        for row, eps, image, attack in zip(
            rows[tensors["index"]],
            tensors["eps"],
            tensors["images"],
            tensors["attack"],
            strict=True,
        )
        if float(eps) > 0
    }
