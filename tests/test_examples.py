"""The scripts and the notebook of examples/ run. (own_loop and lightning_loop: test_course.py)"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import hardball as hb

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Example = Callable[[str], Any]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Example:
    """A script as a module, by its name."""

    def found(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return found


def test_the_custom_attack_breaks_what_it_says(example: Example, digits_net: nn.Module) -> None:
    attack = example("custom_attack").Climb(steps=60)
    test = hb.load_dataset("digits", split="test").rows(slice(60))
    found = hb.evaluate(digits_net, test, eps=[0.3], attacks={"climb": attack})
    (score,) = found.scores
    assert score.broken > score.attacked // 10
    assert score.unconfirmed == 0
    assert score.backwards == 0


def test_the_custom_attack_is_compared_with_pgd(example: Example) -> None:
    found = example("custom_attack").compare(steps=5, n=40, epochs=1)
    assert [score.attack for score in found.scores] == ["climb", "pgd"] * 2


def test_the_custom_objective_is_its_formula(example: Example) -> None:
    module = example("custom_objective")
    logits = torch.tensor([[1.0, 3.0], [0.0, 0.0]])
    moved, labels = logits + torch.tensor([1.0, -1.0]), torch.tensor([0, 1])
    plain, paired = module.LogitPairing(weight=0.0), module.LogitPairing(weight=2.0)
    more = paired.loss(moved, labels, logits) - plain.loss(moved, labels, logits)
    assert torch.allclose(more, torch.full((2,), 2.0))
    found = module.accuracy(paired, epochs=1, n=40)
    assert found.clean.n == 40


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Two classes of grey and coloured rectangles, one of another size each, and a file that is
    no image."""
    random = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        folder = tmp_path / "originals" / name
        folder.mkdir(parents=True)
        for number in range(10):
            shape = (20 + number, 30) if number % 2 else (25, 40, 3)
            pixels = random.integers(level - 40, level + 40, shape).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.{'png' if number % 3 else 'jpg'}")
    (tmp_path / "originals" / "dark" / "notes.txt").write_text("no image")
    return tmp_path / "originals"


def test_a_folder_of_any_sizes_is_resized_trained_on_and_measured(
    example: Example, originals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = originals.parent / "pictures"
    assert example("resize_folder").resize(originals, pictures, size=16, test=0.3) == 20
    assert "left out" in capsys.readouterr().out
    train, test = (hb.load_dataset("folder", pictures, part) for part in ("train", "test"))
    assert (len(train), len(test)) == (14, 6)
    assert train.shape == (3, 16, 16)
    assert example("resize_folder").resize(pictures, originals.parent / "again", size=8) == 20

    finetune = example("finetune")
    run = finetune.finetune(pictures, name="mobilenet_v3_small", eps=2 / 255, epochs=1)
    with torch.no_grad():
        assert run.model(test.images).shape == (6, 2)


def test_normalisation_and_the_last_layer_are_ours(example: Example) -> None:
    model = example("finetune").network("resnet18", classes=3)
    assert isinstance(model[0], hb.Normalize)
    assert model[1].fc.out_features == 3
    mean = torch.tensor(example("finetune").MEAN)[None, :, None, None]
    assert torch.equal(model[0](mean), torch.zeros(1, 3, 1, 1))


# of zmq and the kernel themselves
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(EXAMPLES / "digits.ipynb", 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(bool(cell.outputs) for cell in code) > 5, "committed with its outputs"
    monkeypatch.setenv("EPOCHS", "1")
    client = nbclient.NotebookClient(notebook, timeout=250, kernel_name="python3")
    client.execute(cwd=EXAMPLES)
    assert "ε=0.45: " in code[-2].outputs[0].text
