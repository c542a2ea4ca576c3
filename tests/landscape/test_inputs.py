"""The loss around an image: formulas, and jumps that are planted."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hardball import PGD, Dataset, LInf, ThreatModel, UserError, build
from hardball.landscape import AdversarialLoss, InputPlane, input_plane, largest_step, sudden_jump
from hardball.losses import cross_entropy
from hardball.perf import measuring

EPS = 0.1
ATTACKED = AdversarialLoss(threat=LInf(EPS), attack=PGD(steps=10))


def planes(model: nn.Module, data: Dataset, count: int = 5) -> list[InputPlane]:
    return [input_plane(model, data, i, ATTACKED, reach=EPS / 2) for i in range(count)]


# --- the numbers


def test_a_paraboloid_bends_alike_everywhere() -> None:
    x = np.linspace(-1, 1, 21)
    assert sudden_jump(x[:, None] ** 2 + x[None, :] ** 2) == pytest.approx(1)


def test_a_plane_bends_nowhere_and_its_largest_step_is_its_share() -> None:
    x = np.linspace(0, 1, 11)
    tilted = x[:, None] + 0 * x[None, :]
    assert sudden_jump(tilted) < 1e-6
    assert largest_step(tilted) == pytest.approx(0.1)
    assert sudden_jump(0 * tilted) == largest_step(0 * tilted) == 0


def test_a_step_is_seen_at_any_resolution_and_a_steep_slope_dissolves() -> None:
    for points in (50, 100, 400):
        x = np.linspace(-1, 1, points)[:, None] + np.zeros((1, points))
        step = (x > 0.013) + 0.1 * x
        slope = np.tanh(3 * x)
        assert largest_step(step) > 0.8
        assert largest_step(slope) == pytest.approx(3 / points, rel=0.1)
        assert sudden_jump(step) > 1e4
        assert sudden_jump(slope) < 200


# --- the plane


def test_the_plane_is_the_loss_at_each_clipped_point(robust_net, digits) -> None:
    found = input_plane(robust_net, digits, 3, ATTACKED, reach=0.05, points=5)
    assert found.steps == pytest.approx([-0.05, -0.025, 0, 0.025, 0.05])
    image, label = digits.images[3:4], digits.labels[3:4]
    one = digits.rows(slice(3, 4))
    with measuring(robust_net, image):
        moved = ATTACKED.examples(robust_net, one)[0] - image
    direction = moved / moved.abs().max()
    for a, loss in zip(found.steps, found.loss[:, 2], strict=True):
        with torch.no_grad():
            logits = robust_net((image + a * direction).clamp(0, 1))
        assert loss == pytest.approx(float(cross_entropy(logits, label)), rel=1e-4)
    assert found.loss[4, 2] > found.loss[2, 2] > found.loss[0, 2]
    assert found.prediction[2, 2] == int(robust_net(image).argmax())


def test_the_plane_of_a_linear_model_is_a_closed_form(two_classes) -> None:
    weight = torch.tensor([[[1.0, -2.0, 3.0]]])
    image = torch.tensor([[[[0.5, 0.4, 0.6]]]])
    data = Dataset(name="one", images=image, labels=torch.tensor([1]), classes=2)
    found = input_plane(two_classes(weight), data, 0, ATTACKED, reach=0.1, points=7)
    margin = float((weight * image).sum())
    a = np.asarray(found.steps)
    # along the adversarial direction −sign(w) the margin falls by a·‖w‖₁
    assert found.loss[:, 3] == pytest.approx(np.log1p(np.exp(-(margin - 6 * a))), rel=1e-5)
    # along random signs r it moves by b·(w·r), w·r one of ±1 ± 2 ± 3
    slope = (found.loss[3, 4] - found.loss[3, 2]) / (a[4] - a[2]) * -(1 + np.exp(margin))
    assert min(abs(slope - s) for s in (-6, -4, -2, 0, 2, 4, 6)) < 0.05


def test_tiny_losses_are_told_as_well_as_large_ones(two_classes) -> None:
    """In float32 cross entropies of 10⁻⁶ lie on a staircase, with ten steps on this plane."""
    weight = torch.tensor([[[20.0, -40.0, 60.0]]])
    image = torch.tensor([[[[0.3, 0.2, 0.24]]]])
    data = Dataset(name="one", images=image, labels=torch.tensor([1]), classes=2)
    how = AdversarialLoss(threat=LInf(0.01), attack=PGD(steps=10))
    found = input_plane(two_classes(weight), data, 0, how, reach=0.004, points=50)
    margin = float((weight.double() * image.double()).sum())
    expected = np.log1p(np.exp(-(margin - 120 * np.asarray(found.steps))))
    assert 1e-6 < expected[25] < 1e-5
    told = np.asarray(found.as_json()["loss"])
    middle = found.loss[:, 24:26].mean(axis=1)
    assert middle == pytest.approx(expected, rel=1e-3)
    assert told == pytest.approx(found.loss, rel=1e-5)
    assert found.numbers["sudden_jump"] < 20


def test_random_directions_depend_on_seed_and_image(robust_net, digits) -> None:
    def loss(index: int = 0, seed: int = 0) -> Any:
        how = replace(ATTACKED, seed=seed)
        return input_plane(robust_net, digits, index, how, reach=0.05, points=5).loss

    assert np.array_equal(loss(), loss())
    assert not np.array_equal(loss(), loss(seed=1))
    same = replace(
        digits, images=digits.images[:1].expand(2, -1, -1, -1), labels=digits.labels[[0, 0]]
    )
    one, other = (input_plane(robust_net, same, i, ATTACKED, reach=0.05, points=5) for i in (0, 1))
    assert np.array_equal(one.loss[:, 2], other.loss[:, 2])
    assert not np.array_equal(one.loss, other.loss)


def test_in_l2_both_directions_have_length_one(two_classes) -> None:
    weight = torch.tensor([[[3.0, -4.0]]])
    data = Dataset(
        name="one", images=torch.full((1, 1, 1, 2), 0.5), labels=torch.tensor([1]), classes=2
    )
    how = AdversarialLoss(threat=ThreatModel("l2", 0.2), attack=PGD(steps=10))
    found = input_plane(two_classes(weight), data, 0, how, reach=0.1, points=3)
    assert found.loss[2, 1] == pytest.approx(np.log1p(np.exp(0.5 + 0.1 * 5)), rel=1e-4)


def test_the_batch_size_changes_nothing_and_the_model_is_left_alone(robust_net, digits) -> None:
    before = {k: v.clone() for k, v in robust_net.state_dict().items()}
    robust_net.train()
    one = input_plane(robust_net, digits, 0, ATTACKED, reach=0.05, points=9)
    assert robust_net.training
    robust_net.eval()
    other = input_plane(robust_net, digits, 0, ATTACKED, reach=0.05, points=9, batch_size=7)
    assert np.allclose(one.loss, other.loss, rtol=1e-5)
    assert all(torch.equal(before[k], v) for k, v in robust_net.state_dict().items())


def test_ten_thousand_points_take_seconds() -> None:
    model = build("mnist_cnn", (1, 28, 28), 10).eval()
    images = torch.rand(1, 1, 28, 28)
    data = Dataset(name="noise", images=images, labels=torch.tensor([0]), classes=10)
    began = time.process_time()
    found = input_plane(model, data, 0, ATTACKED, reach=0.05, points=100)
    assert found.loss.shape == (100, 100)
    assert time.process_time() - began < 20


# --- planted jumps


class Stairs(nn.Module):
    """A network whose logits move in steps, with the gradient of the one inside: masked."""

    def __init__(self, inner: nn.Module, height: float) -> None:
        super().__init__()
        self.inner, self.height = inner, height

    def forward(self, images: Tensor) -> Tensor:
        logits = self.inner(images)
        return logits + ((logits / self.height).round() * self.height - logits).detach()


class Quantised(nn.Module):
    """A network behind an input of few levels, with the gradient of the identity: masked."""

    def __init__(self, inner: nn.Module, levels: int) -> None:
        super().__init__()
        self.inner, self.levels = inner, levels

    def forward(self, images: Tensor) -> Tensor:
        seen = (images * self.levels).round() / self.levels
        logits: Tensor = self.inner(images + (seen - images).detach())
        return logits


@pytest.mark.parametrize("plant", [lambda n: Stairs(n, 1.0), lambda n: Quantised(n, 4)])
def test_both_numbers_tell_a_masked_network_from_a_healthy_one(robust_net, digits, plant) -> None:
    healthy = [one.numbers for one in planes(robust_net, digits)]
    masked = [one.numbers for one in planes(plant(robust_net), digits)]
    jumps = [[one["sudden_jump"] for one in kind] for kind in (healthy, masked)]
    steps = [[one["largest_step"] for one in kind] for kind in (healthy, masked)]
    assert max(jumps[0]) < 2000
    assert min(jumps[1]) > 10_000
    assert max(steps[0]) < 0.1
    assert min(steps[1]) > 0.25


def test_overfitting_to_one_attack_bends_the_loss_without_a_jump(fgsm_net, digits) -> None:
    """What these numbers do not see: a network that is masked because the loss has a ridge, not a
    step. `evaluate` with a stronger attack finds it."""
    assert max(one.numbers["largest_step"] for one in planes(fgsm_net, digits)) < 0.1


# --- bad input


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"index": 360}, r"`index=360` of 360 images; allowed is 0 … 359"),
        ({"index": -1}, r"`index=-1` of 360 images"),
        ({"points": 2}, "`grid=2`; allowed is 3 or more"),
        ({"reach": 0.0}, r"`reach=0\.0`; allowed is a positive number"),
        ({"loss": replace(ATTACKED, threat=ThreatModel("l0", 3))}, "no length; allowed is linf"),
        ({"loss": replace(ATTACKED, threat=LInf(0.0))}, "leaves image 0 as it is"),
    ],
)
def test_bad_input_is_refused(robust_net, digits, how, message) -> None:
    given = {"index": 0, "loss": ATTACKED, "reach": 0.05, "points": 3} | how
    with pytest.raises(UserError, match=message):
        input_plane(robust_net, digits, given.pop("index"), given.pop("loss"), **given)
