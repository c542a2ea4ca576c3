"""The loss between two sets of weights: what `hardball landscape weights` does."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hardball import environment, storage
from hardball.attacks import Attack
from hardball.commands.measure import trained_eps, trained_norm
from hardball.commands.pictures import (
    Show,
    about,
    attack_named,
    folder_for,
    refuse_without_weights,
    save,
    silent,
)
from hardball.commands.subject import (
    LoadConfig,
    Split,
    Subject,
    complete_config,
    config_of,
    subject,
)
from hardball.commands.train import fresh, weights_of
from hardball.commands.words import flags_of
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.landscape import (
    AdversarialLoss,
    Weights,
    filter_normalised,
    plane,
    segment,
    top_eigenvalue,
)
from hardball.landscape import weights_of as present_weights
from hardball.landscape.curvature import require_curvlinops
from hardball.report import landscape_figures
from hardball.runs import Config
from hardball.seeding import derive
from hardball.threats import ThreatModel

RANDOM = "random"
"""In place of the first weights: those a training with this `seed` starts from."""

RANDOM_START = {"name": "random weights", "path": None, "weights_sha256": None}


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(LoadConfig):
    """Which weights, which loss, and where the results go."""

    start: Path = field(kw_only=False)
    """A run, a weights file, the file of an epoch (RUN/epochs/…), or random: the weights that a
    training with this seed starts from."""
    end: Path = field(kw_only=False)
    """A run, a weights file or the file of an epoch, of the same network."""
    eps: float | None = None
    """ε of the attack; by default the one the end was trained for."""
    at_eps: float | list[float] | None = None
    """Further ε to draw the same segment at, one or several: the ε of the start shows whether its
    robustness is kept on the way (mode connectivity)."""
    norm: str | None = None
    """The norm: linf, l2, l0 or unbounded; that of the end's training by default."""
    attack: str = "pgd-20"
    """An attack of `hardball evaluate`, e.g. pgd-100 or your own package.module:Class."""
    points: int = 200
    """Points on the segment, both ends included."""
    n: int = 512
    """Images in the batch, drawn by the seed."""
    split: Split = "train"
    """The part of the data: train or test."""
    seed: int = 0
    """Of the batch, the attack's random starts, random weights and directions."""
    plane: int | None = None
    """Also a plane through the end in two filter-normalised random directions, of that many points per
    side; 25 is a start."""
    span: float = 1.0
    """How far the plane goes; 1 moves each filter by its own norm."""
    curvature: bool = False
    """Also the largest eigenvalue of the Hessian at both ends (extra `landscape`)."""
    batch_size: int = 256
    """Images at a time; changes the speed, not the answer."""
    out: Path | None = None
    """Folder for landscape-weights.json and .png; by default the end's run."""

    def __post_init__(self) -> None:
        least = {"points": 2, "n": 1, "seed": 0, "plane": 2, "batch_size": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise UserError(f"`{name}={value}`; allowed is {smallest} or more")
        if not 0 < self.span < math.inf:
            raise UserError(f"`span={self.span}`; allowed is a positive number, 1 by default")

    def radii(self, trained: float) -> list[float]:
        """The ε to draw at, the first one first and each once."""
        more = self.at_eps if isinstance(self.at_eps, list) else [self.at_eps]
        first = trained if self.eps is None else self.eps
        return list(dict.fromkeys([first, *(eps for eps in more if eps is not None)]))

    def command(self) -> str:
        """What remakes the result, apart from where files are."""
        never = ("start", "end", "data_root", "device", "batch_size", "out")
        flags = flags_of(self, never=never)
        return " ".join(["hardball landscape weights", str(self.start), str(self.end), *flags])


def weights(config: WeightsConfig, show: Show = silent) -> dict[str, Any]:
    """The adversarial loss on the segment, the plane and the curvature where they are asked for; written
    to `out` as landscape-weights.json and drawn beside it.

    Raises:
        UserError: weights of two networks, no such weights, data, attack or device.
        MissingExtra: matplotlib is not installed, or for `curvature` curvlinops.
    """
    began = time.perf_counter()
    folder = folder_for(config.out, config.end)
    attack, found = _prepared(config)
    network, data = found.network, _batch(found.data, config.n, config.seed)
    start = _start(config, found, network)
    end = present_weights(network)
    norm = config.norm or trained_norm(found.config)
    eps = config.eps if config.eps is not None else trained_eps(config.end, found.config)
    losses = [
        AdversarialLoss(
            threat=ThreatModel(norm, radius),
            attack=attack,
            seed=derive(config.seed, 1),
            batch_size=config.batch_size,
        )
        for radius in config.radii(eps)
    ]
    tick = show("segment", config.points * len(losses))
    segments = [
        segment(network, start, end, data, loss, points=config.points, tick=tick) for loss in losses
    ]
    result = {
        "kind": "weights",
        "start": RANDOM_START if str(config.start) == RANDOM else about(config.start),
        "end": about(config.end),
        "model": found.config["model"],
        "data": data.name,
        "split": config.split,
        "images": len(data),
        "data_sha256": data.sha256,
        "norm": norm,
        "attack": {"name": config.attack, "parameters": attack.description()},
        "seed": config.seed,
        "alpha": list(segments[0].alpha),
        "segments": [one.as_json() for one in segments],
        "plane": _plane(config, network, end, data, losses[0], show) if config.plane else None,
        "curvature": _curvature(config, network, (start, end), data, losses[0], show)
        if config.curvature
        else None,
        "seconds": round(time.perf_counter() - began, 1),
        "command": config.command(),
        "machine": environment.facts(data.images.device),
    }
    save(folder, "landscape-weights", result, landscape_figures.weights(result))
    return result


def _prepared(config: WeightsConfig) -> tuple[Attack, Subject]:
    """The attack, and the network with the end's weights and its data: all that can be refused is
    refused here, before anything long is done."""
    if config.curvature:
        require_curvlinops()
    if str(config.end) == RANDOM:
        raise UserError(
            "random weights at the end have no network of their own; name them first: "
            "hardball landscape weights random RUN"
        )
    attack = attack_named(config.attack)
    asked = config.of(config.end, config.split)
    ends = [path for path in (config.start, config.end) if str(path) != RANDOM]
    for path in ends:
        refuse_without_weights(path)
    _refuse_two_networks(complete_config(asked), config)
    found = subject(asked)
    return attack, found


def _refuse_two_networks(of_end: Config, config: WeightsConfig) -> None:
    """Both ends are weights of one network, as far as their configs say.

    Raises:
        UserError: of two.
    """
    if str(config.start) == RANDOM:
        return
    known = config_of(config.start).get("model") or {}
    one, other = (
        {
            name: spec.get(name)
            for name in ("name", "args", "front", "front_args", "shape", "classes")
        }
        for spec in (known, of_end["model"])
    )
    differing = [
        name for name in one if None not in (one[name], other[name]) and one[name] != other[name]
    ]
    if differing:
        name = differing[0]
        raise UserError(
            f"{config.start} and {config.end} are different networks: {name} is {one[name]} in the "
            f"first and {other[name]} in the second; name two runs of one network"
        )


def _start(config: WeightsConfig, found: Subject, network: nn.Module) -> Weights:
    """The first weights, through a second network, so that the first one keeps its own."""
    if str(config.start) == RANDOM:
        other = fresh(found.config, config.seed, trust=True).to(found.data.images.device)
        return present_weights(other)
    own = present_weights(network)
    storage.load_weights(network, weights_of(config.start))
    start = present_weights(network)
    network.load_state_dict(own)
    return start


def _batch(data: Dataset, count: int, seed: int) -> Dataset:
    """A fixed batch, drawn by the seed: data may be sorted by class."""
    if count > len(data):
        raise UserError(f"`n={count}` of {len(data)} images; allowed is 1 … {len(data)}")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive(seed)))
    return data.rows(order[:count].to(data.images.device))


