"""Models made elsewhere (timm, RobustBench, transformers), and results as pandas tables."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import hardball as hb
from hardball import extras
from hardball.attacks import Classifier
from hardball.errors import CannotRun, Damaged, MissingExtra, Unsupported
from hardball.evaluation.checks.checklist import Checklist
from hardball.verification import Finding, Verification

NAME = "test_resnet"
"""One of timm's smallest networks, made for tests."""


@pytest.fixture(scope="module")
def colours() -> hb.Dataset:
    """Eight random images of three channels."""
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return hb.Dataset(images=images, labels=torch.arange(8) % 4, classes=4, name="colours")


@pytest.fixture(scope="module")
def of_timm() -> nn.Module:
    return timm.create_model(NAME, pretrained=False, num_classes=4).eval()


def measured(model: Classifier, data: hb.Dataset) -> hb.Evaluation:
    attacks = {"pgd": hb.PGD(steps=2), "fgsm": hb.fgsm()}
    return hb.evaluate(model, data, eps=[0.01, 0.02], attacks=attacks)


# --- models


def test_a_timm_model_is_evaluated_behind_its_own_normalisation(
    of_timm: nn.Module, colours: hb.Dataset
) -> None:
    cfg: Any = of_timm.pretrained_cfg
    mean, std = (torch.tensor(cfg[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    network = hb.normalized(of_timm)
    with torch.no_grad():
        expected = of_timm((colours.images - mean) / std)
        torch.testing.assert_close(network(colours.images), expected)
    found = measured(network, colours)
    assert found.clean.right == int((expected.argmax(1) == colours.labels).sum())
    assert [score.attack for score in found.scores] == ["fgsm", "pgd"] * 2


def test_another_mean_and_std_may_be_given_and_must_be_where_the_model_has_none() -> None:
    images, own = torch.rand(2, 1, 4, 4), nn.Flatten()
    torch.testing.assert_close(
        hb.normalized(own, [0.5], [0.25])(images), ((images - 0.5) / 0.25).flatten(1)
    )
    with pytest.raises(hb.UserError, match="Flatten does not say how its images are normalised"):
        hb.normalized(own, mean=[0.5])


class RobustBenchStyle(nn.Module):
    """A plain module that takes [0, 1] and normalises itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
        self.linear = nn.Linear(3 * 32 * 32, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear((images - self.get_buffer("mu")).flatten(1))
        return logits


def test_a_model_of_robustbench_s_kind_is_evaluated_as_it_is(colours: hb.Dataset) -> None:
    assert measured(RobustBenchStyle(), colours).clean.n == 8


@dataclass
class ClassifierOutput:
    """As transformers has it."""

    logits: Tensor


class Wrapped(nn.Module):
    """Logits inside something else."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind, self.body = kind, RobustBenchStyle()

    def forward(self, images: Tensor) -> Any:
        return self.kind(self.body(images))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ClassifierOutput, r"returned ClassifierOutput; .*return self\.model\(images\)\.logits"),
        (lambda x: {"out": x}, r"returned dict; .*return self\.model\(images\)\['out'\]"),
        (lambda x: (x, x), r"returned tuple; .*return self\.model\(images\)\[0\]"),
        (lambda x: None, r"returned NoneType; .*so that it returns just those$"),
    ],
    ids=["logits", "dict", "tuple", "none"],
)
def test_a_model_that_returns_something_else_is_answered_with_the_wrapper(
    kind: Any, said: str, colours: hb.Dataset
) -> None:
    with pytest.raises(hb.UserError, match=said):
        measured(Wrapped(kind), colours)


class OfAnotherSize(nn.Module):
    """Asserts the size of its images, as timm's transformers do."""

    def forward(self, images: Tensor) -> Tensor:
        torch._assert(images.shape[-1] == 224, "Input height (32) doesn't match model (224).")
        return images.flatten(1)


def test_a_model_of_another_input_size_is_an_error_of_one_line(colours: hb.Dataset) -> None:
    said = r"on 8 images \[3, 32, 32\]: Input height .*does it take images of this size"
    with pytest.raises(CannotRun, match=said):
        measured(OfAnotherSize(), colours)


# --- timm's folders


def folder(path: Path, model: nn.Module, **changes: Any) -> Path:
    config = {
        "architecture": NAME,
        "num_classes": 4,
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.4, 0.5, 0.6], "std": [0.2] * 3},
    }
    (path / "config.json").write_text(json.dumps(config | changes))
    save_file(model.state_dict(), path / "model.safetensors")
    return path


