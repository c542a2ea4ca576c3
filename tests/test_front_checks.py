"""The checklist on networks with a front: what hides gradients in image space alone is no masking."""

import pytest
import torch
from torch import nn

import hardball as hb
from contexts import SMALL, measured
from hardball.evaluation.checks.behind import BEHIND
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.checklist import checklist
from hardball.evaluation.checks.registry import TABLE

THREAT = hb.LInf(0.15)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(BUDGETS, "quick", SMALL)


def trained(args: dict[str, float]) -> nn.Module:
    train = hb.load_dataset("digits")
    torch.manual_seed(0)
    model = hb.build("digits_cnn", train.shape, 10, {"width": 8}, front="rounding", front_args=args)
    how = hb.Settings(batch_size=32, optimizer=hb.Optimizer(name="adam", lr=3e-3))
    attack = hb.PGD(steps=3)
    return hb.fit(
        model, train, curriculum=hb.Constant(0.15), epochs=4, attack=attack, settings=how
    ).model.eval()


@pytest.mark.parametrize("args", [{}, {"steepness": 60}])
def test_a_declared_front_is_looked_behind(args, digits):
    """The accuracy is that of the attack behind the front, and the verdict is no "masked". The same
    network with its front hidden is called masked."""
    model, some = trained(args), digits.rows(slice(0, 40))
    found = measured(model, some, THREAT)
    leaping = "front-pgd-decay-20-x5"
    assert set(found.attacks) == {"pgd-200", "front-pgd-200", leaping, "front-square"}
    checked = checklist(model, some, THREAT, found, budget="quick")
    failed = {check.name: check.found for check in checked.checks if check.status == "fail"}
    absent = {
        check.name: check.reason for check in checked.checks if check.status == "could not run"
    }
    assert checked.verdict.word in ("trustworthy", "weaker than claimed"), (failed, absent)
    assert checked.claimed is not None
    assert checked.claimed.attack == "front-pgd-200"
    assert checked.strongest.accuracy.value > 0.2

    if args:
        return

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images)

    hidden = checklist(Hidden(), some, THREAT, measured(Hidden(), some, THREAT), budget="quick")
    assert hidden.verdict.word == "masked"


def test_every_check_that_looks_behind_is_in_the_list():
    assert {spec.run for spec in TABLE} >= set(BEHIND)
