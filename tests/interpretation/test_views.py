"""Saliency and perturbations of a network together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hardball import Dataset, LInf
from hardball.errors import UserError
from hardball.interpretation import PERTURBATION, SALIENCY, ViewSettings, alignment, views

SETTINGS = ViewSettings(norm="linf", eps=0.2, saliency_eps=0.1, steps=4, raw_step_size=1.0)


def plane(two_classes: Callable[..., nn.Module]) -> tuple[nn.Module, Dataset]:
    """A linear model with images far from the box's sides."""
    model = two_classes(torch.tensor([[[1.0, -2], [3, -4]]]), 0.5)
    images = torch.full((3, 1, 2, 2), 0.5)
    return model, Dataset(name="plane", images=images, labels=torch.tensor([0, 1, 1]), classes=2)


def test_of_a_linear_model(two_classes: Callable[..., nn.Module]) -> None:
    """The signed attack ends at ±ε·sign(w); the raw one moves along w until a pixel meets its ε."""
    model, data = plane(two_classes)
    weight = torch.tensor([[[1.0, -2], [3, -4]]])
    found = {view.key: view.values for view in views(model, data, SETTINGS, range(3))}
    assert list(found) == [
        (SALIENCY, "gradient", 0.0),
        (SALIENCY, "gradient", 0.1),
        (PERTURBATION, "signed", 0.2),
        (PERTURBATION, "raw", 0.2),
    ]
    up = torch.tensor([1.0, -1, -1]).view(3, 1, 1, 1)  # for class 0 the score is to rise
    signed = found[PERTURBATION, "signed", 0.2]
    torch.testing.assert_close(signed, 0.2 * up * weight.sign().expand_as(signed))
    small = replace(SETTINGS, raw_step_size=1e-3)
    raw = {view.key: view.values for view in views(model, data, small, range(3))}
    torch.testing.assert_close(
        alignment(raw[PERTURBATION, "raw", 0.2], weight.expand(3, 1, 2, 2)), torch.ones(3).double()
    )
    for eps in (0.0, 0.1):
        saliency = found[SALIENCY, "gradient", eps]
        torch.testing.assert_close(
            alignment(saliency, weight.expand_as(saliency)), torch.ones(3).double()
        )
    # where the attack has been the network is more wrong, and the gradient larger
    sizes = [found[SALIENCY, "gradient", eps].flatten(1).norm(dim=1) for eps in (0.0, 0.1)]
    assert (sizes[1] > sizes[0]).all()


def test_alignment_is_one_where_the_gradient_is_the_image(
    two_classes: Callable[..., nn.Module],
) -> None:
    image = torch.rand(1, 1, 4, 4)
    data = Dataset(name="one", images=image, labels=torch.tensor([1]), classes=2)
    found = views(two_classes(image[0]), data, SETTINGS, [0])
    assert alignment(found[0].values, image).item() == pytest.approx(1)


def test_perturbations_lie_in_ball_and_box_and_the_model_is_as_it_was(
    digits_net: nn.Module, digits: Dataset
) -> None:
    digits_net.train()
    before = {name: value.clone() for name, value in digits_net.state_dict().items()}
    state = torch.get_rng_state()
    data = digits.rows(slice(0, 7))
    found = views(digits_net, data, SETTINGS, range(7))
    for view in found:
        if view.kind == PERTURBATION:
            assert LInf(view.eps).allows(data.images + view.values, data.images).all()
            assert (view.values != 0).any()
    assert digits_net.training
    assert all(torch.equal(before[k], v) for k, v in digits_net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_change_nothing(digits_net: nn.Module, digits: Dataset) -> None:
    data = digits.rows(slice(0, 7))
    whole = views(digits_net, data, SETTINGS, range(7))
    parts = views(digits_net, data, replace(SETTINGS, batch_size=3), range(7))
    for one, other in zip(whole[:2], parts[:2], strict=True):
        torch.testing.assert_close(one.values, other.values, rtol=1e-3, atol=1e-6)


def test_a_method_of_ones_own(
    digits_net: nn.Module, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hardball_outside.network as outside

    def halves(model, images, labels, seeds):
        return images / 2

    monkeypatch.setattr(outside, "halves", halves, raising=False)
    own = replace(SETTINGS, methods=["hardball_outside.network:halves"])
    data = digits.rows(slice(0, 2))
    found = views(digits_net, data, own, range(2))
    torch.testing.assert_close(found[0].values, data.images / 2)
    monkeypatch.setattr(outside, "halves", lambda *_: torch.zeros(2, 3))
    with pytest.raises(UserError, match=r"returned \[2, 3\] for images \[2, 1, 8, 8\]"):
        views(digits_net, data, own, range(2))
    monkeypatch.setattr(outside, "halves", lambda model, images, *_: images / 0)
    with pytest.raises(UserError, match="not finite"):
        views(digits_net, data, own, range(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0.0}, "`eps=0` leaves no perturbation"),
        ({"saliency_eps": 2.0}, "eps=2 for linf"),
        ({"methods": []}, "name at least one"),
        ({"raw_step_size": -1.0}, "step_size=-1"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SETTINGS, **change)
