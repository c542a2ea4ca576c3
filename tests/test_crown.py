"""CROWN-IBP: sound against enumeration of all activation patterns, against samples in float32, exact
for linear networks, and never below interval bounds."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linprog
from torch import Tensor, nn

import hardball as hb
from hardball.certify import crown
from hardball.certify.crown import relaxed
from hardball.certify.ibp import differences
from hardball.certify.intervals import Box, Propagation, traced
from hardball.errors import CannotRun, Unsupported
from test_ibp import NETWORKS

EXACT = Propagation(rounding=False)
REACH = 1e-6 * 1.1 + 1e-6
"""More than what certificates add to ε for slack."""


def exact_margin(net: nn.Sequential, image: Tensor, label: int, eps: float) -> float:
    """min over the box of z_y − max of the others: for each activation pattern of the hidden layer a
    linear program over the part of the box where it holds."""
    first, last = net[1], net[3]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    weight, bias, top, shift = (
        p.detach().double().numpy() for p in (first.weight, first.bias, last.weight, last.bias)
    )
    centre = image.double().flatten().numpy()
    ends = [(max(0.0, c - eps), min(1.0, c + eps)) for c in centre]
    least = np.inf
    for pattern in itertools.product([0.0, 1.0], repeat=len(bias)):
        on = np.array(pattern)
        sign = 1 - 2 * on  # sign·(Wx + b) ≤ 0
        limits = {"A_ub": sign[:, None] * weight, "b_ub": -sign * bias, "bounds": ends}
        for j in set(range(len(top))) - {label}:
            row = (top[label] - top[j]) * on
            found = linprog(row @ weight, **limits)
            if found.status == 0:
                least = min(least, found.fun + row @ bias + shift[label] - shift[j])
    return float(least)


@pytest.mark.parametrize("eps", [0.02, 0.1, 0.3])
def test_against_all_activation_patterns(eps: float) -> None:
    torch.manual_seed(0)
    gained = 0.0
    for _ in range(3):
        net = nn.Sequential(nn.Flatten(), nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
        images = torch.rand(4, 1, 1, 3)
        labels = net(images).argmax(1)
        found = hb.CROWNIBP().margins(net, images, labels, hb.LInf(eps))
        intervals = hb.IBP().margins(net, images, labels, hb.LInf(eps))
        for image, label, bound in zip(images, labels.tolist(), found, strict=True):
            exact = exact_margin(net, image, label, eps)
            assert bound <= exact + 1e-9
            if eps == 0.02:
                assert bound > exact - 0.02
        assert (found >= intervals).all()
        gained += float((found - intervals).sum())
    assert gained > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_no_margin_in_the_ball_is_smaller(name: str) -> None:
    net, source = NETWORKS[name], torch.Generator().manual_seed(3)
    images, labels = torch.rand(4, 1, 6, 6, generator=source), torch.arange(4) % 3
    for eps in (0.0, 0.01, 0.1):
        found = hb.CROWNIBP().margins(net, images, labels, hb.LInf(eps))
        intervals = hb.IBP().margins(net, images, labels, hb.LInf(eps))
        # a front is computed in float32, whose last bit depends on how many images there are at a time
        assert (found >= intervals - 1e-7).all()
        box = Box((images - eps).clamp(0, 1).double(), (images + eps).clamp(0, 1).double())
        linear, _ = relaxed(traced(net), box, labels, Propagation())
        with torch.no_grad():
            for number in range(60):
                share = 2 * torch.rand(images.shape, generator=source) - 1
                share = share.sign() if number % 2 else share
                logits = net((images + eps * share).clamp(0, 1)).double()
                every = logits.gather(1, labels[:, None]) - logits
                assert (every >= linear - 1e-300).all()
                own = every.scatter(1, labels[:, None], torch.inf)
                assert (own.amin(1) >= found).all()


class Line(nn.Module):
    """Everything that is linear, in one network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.pool = nn.AvgPool2d(2, stride=1)
        self.head = nn.Linear(36, 5)
        self.norm.get_buffer("running_mean").normal_()
        self.norm.get_buffer("running_var").uniform_(0.5, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(self.first(images))
        x = self.pool(x + self.second(x))
        logits: Tensor = self.head(x.flatten(1))
        return logits


def test_a_linear_network_is_bounded_exactly() -> None:
    """By its Jacobian. Interval bounds see the sum's two branches as if they were unrelated."""
    torch.manual_seed(1)
    net, eps = Line().double().eval(), 0.1
    images, labels = 0.2 + 0.6 * torch.rand(3, 1, 8, 8).double(), torch.tensor([0, 3, 4])
    box = Box(images - eps, images + eps)
    with torch.no_grad():
        found, largest = relaxed(traced(net), box, labels, EXACT)
        rough = differences(traced(net), box, labels, EXACT)
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        jacobian: Any = torch.autograd.functional.jacobian(net, image[None])
        jacobian = jacobian.reshape(5, -1)
        logits = net(image[None])[0].detach()
        slope = (jacobian[label] - jacobian).abs().sum(1)
        torch.testing.assert_close(found[row], logits[label] - logits - eps * slope)
    assert (found >= rough - 1e-9).all()
    assert (found - rough).max() > 0.01
    assert largest == 4 * 16


def test_one_relu_by_hand() -> None:
    """z₀ − z₁ = relu(x) − x·½, x ∈ [−1, 3]: u > −l, so relu(x) ≥ x, and the bound is −½ at x = −1; the
    other way around it is −(¾(x + 1)) + ½x, −1½ at x = 3."""

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(1, 1)
            self.head = nn.Linear(1, 2, bias=False)
            self.side = nn.Linear(1, 2, bias=False)
            with torch.no_grad():
                self.up.weight.fill_(4.0)
                self.up.bias.fill_(-1.0)
                self.head.weight.copy_(torch.tensor([[1.0], [0.0]]))
                self.side.weight.copy_(torch.tensor([[0.0], [0.5]]))

        def forward(self, images: Tensor) -> Tensor:
            x = self.up(images.flatten(1))
            return self.head(F.relu(x)) + self.side(x)

    net, box = One().double(), Box(torch.zeros(2, 1).double(), torch.ones(2, 1).double())
    found, _ = relaxed(traced(net), box, torch.tensor([0, 1]), EXACT)
    torch.testing.assert_close(found, torch.tensor([[0.0, -0.5], [-1.5, 0.0]]).double())


def test_max_pooling_is_exact_where_one_pixel_leads() -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 2)).double()
    images = torch.tensor([[[[0.1, 0.9], [0.2, 0.3]]]]).double()
    box = Box(images - 0.1, images + 0.1)
    labels = torch.tensor([0])
    weight = net[2].get_parameter("weight").detach()
    bias = net[2].get_parameter("bias").detach()
    row, shift = float(weight[0] - weight[1]), float(bias[0] - bias[1])
    with torch.no_grad():
        found, _ = relaxed(traced(net), box, labels, EXACT)
    assert float(found[0, 1]) == pytest.approx(min(row * 0.8, row * 1.0) + shift)
    close = torch.tensor([[[[0.85, 0.9], [0.2, 0.3]]]]).double()  # two may lead: 0.8 to 1.0
    with torch.no_grad():
        found, _ = relaxed(traced(net), Box(close - 0.1, close + 0.1), labels, EXACT)
    assert float(found[0, 1]) <= min(row * 0.8, row * 1.0) + shift + 1e-6