def _plane(
    config: WeightsConfig,
    network: nn.Module,
    centre: Weights,
    data: Dataset,
    loss: AdversarialLoss,
    show: Show,
) -> dict[str, Any]:
    assert config.plane is not None
    directions = [
        filter_normalised(network, centre, derive(config.seed, 2, number)) for number in (0, 1)
    ]
    found = plane(
        network,
        centre,
        (directions[0], directions[1]),
        data,
        loss,
        points=config.plane,
        span=config.span,
        tick=show("plane", config.plane**2),
    )
    return found.as_json()


def _curvature(
    config: WeightsConfig,
    network: nn.Module,
    ends: tuple[Weights, Weights],
    data: Dataset,
    loss: AdversarialLoss,
    show: Show,
) -> dict[str, Any]:
    """λ_max of the loss at each end's own adversarial examples."""
    found: dict[str, Any] = {"eps": float(loss.threat.eps)}
    tick = show("Hessian", 2)
    for name, own in zip(("start", "end"), ends, strict=True):
        network.load_state_dict(own)
        examples, _ = loss.examples(network, data)
        fixed = replace(data, images=examples.detach())
        found[name] = top_eigenvalue(network, fixed, seed=derive(config.seed, 3))
        tick()
    network.load_state_dict(ends[1])
    return found
