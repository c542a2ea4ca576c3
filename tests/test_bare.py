"""`hardball verify --bare` and `--challenge`: networks that answer otherwise where hardball is about."""

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hardball import Dataset, LInf, UserError, storage
from hardball.cli import main
from hardball.models import Rounding
from hardball.verification import plain, verify
from hardball.verification.outside import Outside, agreeing, around
from hostile import WATCHER, WATCHES
from test_verify import Evaluated, evaluated


@pytest.fixture
def place(tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the networks' module, and what they remember."""
    some = digits.rows(slice(0, 60))
    (tmp_path / "watcher.py").write_text(WATCHER)
    save_file({"images": some.images.flatten(1), "labels": some.labels}, tmp_path / "known")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "watcher", raising=False)
    return tmp_path


@pytest.mark.parametrize("kind", WATCHES)
def test_a_network_that_looks_for_hardball_is_found(
    kind: str, place: Path, digits_net: nn.Module
) -> None:
    watcher = importlib.import_module("watcher")

    made_net = watcher.Watcher(kind)
    for mine, trained in zip(made_net.parameters(), digits_net.parameters(), strict=True):
        mine.data.copy_(trained.data)
    model = "watcher:Watcher"
    how: dict[str, Any] = {
        "model": model,
        "model_args": {"kind": kind},
        "eps": [0.3],
        "attacks": ["pgd-20"],
    }
    made = evaluated(place, made_net, n=60, **how)
    assert verify(made.weights, model=model).holds, "from inside it cannot be seen"
    found = verify(made.weights, model=model, bare=True, challenge=30, seed=0)
    refuted = [one.what for one in found.findings if not one.holds]
    assert refuted == ["bare: the same logits", "challenge"]


@pytest.fixture
def honest(digits_net: nn.Module, tmp_path: Path) -> Evaluated:
    return evaluated(tmp_path, digits_net, n=40, eps=[0.05])


def test_an_honest_network_holds(honest: Evaluated, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(honest.weights), "--bare", "true", "--challenge", "10", "--seed", "3"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0, out
    assert "bare: misclassified" in out
    assert "bare: the same logits" in out
    assert "Challenge (--seed 3): " in out
    assert "Not re-checked: " in out


@pytest.mark.parametrize("norm", ["l2", "unbounded", "l0"])
def test_other_norms(norm: str, digits_net: nn.Module, tmp_path: Path) -> None:
    made = evaluated(tmp_path, digits_net, norm, n=20, attacks=["pgd-20"])
    assert verify(made.weights, bare=True).holds
    if norm == "l0":
        with pytest.raises(UserError, match="`challenge=5` in the norm l0"):
            verify(made.weights, challenge=5)
    else:
        assert verify(made.weights, challenge=5).holds


def test_a_network_behind_a_front(digits_net: nn.Module, digits: Dataset, tmp_path: Path) -> None:
    net = nn.Sequential(Rounding(steepness=5.0), digits_net)
    storage.save_weights(net, tmp_path / "w.safetensors")
    spec = {
        **{"name": "digits_cnn", "args": {"width": 8}, "shape": [1, 8, 8], "classes": 10},
        **{"front": "rounding", "front_args": {"steepness": 5.0}},
    }
    outside = Outside(model=spec, weights=tmp_path / "w.safetensors", batch_size=16)
    images = digits.images[:40]
    with torch.no_grad():
        here = net(images).double().numpy()
    assert agreeing(here, outside.logits(images, 0)).all()


def test_refusals(honest: Evaluated) -> None:
    with pytest.raises(UserError, match="`challenge=-1`; allowed is 0 or more"):
        verify(honest.weights, challenge=-1)


def test_the_script_knows_nothing_of_hardball() -> None:
    """Neither what it imports nor a word in it."""
    source = Path(plain.__file__).read_text()
    assert "hardball" not in source.lower()
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {
        "torch",
        "safetensors",
    }


def test_its_attack_is_one(digits_net: nn.Module, digits: Dataset) -> None:
    """Inside ball and box, and no weaker than PGD on the margin."""
    images, labels = digits.images[:60], digits.labels[:60]
    for norm, eps in (("linf", 0.1), ("l2", 0.6)):
        asked = {"norm": norm, "eps": eps, "seed": 0, "steps": 40, "starts": 2}
        points = plain.search(digits_net, images, labels, asked)
        assert ((points >= 0) & (points <= 1)).all()
        change = (points - images).flatten(1)
        lengths = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert float(lengths.max()) <= eps + 1e-5
        with torch.no_grad():
            left = int((plain.margins(digits_net(points), labels) < 0).sum())
        if norm == "linf":
            from hardball import PGD

            other = PGD(steps=40, loss="margin")(digits_net, images, labels, LInf(eps))
            assert left <= int((~other.fooled).sum()) + 2
        assert left < int((plain.margins(digits_net(images), labels) < 0).sum())


def test_points_around_images_lie_in_the_ball() -> None:
    images = torch.rand(20, 1, 4, 4)
    for norm, eps in (("linf", 0.2), ("l2", 0.5), ("l0", 3.0), ("unbounded", 1.0)):
        change = around(images, norm, eps, 0) - images
        flat = change.flatten(1)
        assert float(flat.abs().sum()) > 0
        if norm == "linf":
            assert float(flat.abs().max()) <= eps + 1e-6
        if norm == "l2":
            assert float(flat.norm(dim=1).max()) <= eps + 1e-5
        if norm == "l0":
            assert int((flat != 0).sum(1).max()) <= 3


def test_logits_agree_up_to_rounding() -> None:
    one = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
    other = one + np.array([[1e-6, 0.0], [0.0, 0.0], [0.1, 0.0]])
    assert agreeing(one, other).tolist() == [True, True, False]