def test_it_proves_more_on_a_plain_network(digits_net: nn.Module, digits: hb.Dataset) -> None:
    images, labels = digits.images[:60], digits.labels[:60]
    proved = [
        hb.certify.named([name])[name](digits_net, images, labels, hb.LInf(0.01))
        for name in ("ibp", "crown-ibp")
    ]
    assert int(proved[1].sum()) > int(proved[0].sum()) + 3
    assert (proved[1] | ~proved[0]).all()


def test_parts_of_a_batch_change_nothing(
    digits_net: nn.Module, digits: hb.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits.images[:7], digits.labels[:7]
    whole = hb.CROWNIBP().margins(digits_net, images, labels, hb.LInf(0.01))
    monkeypatch.setattr(crown, "ELEMENTS", 1)
    parts = hb.CROWNIBP().margins(digits_net, images, labels, hb.LInf(0.01))
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("name", ["mnist_cnn", "strided_cnn"])
def test_at_the_size_of_mnist(name: str) -> None:
    torch.manual_seed(0)
    net = hb.build(name, (1, 28, 28), 10).eval()
    images = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        labels = net(images).argmax(1)
    found = hb.CROWNIBP().margins(net, images, labels, hb.LInf(0.001))
    assert found.shape == (3,)
    assert (found >= hb.IBP().margins(net, images, labels, hb.LInf(0.001))).all()


def test_what_it_does_not_know_is_named() -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).cos()

    images, labels = torch.rand(2, 1, 1, 3), torch.tensor([0, 1])
    with pytest.raises(CannotRun, match="cos"):
        hb.CROWNIBP().margins(Odd(), images, labels, hb.LInf(0.1))
    with pytest.raises(Unsupported, match="l2"):
        hb.CROWNIBP()(NETWORKS["dense"], torch.rand(1, 1, 6, 6), labels[:1], hb.L2(0.1))


