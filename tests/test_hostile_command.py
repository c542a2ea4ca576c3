"""Hostile networks as a user meets them: a module of somebody's, evaluated on the command line."""

import json
from pathlib import Path

import pytest
from torch import nn

from commands import run
from contexts import SMALL
from hardball import storage
from hardball.evaluation.checks.registry import TABLE

NETS = """
import torch
from torch import nn

PASSES = [0]


class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
        )


class Later(Plain):
    '''Less of its own after three passes: counted for all copies of this process.'''

    def forward(self, x):
        PASSES[0] = min(3, PASSES[0] + 1)
        z = super().forward(x)
        return z if PASSES[0] < 3 else 10 * torch.tanh(z / 10)


class Quantised(Plain):
    def forward(self, x):
        return super().forward((x > 0.5).float())


class AtTimes(Plain):
    passes = 0

    def forward(self, x):
        self.passes += 1
        z = super().forward(x)
        return z.detach() if self.passes % 30 == 0 else z


class Refuses(Plain):
    def forward(self, x):
        x = x.clone()
        if x.requires_grad:
            x.register_hook(self.refuse)
        return super().forward(x)

    def refuse(self, gradient):
        raise RuntimeError("no gradient today")
"""
CHEAP = [
    row for row in TABLE if row.number in {"1", "A", "B", "H", "I", "J", "K", "L", "M", "N", "O"}
]
INSTEAD = {
    "hardball.evaluation.checks.budget:BUDGETS": {"quick": SMALL},
    "hardball.evaluation.checks.checklist:TABLE": CHEAP,
    "hardball.evaluation.protocols:PROTOCOLS": {
        "checklist": ("pgd-200", "pgd-margin-100", "square"),
        "quick": ("pgd-20",),
    },
}


@pytest.fixture
def place(tmp_path: Path, digits_net: nn.Module) -> Path:
    (tmp_path / "nets.py").write_text(NETS)
    net = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    for mine, trained in zip(net.parameters(), digits_net.parameters(), strict=True):
        mine.data.copy_(trained.data)
    storage.save_weights(net, tmp_path / "w.safetensors")
    return tmp_path


EVALUATE = ("evaluate", "w.safetensors", "--data", "digits", "--n", 40, "--eps", 0.3)
CHECKLIST = ("--protocol", "checklist", "--budget", "quick")


@pytest.mark.parametrize(
    ("name", "word", "failed"),
    [
        ("Plain", "trustworthy", set()),
        ("Later", "masked", {"fresh copy"}),
        ("Quantised", "masked", {"zero gradients"}),
        ("AtTimes", "masked", {"unchanged"}),
        ("Refuses", "masked", {"no black box wins"}),
    ],
)
def test_it_ends_with_a_verdict(name: str, word: str, failed: set[str], place: Path) -> None:
    code, out, err = run((*EVALUATE, "--model", f"nets:{name}", *CHECKLIST), place, instead=INSTEAD)
    assert "Traceback" not in err
    found = json.loads((place / "w.evaluation.json").read_text())
    assert found["verdict"]["word"] == word, found["verdict"]["sentence"]
    assert code == int(word == "masked")
    assert found["verdict"]["sentence"] in " ".join(out.split())
    status = {check["name"]: check["status"] for check in found["checklist"]["checks"]}
    assert failed <= {check for check, is_now in status.items() if is_now == "fail"}
    assert status["fresh copy"] == ("fail" if name == "Later" else "pass")


def test_an_error_that_nobody_foresaw_has_a_code_of_its_own(place: Path) -> None:
    """1 is for a verdict: here there is none."""
    code, _, err = run((*EVALUATE, "--model", "nets:Refuses"), place, instead=INSTEAD)
    assert code == 70
    assert "RuntimeError: no gradient today" in err
    assert not (place / "w.evaluation.json").exists()