def test_a_folder_of_timm_is_loaded_with_its_normalisation(
    of_timm: nn.Module, colours: hb.Dataset, tmp_path: Path
) -> None:
    found = hb.from_timm_folder(folder(tmp_path, of_timm))
    assert not any(module.training for module in found.modules())
    expected = hb.normalized(of_timm, [0.4, 0.5, 0.6], [0.2] * 3)
    with torch.no_grad():
        torch.testing.assert_close(found(colours.images), expected(colours.images))


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"architecture": "hf-hub:someone/else"}, Unsupported, "does not have"),
        ({"architecture": "os.system"}, Unsupported, "does not have"),
        ({"architecture": "no_such_net"}, Unsupported, "does not have"),
        ({"model_args": {"checkpoint_path": "x.pth"}}, Unsupported, "model_args checkpoint_path"),
        ({"num_classes": "many"}, Damaged, "num_classes"),
        ({"pretrained_cfg": {"mean": "grey"}}, Damaged, "mean"),
        ({"num_classes": 7}, hb.UserError, "another architecture"),
    ],
    ids=["hub", "code", "unknown", "arguments", "type", "mean", "classes"],
)
def test_a_folder_makes_nothing_run_but_timm_s_own_networks(
    changes: dict[str, Any], kind: type[Exception], said: str, of_timm: nn.Module, tmp_path: Path
) -> None:
    path = folder(tmp_path, of_timm, **changes)
    with pytest.raises(kind, match=said):
        hb.from_timm_folder(path)


def test_a_folder_that_does_not_say_its_mean_has_that_of_its_architecture(
    of_timm: nn.Module, tmp_path: Path
) -> None:
    found = hb.from_timm_folder(folder(tmp_path, of_timm, pretrained_cfg={}))
    known: Any = of_timm.pretrained_cfg
    assert isinstance(found, nn.Sequential)
    assert isinstance(known, dict)
    for name in ("mean", "std"):
        assert getattr(found[0], name).flatten().tolist() == pytest.approx(list(known[name]))


def test_other_folders_are_refused(of_timm: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(hb.UserError, match=r"no config\.json in "):
        hb.from_timm_folder(tmp_path)
    path = folder(tmp_path, of_timm)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(hb.UserError, match="pickled weights are not read"):
        hb.from_timm_folder(path)
    (path / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    with pytest.raises(Unsupported, match="AutoModelForImageClassification"):
        hb.from_timm_folder(path)
    (path / "config.json").write_text("{")
    with pytest.raises(Damaged, match="is no JSON"):
        hb.from_timm_folder(path)


# --- tables


def test_scores_are_a_table(colours: hb.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(RobustBenchStyle(), colours)
    table = found.to_frame()
    assert list(table.columns) == [
        *("eps", "attack", "n", "attacked", "broken", "accuracy", "low", "high"),
    ]
    assert table.attack.tolist() == ["none", "fgsm", "pgd", "fgsm", "pgd"]
    assert table.eps.tolist() == [0, 0.01, 0.01, 0.02, 0.02]
    assert table.n.tolist() == [8] * 5
    assert table.accuracy[0] == found.clean.value
    assert table.accuracy.iloc[-1] == found.worst[0.02].value
    left = found.clean.right - table.broken.cumsum()
    assert (table.accuracy * 8).tolist() == left.tolist()
    assert (table.low[0], table.high[0]) == found.clean.interval
    monkeypatch.setattr(extras, "installed", lambda name: name != "pandas")
    with pytest.raises(MissingExtra, match=r"pip install 'hardball\[frames\]'"):
        found.to_frame()


def test_certified_accuracy_is_a_column_of_its_own(digits: hb.Dataset) -> None:
    model = hb.build("digits_cnn", digits.shape, digits.classes, {"width": 4})
    few, attacks = digits.rows(slice(20)), {"fgsm": hb.fgsm()}
    found = hb.evaluate(model, few, eps=[0.001], attacks=attacks, certify=hb.IBP())
    column = found.to_frame().certified
    assert column.isna().tolist() == [True, False]
    assert column[1] == found.certified[0.001].value


def test_findings_of_verify_are_a_table() -> None:
    findings = [Finding(what="ball and box", found="3 of 3", holds=True)]
    table = Verification(findings=findings, sentence="all holds").to_frame()
    assert table.to_dict("records") == [
        {"what": "ball and box", "found": "3 of 3", "holds": True},
    ]
    assert list(Verification(findings=[], sentence="").to_frame().columns) == [
        "what",
        "found",
        "holds",
    ]


def test_checks_are_a_table() -> None:
    from hardball.evaluation.checks.result import Check

    check = Check(
        number="1",
        name="FGSM not stronger",
        kind="masking",
        essential=True,
        meaning="m",
        status="pass",
        found="0 of 8",
        limit="0.2",
        measured={},
    )
    one: Any = object.__new__(Checklist)
    object.__setattr__(one, "checks", [check])
    assert one.to_frame().iloc[0].to_dict() == {
        "number": "1",
        "name": "FGSM not stronger",
        "kind": "masking",
        "status": "pass",
        "found": "0 of 8",
        "limit": "0.2",
        "reason": "",
    }
