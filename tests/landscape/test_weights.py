"""The loss in weight space, against formulas, brute-force evaluation and a peer."""

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardball import PGD, Attack, Dataset, LInf, UserError, build, fgsm
from hardball.landscape import (
    AdversarialLoss,
    between,
    filter_normalised,
    plane,
    segment,
    top_eigenvalue,
    weights_of,
)
from hardball.losses import cross_entropy

PLAIN = AdversarialLoss(threat=LInf(0.0), attack=PGD(steps=1))
ATTACKED = AdversarialLoss(threat=LInf(0.1), attack=PGD(steps=2))


@pytest.fixture
def batch(digits: Dataset) -> Dataset:
    return digits.rows(slice(0, 40))


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build("digits_cnn", (1, 8, 8), 10, {"width": 3}).eval()


@torch.no_grad()
def mean_loss(model: nn.Module, data: Dataset) -> float:
    return float(cross_entropy(model(data.images), data.labels).mean())


class WithBatchNorm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
        )


# --- a segment


def test_a_segment_is_the_loss_of_each_network_on_it(batch: Dataset) -> None:
    start, end = weights_of(network(1)), weights_of(network(2))
    found = segment(network(3), start, end, batch, PLAIN, points=5)
    assert found.alpha == [0, 0.25, 0.5, 0.75, 1]
    model = network(4)
    for alpha, loss in zip(found.alpha, found.loss, strict=True):
        model.load_state_dict({k: (1 - alpha) * start[k] + alpha * end[k] for k in start})
        assert loss == pytest.approx(mean_loss(model, batch), rel=1e-5)


def test_the_segment_of_a_linear_two_class_model_is_a_closed_form(two_classes) -> None:
    """The adversarial margin is y·(w·x) − ε‖w‖₁ where the box is inactive."""
    weights = [torch.tensor([[1.0, -2.0]]), torch.tensor([[-1.0, 1.0]])]
    start, end = (weights_of(two_classes(w.reshape(1, 1, 2))) for w in weights)
    images = torch.tensor([[0.3, 0.6], [0.7, 0.5]]).reshape(2, 1, 1, 2)
    data = Dataset(name="two", images=images, labels=torch.tensor([0, 1]), classes=2)
    attack = AdversarialLoss(threat=LInf(0.1), attack=PGD(steps=3))
    found = segment(two_classes(weights[0].reshape(1, 1, 2)), start, end, data, attack, points=11)
    for alpha, loss in zip(found.alpha, found.loss, strict=True):
        w = ((1 - alpha) * weights[0] + alpha * weights[1]).flatten()
        margin = (2 * data.labels - 1) * (images.flatten(1) @ w) - 0.1 * w.abs().sum()
        assert loss == pytest.approx(float(torch.log1p(torch.exp(-margin)).mean()), rel=1e-5)


def test_the_attack_starts_alike_at_every_point(batch: Dataset) -> None:
    """So a segment from weights to themselves is flat, whatever the attack, and repeats."""
    model = network(1)
    same = weights_of(model)
    for attack in (PGD(steps=1), PGD(steps=1, restarts=2), fgsm(), EveryOther()):
        how = replace(ATTACKED, attack=attack)
        found = segment(model, same, same, batch, how, points=3)
        assert len(set(found.loss)) == 1
        smaller = segment(model, same, same, batch, replace(how, batch_size=7), points=2)
        assert smaller.loss[0] == pytest.approx(found.loss[0], rel=1e-5)
    other = segment(model, same, same, batch, replace(ATTACKED, seed=1), points=2)
    assert other.loss[0] != segment(model, same, same, batch, ATTACKED, points=2).loss[0]


class EveryOther(Attack):
    """Random noise, by the method that all attacks but PGD go through."""

    def search(self, model, images, labels, threat, generator) -> Tensor:
        return threat.sample(images, generator)


def test_restarts_and_eps_only_raise_the_loss(batch: Dataset) -> None:
    model = network(1)
    one = ATTACKED.examples(model, batch)[1]
    many = replace(ATTACKED, attack=PGD(steps=2, restarts=3)).examples(model, batch)[1]
    assert (many >= one).all()
    assert many.sum() > one.sum()
    assert PLAIN.mean(model, batch) < ATTACKED.mean(model, batch)


def test_the_model_is_left_as_it_was(batch: Dataset) -> None:
    model = WithBatchNorm().train()
    before = weights_of(model)
    pointers = [p.data_ptr() for p in model.parameters()]
    segment(model, weights_of(WithBatchNorm()), before, batch, ATTACKED, points=3)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_batch_norm_statistics_are_interpolated_and_counters_are_not() -> None:
    one, other = WithBatchNorm(), WithBatchNorm()
    other(torch.rand(50, 1, 8, 8))
    start, end = weights_of(one), weights_of(other)
    middle = between(start, end, 0.5)
    mean = (start["1.running_mean"] + end["1.running_mean"]) / 2
    assert torch.allclose(middle["1.running_mean"], mean)
    assert [int(between(start, end, a)["1.num_batches_tracked"]) for a in (0.4, 0.6)] == [0, 1]
    assert all(torch.equal(between(start, end, 1.0)[k], end[k]) for k in end)
    assert all(torch.equal(between(start, end, 0.0)[k], start[k]) for k in end)


