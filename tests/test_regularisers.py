"""The initialisation and the regularisers of Shi et al. 2021: their formulas, and what they promise."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardball as hb
from hardball.certify.ibp import propagated
from hardball.certify.intervals import Box, Intervals, Propagation, traced
from hardball.training.objectives import IBPLoss
from hardball.training.objectives.regularisers import _width, balance, tightness

EXACT = Propagation(rounding=False)


def box(*ends: list[list[float]]) -> Box:
    low, high = (torch.tensor(end).double() for end in ends)
    return Box(low, high)


def hidden_of(net: nn.Module, images: Tensor, eps: float) -> tuple[Box, list[Box]]:
    inside = Box(images - eps, images + eps)
    labels = torch.zeros(len(images), dtype=torch.int64)
    return inside, propagated(traced(net), inside, labels, EXACT)[1]


def deep(layers: int = 6, width: int = 100) -> nn.Module:
    torch.manual_seed(0)
    blocks: list[nn.Module] = []
    for _ in range(layers):
        blocks += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*blocks, nn.Linear(width, 10))


# ---------------------------------------------------------------- formulas


def test_tightness_by_hand():
    """Input width 1 (radius ½); layers of mean radius 2 and ½: ratios ¼ and 1, τ = ½."""
    start = box([[0.0, 0.0]], [[1.0, 1.0]])
    wide = box([[-1.0, -3.0]], [[1.0, 3.0]])
    tight = box([[0.0, 0.0]], [[0.5, 1.5]])
    assert float(tightness(start, [wide, tight], 0.5)) == pytest.approx((0.25 + 0.0) / 2 / 0.5)
    assert float(tightness(start, [tight], 0.5)) == 0
    assert float(tightness(start, [wide], 0.25)) == 0


def test_balance_by_hand():
    """Two surely active neurons (middles 1, 3), one surely not (−2), one in doubt (0, counts nowhere
    but in the mean ½)."""
    one = box([[0.5, 2.0, -3.0, -1.0]], [[1.5, 4.0, -1.0, 1.0]])
    alpha = (1 + 3) / 2
    beta = (0.5**2 + 2.5**2) / 2.5**2
    tolerance = 0.9
    expected = max(0, tolerance - 1 / alpha) + max(0, tolerance - 1 / beta)
    assert float(balance([one], tolerance)) == pytest.approx(expected / tolerance)
    mirrored = Box(-one.high, -one.low)
    assert float(balance([mirrored], tolerance)) == pytest.approx(expected / tolerance)


def test_a_balanced_layer_costs_nothing_and_one_of_a_single_kind_has_no_ratio():
    even = box([[0.5, -1.5]], [[1.5, -0.5]])
    assert float(balance([even], 1.0)) == pytest.approx(0)
    active = box([[0.5, 2.0]], [[1.5, 4.0]])
    assert float(balance([active], 0.5)) == 0


def test_against_loops_over_a_network():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))
    images, eps, tau = torch.rand(4, 5), 0.02, 0.5
    with torch.no_grad():
        start, hidden = hidden_of(net, images, eps)
    assert [one.low.shape[1] for one in hidden] == [7, 6]
    tight = balanced = 0.0
    for one in hidden:
        low, high = one.low.tolist(), one.high.tolist()
        ends = [pair for a, b in zip(low, high, strict=True) for pair in zip(a, b, strict=True)]
        width = sum(b - a for a, b in ends) / len(ends)
        tight += max(0.0, tau - 2 * eps / width) / tau / 2
        middles = [(a + b) / 2 for a, b in ends]
        mean = sum(middles) / len(middles)
        sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
        for (a, b), c in zip(ends, middles, strict=True):
            if a > 0 or b < 0:
                sums[a > 0][0] += abs(c)
                sums[a > 0][1] += (c - mean) ** 2
        for p, q in zip(sums[True], sums[False], strict=True):
            balanced += max(0.0, tau - min(p / q, q / p)) / tau / 2
    assert float(tightness(start, hidden, tau)) == pytest.approx(tight, rel=1e-4)
    assert float(balance(hidden, tau)) == pytest.approx(balanced, rel=1e-4)
    found = IBPLoss(regularise=0.5).penalty(start, hidden)
    assert float(found) == pytest.approx(0.5 * (tight + balanced), rel=1e-4)


def test_their_gradients():
    """Of the operations that stand for a dozen: against finite differences, away from jumps."""
    torch.manual_seed(2)
    low = torch.randn(6, 5).double()
    low = torch.where(low.abs() < 0.1, 0.3, low).requires_grad_()
    width = torch.rand(6, 5).double() * 0.05
    start = box([[0.0, 0.0]], [[1.0, 1.0]])

    def terms(ends: Tensor) -> Tensor:
        inside = [Box(ends, ends + width), Box(-ends - width, -ends * 0.9)]
        return torch.stack([balance(inside, 1.0), tightness(start, inside, 1.0)])

    assert float(terms(low)[0].detach()) > 0.1
    assert torch.autograd.gradcheck(terms, (low,))


def test_half_precision_sums_as_float32_does():
    low = torch.randn(200, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    both = [Box(ends, ends + 0.25) for ends in (low, low.float())]
    found = [balance([one], 0.9) for one in both] + [_width(one) for one in both]
    assert all(value.dtype == torch.float32 for value in found)
    torch.testing.assert_close(found[0], found[1], rtol=0.02, atol=0.02)
    torch.testing.assert_close(found[2], found[3], rtol=0.02, atol=0)


def test_the_boxes_before_functions_and_layers_are_seen():
    net = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    _, hidden = hidden_of(net, torch.rand(2, 1, 8, 8), 0.01)
    assert [tuple(one.low.shape[1:]) for one in hidden] == [(4, 4, 4), (8, 2, 2), (16,)]


# ---------------------------------------------------------------- the initialisation


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_initial_weights_keep_the_expected_width(kind):
    """n·E|w|/2 = 1: a layer doubles the mean width, and ReLU halves it, layer by layer. Usual weights
    let it grow more than tenfold in six layers."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(6):
        layer: nn.Module = nn.Linear(150, 150) if kind == "linear" else nn.Conv2d(12, 12, 3)
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers)
    images = torch.rand(20, 150) if kind == "linear" else torch.rand(4, 12, 20, 20)
    widths = {}
    for init in (False, True):
        IBPLoss(init=init).prepare(net)
        with torch.no_grad():
            found = Intervals(traced(net), EXACT).run(Box(images - 0.01, images + 0.01))
        widths[init] = float(found.radius.mean() / 0.01)
    assert 0.5 < widths[True] < 2
    assert widths[False] > 10