# ---------------------------------------------------------------- training


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})


def test_its_gradient_is_that_of_finite_differences(net: nn.Module, digits: hb.Dataset) -> None:
    images, labels = digits.images[:5].double(), digits.labels[:5]
    net = net.double()
    weight = net.get_parameter("convs.1.weight")

    def loss() -> Tensor:
        box = Box((images - 0.02).clamp(min=0), (images + 0.02).clamp(max=1))
        return relaxed(traced(net), box, labels, EXACT)[0].sum()

    loss().backward()
    assert weight.grad is not None
    place = int(weight.grad.abs().argmax())
    flat = weight.detach().view(-1)
    flat[place] += 1e-7
    above = loss()
    flat[place] -= 2e-7
    below = loss()
    expected = (above - below).detach() / 2e-7
    torch.testing.assert_close(expected, weight.grad.view(-1)[place], rtol=1e-4, atol=1e-6)


def test_the_mixture_has_the_right_ends(net: nn.Module, digits: hb.Dataset) -> None:
    images, labels = digits.images[:6], digits.labels[:6]
    box, graph = Box(images - 0.02, images + 0.02), traced(net)
    objective = hb.CROWNIBPLoss(beta=0.8, beta_end=0.2)
    with torch.no_grad():
        intervals = differences(graph, box, labels, EXACT)
        linear, _ = relaxed(graph, box, labels, EXACT)
        for left, beta in ((1.0, 0.8), (0.5, 0.5), (0.0, 0.2)):
            found, hidden = objective.bounds(graph, box, labels, left)
            torch.testing.assert_close(found, (1 - beta) * intervals + beta * linear)
            assert len(hidden) == 3
        last, _ = hb.CROWNIBPLoss().bounds(graph, box, labels, 0.0)
        assert torch.equal(last, intervals)


def test_a_short_ramp_proves_something() -> None:
    train = hb.load_dataset("digits").rows(slice(0, 600))
    test = hb.load_dataset("digits", split="test")
    torch.manual_seed(0)
    model = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 8})
    ramp = hb.Iterative(0.02, ramp_epochs=4, hold=2, per="step", may_stop=False)
    settings = hb.Settings(
        optimizer=hb.Optimizer(lr=4e-3), batch_size=32, objective=hb.CROWNIBPLoss()
    )
    run = hb.fit(model, train, curriculum=ramp, settings=settings)
    certified = hb.CROWNIBP()(model.eval(), test.images, test.labels, hb.LInf(0.02))
    assert float(certified.float().mean()) > 0.3
    assert run.history[-1]["sample_steps"] == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(hb.UserError, match=r"beta_end=2"):
        hb.CROWNIBPLoss(beta_end=2.0)
