"""Objectives made of interval bounds: the loss they promise, and that something gets proved."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import hardball as hb
from hardball.attacks import PGD
from hardball.certify.ibp import differences
from hardball.certify.intervals import Box, Intervals, Propagation, traced
from hardball.errors import CannotRun, UserError
from hardball.training.objectives import OBJECTIVES, IBPLoss
from hardball.training.passes import Passes

EPS = 0.05


def worst(
    net: nn.Module, low: torch.Tensor, high: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    return -differences(traced(net), Box(low, high), labels, Propagation(rounding=False))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})


@pytest.fixture
def batch(digits: hb.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    return digits.images[:40], digits.labels[:40]


def test_the_bound_is_above_every_adversarial_loss(net, batch):
    images, labels = batch
    low, high = IBPLoss().box(images, images, EPS)
    bound = IBPLoss().bounded(net(images), labels, worst(net, low, high, labels))
    moved = PGD(steps=50).perturb(net, images, labels, hb.LInf(EPS))
    assert (bound >= F.cross_entropy(net(moved), labels, reduction="none") - 1e-5).all()


def test_at_eps_zero_it_is_the_cross_entropy(net, batch):
    images, labels = batch
    found = IBPLoss().bounded(net(images), labels, worst(net, images, images, labels))
    torch.testing.assert_close(found, F.cross_entropy(net(images), labels, reduction="none"))


def test_its_gradient_is_that_of_finite_differences(net, batch):
    images, labels = batch[0][:5].double(), batch[1][:5]
    net = net.double()
    bias = net.get_parameter("hidden.bias")

    def loss() -> torch.Tensor:
        low, high = IBPLoss().box(images, images, EPS)
        return IBPLoss().bounded(net(images), labels, worst(net, low, high, labels)).sum()

    loss().backward()
    assert bias.grad is not None
    place = int(bias.grad.abs().argmax())
    with torch.no_grad():
        bias[place] += 1e-6
        above = loss()
        bias[place] -= 2e-6
        below = loss()
    torch.testing.assert_close((above - below) / 2e-6, bias.grad[place], rtol=1e-4, atol=1e-6)


def test_mixtures_have_the_right_ends(net, batch):
    labels = batch[1]
    adversarial, bounds = torch.randn(40, 10), torch.randn(40, 10)
    one, other = (F.cross_entropy(z, labels, reduction="none") for z in (adversarial, bounds))
    for alpha in (0.0, 0.25, 1.0):
        found = hb.MTLIBP(alpha=alpha).bounded(adversarial, labels, bounds)
        torch.testing.assert_close(found, (1 - alpha) * one + alpha * other)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_small_box_stays_in_the_ball(batch, share):
    images, _ = batch
    moved = hb.LInf(EPS).sample(images)
    low, high = hb.SABR(share=share).box(images, moved, EPS)
    ball = IBPLoss().box(images, images, EPS)
    assert (low >= ball[0] - 1e-6).all()
    assert (high <= ball[1] + 1e-6).all()
    assert (high - low).max() <= 2 * share * EPS + 1e-6
    if share == 0:
        torch.testing.assert_close(low, moved)
    if share == 1:
        torch.testing.assert_close((low, high), ball)


def test_initial_weights_keep_the_width_of_bounds():
    torch.manual_seed(0)
    deep = nn.Sequential(*(layer for _ in range(8) for layer in (nn.Linear(200, 200), nn.ReLU())))
    IBPLoss(init=True).prepare(deep)
    with torch.no_grad():
        box = Box(torch.rand(20, 200), torch.zeros(0))
        box = Box(box.low - 0.1, box.low + 0.1)
        found = Intervals(traced(deep), Propagation(rounding=False)).run(box)
    # E[|w|]·n = 2: each layer doubles the radius, and ReLU halves it
    assert 0.5 < float(found.radius.mean() / box.radius.mean()) < 2
    before = [p.clone() for p in deep.parameters()]
    IBPLoss().prepare(deep)
    assert all(torch.equal(a, b) for a, b in zip(before, deep.parameters(), strict=True))


def test_more_is_proved_than_by_adversarial_training():
    """The same short ramp with each objective."""
    train = hb.load_dataset("digits")
    test = hb.load_dataset("digits", split="test")
    settings = hb.Settings(
        optimizer=hb.Optimizer(lr=2e-3), attack=hb.TrainingAttack(steps=3), batch_size=32
    )
    ramp = hb.Iterative(0.02, ramp_epochs=8, hold=3, per="step", may_stop=False)
    proved = {}
    for name in ("adversarial", "ibp"):
        torch.manual_seed(0)
        model = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 8})
        objective = OBJECTIVES[name]()
        objective.prepare(model)
        hb.fit(model, train, curriculum=ramp, objective=objective, settings=settings)
        certified = hb.IBP()(model.eval(), test.images, test.labels, hb.LInf(0.02))
        proved[name] = float(certified.float().mean())
    assert proved["ibp"] > 0.5
    assert proved["adversarial"] < proved["ibp"] - 0.2


@pytest.mark.parametrize("name", ["ibp", "crown-ibp", "mtl-ibp", "sabr"])
def test_half_the_precision_learns_as_well(name: str, digits: hb.Dataset):
    """The bounds of an epoch in bfloat16 differ from those in float32 by rounding alone."""
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        net = hb.build("digits_cnn", digits.shape, digits.classes, {"width": 4})
        settings = hb.Settings(
            objective=OBJECTIVES[name](),
            machine=hb.Machine(accelerator="cpu", precision=precision),
            optimizer=hb.Optimizer(lr=1e-2),
        )
        attack = hb.TrainingAttack(steps=2)
        curriculum = hb.Constant(0.02, epochs=2)
        run = hb.fit(net, digits, curriculum=curriculum, attack=attack, settings=settings)
        losses.append([row["adv_loss"] for row in run.history])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def test_a_collapse_under_bounds_names_what_helps():
    """Behind four convolutions the bounds of random weights are wide at any ε, so no ramp is slow enough;
    what the message names learns."""
    train = hb.load_dataset("digits")
    settings = hb.Settings(batch_size=32, optimizer=hb.Optimizer(name="adam", lr=2e-3))
    ramp = hb.Iterative(0.01, ramp_epochs=6, hold=6, per="step", may_stop=False)

    def trained(objective: IBPLoss, *, batch_norm: bool) -> hb.Run:
        torch.manual_seed(0)
        net = hb.build("strided_cnn", train.shape, 10, {"width": 0.25, "batch_norm": batch_norm})
        return hb.fit(net, train, curriculum=ramp, settings=settings, objective=objective)

    stuck = trained(IBPLoss(), batch_norm=False).outcome
    assert stuck is not None
    assert stuck.status == "collapsed"
    assert "batch_norm: true}' --objective.init true --objective.regularise 0.5" in stuck.message
    helped = trained(IBPLoss(init=True, regularise=0.5), batch_norm=True)
    assert helped.history[-1]["adv_accuracy"] > 0.3


def test_what_cannot_be_is_refused(digits: hb.Dataset):
    with pytest.raises(UserError, match="norm=l2"):
        hb.Settings(norm="l2", objective=hb.IBPLoss())
    with pytest.raises(UserError, match=r"alpha=1\.5"):
        hb.MTLIBP(alpha=1.5)
    with pytest.raises(UserError, match="share=-1"):
        hb.SABR(share=-1)
    odd = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softplus())
    with pytest.raises(CannotRun, match="Softplus"):
        hb.fit(
            odd,
            replace(digits),
            curriculum=hb.Constant(EPS, epochs=1),
            objective=hb.IBPLoss(),
        )


class Counting(nn.Sequential):
    """Counts its forward passes; bounds walk the layers by themselves."""

    passes = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        type(self).passes += not isinstance(images, torch.fx.Proxy)
        return super().forward(images)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("objective", [hb.IBPLoss(), hb.MTLIBP(alpha=0.5)])
def test_logits_are_computed_where_something_looks_at_them(norm, objective, batch):
    """By the objective, or by batch norm, whose statistics the bounds take."""
    images, labels = batch
    layers = [nn.Conv2d(1, 3, 3), *([nn.BatchNorm2d(3)] if norm else []), nn.ReLU()]
    model = Counting(*layers, nn.Flatten(), nn.Linear(108, 10))
    passes = Passes(model, objective=objective)
    Counting.passes = 0
    ends = objective.box(images, images, EPS)
    logits, bounds, _ = passes(images, ends=ends, labels=labels, left=0.0)
    assert Counting.passes == int(norm or objective.needs_logits)
    assert len(logits) == len(images) * objective.needs_logits
    assert torch.isfinite(objective.bounded(logits, labels, bounds)).all()
    for name, buffer in model.named_buffers():
        assert float(buffer.float().abs().sum()) > 0, name