def test_its_spread_is_as_said():
    layer = nn.Linear(400, 300)
    IBPLoss(init=True).prepare(layer)
    weight = layer.weight.detach()
    assert float(weight.std()) == pytest.approx(math.sqrt(2 * math.pi) / 400, rel=0.02)
    assert float(weight.abs().mean()) * 400 == pytest.approx(2, rel=0.02)
    assert not layer.bias.any()


# ---------------------------------------------------------------- in training


def test_descending_it_tightens_the_boxes():
    net, images = deep(), torch.rand(16, 100)
    objective = IBPLoss(regularise=0.5)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def penalty() -> Tensor:
        return objective.penalty(*hidden_of(net, images, 0.01))

    before = float(penalty().detach())
    for _ in range(30):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert before > 0.3
    assert float(penalty().detach()) < before / 2


def test_without_width_or_weight_there_is_none():
    net, images = deep(2), torch.rand(3, 100)
    assert float(IBPLoss(regularise=0.5).penalty(*hidden_of(net, images, 0.0)).detach()) == 0
    assert float(IBPLoss().penalty(*hidden_of(net, images, 0.1))) == 0


def trained(**more: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    data = hb.load_dataset("digits").rows(slice(0, 256))
    settings = hb.Settings(batch_size=64, objective=hb.IBPLoss(**more))
    ramp = hb.Iterative(0.02, ramp_epochs=2, hold=1, per="step", may_stop=False)
    hb.fit(model, data, curriculum=ramp, settings=settings)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_it_fades_with_eps_and_is_part_of_training():
    """At the largest ε it counts nothing: a constant curriculum trains as without."""
    plain, regular = trained(), trained(regularise=0.5)
    assert any(not torch.equal(plain[name], regular[name]) for name in plain)
    found = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        model = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
        data = hb.load_dataset("digits").rows(slice(0, 128))
        objective = hb.IBPLoss(regularise=weight)
        hb.fit(model, data, curriculum=hb.Constant(0.02, epochs=1), objective=objective)
        found[weight] = model.state_dict()
    assert all(torch.equal(found[0.0][name], found[0.5][name]) for name in found[0.0])


def test_what_cannot_be_is_refused():
    with pytest.raises(hb.UserError, match=r"regularise=-1"):
        hb.IBPLoss(regularise=-1.0)
    with pytest.raises(hb.UserError, match=r"tolerance=0"):
        hb.SABR(tolerance=0.0)
