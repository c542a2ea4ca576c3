"""Perturbations carried from epoch to epoch."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import Tensor, nn

import flat
from hardball import PGD, Constant, Dataset, Iterative, build, fit, load_dataset
from hardball.data import split_validation
from hardball.losses import cross_entropy
from hardball.threats import ThreatModel
from hardball.training.atta import LEVELS, Carried

RADII = {"linf": (0.0, 1.0), "l2": (0.0, 3.0), "l0": (1.0, 12.0)}


def one_process(rank: int = 0, world: int = 1) -> Fabric:
    """As much of a Fabric as `Carried` asks for: which process this is, and of how many."""
    return cast(Fabric, SimpleNamespace(global_rank=rank, world_size=world))


def batch(seed: int, size: int = 5) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, 1, 4, 4, generator=generator), generator


@given(st.sampled_from(sorted(RADII)), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 99))
def test_a_start_lies_in_ball_and_box_whatever_was_carried(
    norm: str, share: float, later: float, seed: int
) -> None:
    low, high = RADII[norm]
    images, generator = batch(seed)
    rows = torch.randperm(5, generator=generator)
    then = ThreatModel(norm, low + share * (high - low))
    now = ThreatModel(norm, low + later * (high - low))
    carried = Carried(torch.zeros(9, 1, 4, 4))
    carried.keep(rows, images, then.sample(images, generator), then, one_process())
    assert bool(now.allows(carried.start(rows, images, now), images).all())


@given(st.sampled_from(sorted(RADII)), st.floats(0.01, 1), st.integers(0, 99))
def test_what_was_found_is_where_the_next_attack_starts(norm: str, share: float, seed: int) -> None:
    low, high = RADII[norm]
    images, generator = batch(seed)
    threat = ThreatModel(norm, low + share * (high - low))
    found = threat.sample(images, generator)
    carried = Carried(torch.zeros(9, 1, 4, 4))
    rows = torch.tensor([8, 0, 3, 2, 5])
    carried.keep(rows, images, found, threat, one_process())
    start = carried.start(rows, images, threat)
    # half a level of rounding; where that left the ball, the projection brings it back
    assert float((start - found).abs().max()) <= 1.01 * min(1.0, threat.eps) / LEVELS


def test_it_grows_with_eps() -> None:
    images = torch.full((1, 1, 4, 4), 0.5)
    rows, carried = torch.tensor([0]), Carried(images)
    then, now = ThreatModel("linf", 0.1), ThreatModel("linf", 0.4)
    carried.keep(rows, images, images - 0.1, then, one_process())
    assert torch.allclose(carried.start(rows, images, now), images - 0.4)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_the_shares_of_several_processes_add_up_to_what_one_keeps(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, generator = batch(0, size)
    threat = ThreatModel("linf", 0.3)
    found, rows = threat.sample(images, generator), torch.randperm(9, generator=generator)[:size]
    alone = Carried(torch.zeros(9, 1, 4, 4))
    alone.keep(rows, images, found, threat, one_process())
    parts: list[Tensor] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda part: parts.append(part.clone()))
    for rank in range(3):
        mine = slice(rank, None, 3) if rank < size else slice(0, 1)  # a filler
        other = Carried(torch.zeros(9, 1, 4, 4))
        other.keep(rows, images[mine], found[mine], threat, one_process(rank, 3))
    assert torch.equal(sum(parts, torch.zeros_like(parts[0])), alone.levels[rows])


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits")


def known(data: Dataset) -> nn.Module:
    """A network that has learnt a little."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build("digits_cnn", data.shape, data.classes, {"width": 8})
    settings = flat.settings(batch_size=64, lr=5e-3, validation=300)
    return fit(model, data, curriculum=Constant(0.0, 3), settings=settings).model


FROZEN: dict[str, Any] = {"lr": 1e-30, "validation": 1000, "batch_size": 64, "random_start": False}


def test_one_step_in_each_of_five_epochs_is_one_attack_of_five_steps(train: Dataset) -> None:
    model = known(train)
    settings = flat.settings(steps=1, step_size=0.05, carry=True, **FROZEN)
    run = fit(model, train, curriculum=Constant(0.15, 5), settings=settings)
    part, _ = split_validation(train, 1000, settings.seed)
    for row in run.history:
        attack = PGD(steps=int(row["epoch"]), step_size=0.05, random_start=False)
        moved = attack.perturb(model, part.images, part.labels, ThreatModel("linf", 0.15))
        loss = float(cross_entropy(model(moved), part.labels).mean().detach())
        assert row["adv_loss"] == pytest.approx(loss, rel=2e-2)
    assert run.history[-1]["adv_loss"] > 1.5 * run.history[0]["adv_loss"]


def test_without_it_every_epoch_starts_anew(train: Dataset) -> None:
    settings = flat.settings(steps=1, step_size=0.05, **FROZEN)
    run = fit(known(train), train, curriculum=Constant(0.15, 3), settings=settings)
    losses = [row["adv_loss"] for row in run.history]
    assert losses == [pytest.approx(losses[0], rel=1e-4)] * 3


@pytest.mark.parametrize("norm", ["linf", "l2", "l0"])
def test_every_norm_trains_with_it(norm: str, train: Dataset) -> None:
    target = {"linf": 0.2, "l2": 1.5, "l0": 6.0}[norm]
    ramp = Iterative(target, ramp_epochs=3, per="step", start=target / 4)
    settings = flat.settings(norm=norm, steps=1, carry=True, batch_size=64, validation=1000)
    run = fit(known(train), train, curriculum=ramp, settings=settings)
    assert run.outcome is not None
    assert run.outcome.status == "finished"
