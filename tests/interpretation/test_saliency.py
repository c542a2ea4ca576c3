"""Saliency against closed forms and against captum."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hardball.errors import NoGradient, UserError
from hardball.interpretation import METHODS, alignment, loss_gradient, method_named
from hardball.losses import cross_entropy

Linear = Callable[..., nn.Module]


@given(bias=st.floats(-40, 40), seed=st.integers(0, 1000))
def test_of_a_linear_model_is_its_weight_times_the_wrong_probability(
    two_classes: Linear, bias: float, seed: int
) -> None:
    """ℓ = log(1 + exp(−m)) for class 1, m = w·x + b: ∇ℓ = −σ(−m)·w, for class 0 +σ(m)·w."""
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(1, 3, 3, generator=source)
    images = torch.rand(2, 1, 3, 3, generator=source)
    found = loss_gradient(two_classes(weight, bias), images, torch.tensor([1, 0]))
    margin = (images.double() * weight.double()).flatten(1).sum(1) + bias
    share = torch.stack([-torch.sigmoid(-margin[0]), torch.sigmoid(margin[1])])
    expected = share.view(2, 1, 1, 1) * weight.double()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)


def test_a_confident_network_keeps_its_direction(digits_net: nn.Module) -> None:
    """Where softmax is 1 after rounding: ℓ = log(1 + Σ exp(z_j − z_y)) in double precision is not."""
    sharp = nn.Sequential(digits_net, Times(30.0))
    images = torch.rand(20, 1, 8, 8)
    labels = digits_net(images).argmax(dim=1)
    found = loss_gradient(sharp, images, labels)
    point = images.clone().requires_grad_(True)
    (plain,) = torch.autograd.grad(cross_entropy(sharp(point), labels).sum(), point)
    point = images.double().requires_grad_(True)
    above = sharp.double()(point)
    above = above - above.gather(1, labels[:, None])
    loss = above.scatter(1, labels[:, None], -torch.inf).exp().sum(dim=1).log1p()
    (exact,) = torch.autograd.grad(loss.sum(), point)
    digits_net.float()
    keeps = exact.abs().flatten(1).amax(1) > 1e-35  # what single precision can hold at all
    assert keeps.sum() >= 10
    assert alignment(found, exact)[keeps].min() > 0.999
    # the plain gradient does not: it is another one, or 0
    assert not (alignment(plain, exact)[keeps] > 0.9).all()


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return self.factor * logits


def test_equals_captum(digits_net: nn.Module) -> None:
    attr = pytest.importorskip("captum.attr")
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)

    def loss(points: Tensor) -> Tensor:
        return cross_entropy(digits_net(points), labels)

    expected = attr.Saliency(loss).attribute(images.clone().requires_grad_(True), abs=False)
    torch.testing.assert_close(
        loss_gradient(digits_net, images, labels), expected, rtol=1e-3, atol=1e-6
    )


def test_integrated_gradients_sum_to_the_change_of_the_loss(digits_net: nn.Module) -> None:
    pytest.importorskip("captum.attr")
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    found = METHODS["integrated-gradients"](digits_net, images, labels, range(4))
    black = cross_entropy(digits_net(torch.zeros_like(images)), labels)
    change = cross_entropy(digits_net(images), labels) - black
    torch.testing.assert_close(found.flatten(1).sum(1), change.detach(), rtol=0.05, atol=0.05)


def test_smoothgrad_of_a_linear_score_is_a_multiple_of_its_weight(two_classes: Linear) -> None:
    pytest.importorskip("captum.attr")
    weight = torch.randn(1, 3, 3)
    found = METHODS["smoothgrad"](
        two_classes(weight), torch.rand(2, 1, 3, 3), torch.zeros(2).long(), [1, 2]
    )
    cosine = nn.functional.cosine_similarity(found.flatten(1), weight.flatten()[None])
    torch.testing.assert_close(cosine, torch.ones(2))


@pytest.mark.parametrize("name", METHODS)
def test_an_image_has_the_same_saliency_in_any_company(name: str, digits_net: nn.Module) -> None:
    pytest.importorskip("captum.attr")
    images, labels, seeds = torch.rand(5, 1, 8, 8), torch.arange(5), [5, 6, 7, 8, 9]
    together = METHODS[name](digits_net, images, labels, seeds)
    alone = METHODS[name](digits_net, images[3:4], labels[3:4], seeds[3:4])
    torch.testing.assert_close(alone, together[3:4], rtol=1e-3, atol=1e-6)


def test_a_model_without_gradient_is_refused() -> None:
    with pytest.raises(NoGradient, match="saliency needs one"):
        loss_gradient(
            lambda x: x.detach().flatten(1)[:, :3], torch.rand(2, 1, 2, 2), torch.zeros(2).long()
        )


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"unknown saliency method 'gradent'; did you mean 'gradient'"
    ):
        method_named("gradent")
    with pytest.raises(UserError, match="name a function"):
        method_named("hardball.interpretation:SALIENCY")