def test_bad_input_is_one_line(batch: Dataset) -> None:
    model, other = network(1), build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    same = weights_of(model)
    with pytest.raises(UserError, match="`points=1`; allowed is 2 or more"):
        segment(model, same, same, batch, PLAIN, points=1)
    with pytest.raises(UserError, match=r"different networks: convs\.0\.bias is"):
        segment(model, same, weights_of(other), batch, PLAIN)
    broken = {name: value * torch.nan for name, value in same.items()}
    with pytest.raises(UserError, match=r"the loss at α = 0\.5 is nan"):
        segment(model, same, broken, batch, PLAIN, points=3)
    assert all(torch.equal(same[k], v) for k, v in model.state_dict().items())


# --- a plane


def test_directions_have_the_size_of_each_filter() -> None:
    model = WithBatchNorm()
    centre = weights_of(model)
    found = filter_normalised(model, centre, seed=0)
    for name in ("0.weight", "4.weight"):
        sizes = (w[name].flatten(1).norm(dim=1) for w in (found, centre))
        assert torch.allclose(*sizes)
        # a direction of its own within each filter, and another for each seed
        assert not torch.allclose(found[name], centre[name])
        assert not torch.allclose(found[name], filter_normalised(model, centre, seed=1)[name])
    unmoved = ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "4.bias")
    assert all(not found[name].any() for name in unmoved)


def test_a_direction_grows_with_the_filters_so_the_picture_does_not_change(batch: Dataset) -> None:
    """Li et al.'s reason for it: a ReLU network whose filters are scaled by 10, and the next layer's
    by 1/10, is the same function, and its plane is the same."""

    def made(scale: float) -> nn.Module:
        torch.manual_seed(0)
        first, second = nn.Linear(64, 8, bias=False), nn.Linear(8, 10, bias=False)
        with torch.no_grad():
            first.weight.mul_(scale)
            second.weight.div_(scale)
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second)

    def of(net: nn.Module) -> Any:
        centre = weights_of(net)
        both = filter_normalised(net, centre, 0), filter_normalised(net, centre, 1)
        return plane(net, centre, both, batch, PLAIN, points=3).loss

    assert np.allclose(of(made(10.0)), of(made(1.0)), rtol=1e-4)


def test_a_filter_of_zeros_is_not_moved() -> None:
    linear = nn.Linear(64, 3)
    model = nn.Sequential(nn.Flatten(), linear)
    with torch.no_grad():
        linear.weight[1] = 0
    found = filter_normalised(model, weights_of(model), 0)["1.weight"]
    assert not found[1].any()
    assert found.isfinite().all()


def test_a_plane_is_the_loss_of_each_network_on_it(batch: Dataset) -> None:
    model = network(1)
    centre = weights_of(model)
    first, second = (filter_normalised(model, centre, s) for s in (0, 1))
    found = plane(model, centre, (first, second), batch, PLAIN, points=3, span=0.5)
    assert found.steps == [-0.5, 0, 0.5]
    other = network(2)
    for a, row in zip(found.steps, found.loss, strict=True):
        for b, loss in zip(found.steps, row, strict=True):
            other.load_state_dict({k: centre[k] + a * first[k] + b * second[k] for k in centre})
            assert loss == pytest.approx(mean_loss(other, batch), rel=1e-5)
    with pytest.raises(UserError, match="`span=0`"):
        plane(model, centre, (first, second), batch, PLAIN, span=0)


def test_our_grids_agree_with_landscaper(
    batch: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = pytest.importorskip("landscaper.compute")
    model, count, distance = network(1), 5, 0.3
    centre = weights_of(model)
    directions = [filter_normalised(model, centre, s) for s in (0, 1)]
    names = [name for name, _ in model.named_parameters()]

    given = [[d[name].clone() for name in names] for d in directions]
    theirs, _ = peer.compute_loss_landscape(
        model, batch, given, mean_loss, steps=count, distance=distance, dim=2, device="cpu"
    )
    # landscaper scales each direction by parameter group, then to a length of its own
    parameters = [centre[name] for name in names]
    scaled = []
    for direction in directions:
        theirs_d = [direction[name].clone() for name in names]
        theirs_d = peer.normalize_direction(theirs_d, parameters)
        length = peer.get_model_norm(parameters) * distance / (count / 2)
        step = length / peer.get_model_norm(theirs_d)
        scaled.append({n: d * step * (count // 2) for n, d in zip(names, theirs_d, strict=True)})
    ours = plane(model, centre, (scaled[0], scaled[1]), batch, PLAIN, points=count).loss
    kept = theirs != theirs.max()  # landscaper adds noise to the highest
    assert kept.sum() == count**2 - 1
    assert np.allclose(np.asarray(ours)[kept], theirs[kept], rtol=1e-4)
    capsys.readouterr()


# --- the Hessian


@pytest.mark.skipif(not find_spec("curvlinops"), reason="curvlinops is not installed")
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_top_eigenvalue_is_that_of_the_exact_hessian(batch: Dataset, shift: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 10)
    )
    data = replace(batch, images=(batch.images + shift).clamp(max=1))
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]

    def loss(flat: Tensor) -> Tensor:
        parts = [
            part.reshape(p.shape)
            for part, p in zip(flat.split(sizes), model.parameters(), strict=True)
        ]
        given = dict(zip(names, parts, strict=True))
        logits = torch.func.functional_call(model, given, (data.images,))
        return cross_entropy(logits, data.labels).mean()

    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    exact = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    assert top_eigenvalue(model, data) == pytest.approx(float(exact[-1]), rel=1e-2)
    assert top_eigenvalue(model, data) == top_eigenvalue(model, data)


def test_without_curvlinops_the_extra_is_named(
    batch: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "curvlinops", None)
    with pytest.raises(UserError, match=r"pip install 'hardball\[landscape\]'"):
        top_eigenvalue(network(1), batch)
