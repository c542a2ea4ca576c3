"""One image through one network, before and after an attack."""

import pytest
import torch
from torch import nn

from hardball import PGD, Dataset, LInf, UserError
from hardball.interpretation import look, loss_gradient
from hardball.seeding import generators

ATTACK = PGD(steps=5)


def test_shows_what_the_parts_give(digits_net: nn.Module, digits: Dataset) -> None:
    images, labels = digits.images[:1], digits.labels[:1]
    found = look(digits_net, images[0], ATTACK, LInf(0.3), label=int(labels[0]))
    expected = ATTACK(digits_net, images, labels, LInf(0.3), generator=generators(0, [0]))
    torch.testing.assert_close(found.attacked, expected.examples[0])
    assert found.fooled == bool(expected.fooled[0])
    torch.testing.assert_close(found.perturbation, (expected.examples - images)[0])
    for image, shares in (
        (images, found.confidences),
        (expected.examples, found.attacked_confidences),
    ):
        torch.testing.assert_close(shares, digits_net(image).softmax(dim=1)[0].detach())
    torch.testing.assert_close(
        found.saliency, loss_gradient(digits_net, images, labels)[0], rtol=1e-3, atol=1e-6
    )
    assert found.attacked_saliency.shape == (1, 8, 8)


def test_without_a_label_the_prediction_is_attacked(digits_net: nn.Module) -> None:
    image = torch.rand(1, 8, 8)
    found = look(digits_net, image, ATTACK, LInf(0.3))
    assert found.label == int(digits_net(image[None]).argmax())
    assert not found.wrong_before


def test_what_is_wrong_already_is_not_attacked(digits_net: nn.Module, digits: Dataset) -> None:
    other = (int(digits_net(digits.images[:1]).argmax()) + 1) % 10
    found = look(digits_net, digits.images[0], ATTACK, LInf(0.3), label=other)
    assert found.wrong_before
    assert found.fooled


def test_at_zero_the_image_stays(digits_net: nn.Module, digits: Dataset) -> None:
    found = look(digits_net, digits.images[0], ATTACK, LInf(0.0))
    assert torch.equal(found.attacked, digits.images[0])
    assert torch.equal(found.confidences, found.attacked_confidences)


def test_the_model_and_the_random_state_are_as_before(
    digits_net: nn.Module, digits: Dataset
) -> None:
    digits_net.train()
    state = torch.get_rng_state()
    first, second = (look(digits_net, digits.images[0], ATTACK, LInf(0.2)) for _ in range(2))
    assert digits_net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.attacked, second.attacked)


def test_bad_input_is_refused(digits_net: nn.Module) -> None:
    with pytest.raises(UserError, match="label 10; allowed is 0 … 9"):
        look(digits_net, torch.rand(1, 8, 8), ATTACK, LInf(0.1), label=10)
    with pytest.raises(UserError, match=r"images lie in \[2, 2\]"):
        look(digits_net, torch.full((1, 8, 8), 2.0), ATTACK, LInf(0.1))
