"""Networks that answer honestly in one way of asking and from memory in another are found."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from contexts import SMALL, context
from hardball.data import Dataset
from hardball.evaluation.checks import consistency
from hardball.evaluation.forward import accepting

BUDGET = replace(SMALL, images=20)
CHECKS = {"companions": consistency.companions, "gradient mode": consistency.gradient_mode}


class TwoFaced(nn.Module):
    """The network, or what is remembered of the images nearest to those asked about."""

    known: Tensor
    answers: Tensor

    def __init__(self, net: nn.Module, data: Dataset) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("known", data.images.flatten(1))
        self.register_buffer("answers", 9.0 * nn.functional.one_hot(data.labels, data.classes))

    def honest(self, images: Tensor) -> bool:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        if self.honest(images):
            found: Tensor = self.net(images)
            return found
        nearest = torch.cdist(images.flatten(1), self.known).argmin(dim=1)
        return self.answers[nearest] + 0 * images.flatten(1).sum(1, keepdim=True)


class HonestToOne(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return len(images) == 1


class HonestToMany(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return len(images) > 4


class HonestToGradients(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return torch.is_grad_enabled()


class HonestInInference(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return torch.is_inference_mode_enabled()


class AverageOfBatch(TwoFaced):
    """Its own logits less those of its companions."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits - logits.mean(dim=0)


PLANTED: dict[type[TwoFaced], str] = {
    HonestToOne: "companions",
    HonestToMany: "companions",
    AverageOfBatch: "companions",
    HonestToGradients: "gradient mode",
    HonestInInference: "gradient mode",
}


@pytest.fixture
def some(digits: Dataset) -> Dataset:
    return digits.rows(slice(0, 40))


@pytest.mark.parametrize("kind", PLANTED)
def test_a_network_with_two_faces_is_found(
    kind: type[TwoFaced], digits_net: nn.Module, some: Dataset
) -> None:
    subject = context(kind(digits_net, some).eval(), some, budget=BUDGET)
    found = CHECKS[PLANTED[kind]](subject)
    assert not found.passed
    assert found.measured["count"] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_honest_network_is_not(dtype: torch.dtype, digits_net: nn.Module, some: Dataset) -> None:
    model = accepting(deepcopy(digits_net).to(dtype), torch.float32)
    for check in CHECKS.values():
        found = check(context(model, some, budget=BUDGET))
        assert found.passed, found
        assert found.measured["points"] > 20
