"""Trained networks that come with hardball: entries are made, checked, refused, and used elsewhere."""

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

import hardball as hb
from hardball import storage, zoo
from hardball.cli.main import main
from hardball.commands.evaluate import EvaluateConfig, evaluate
from hardball.commands.measure import MeasureConfig
from hardball.commands.subject import SubjectConfig
from hardball.commands.train import TrainConfig, train
from hardball.commands.zoo import LARGEST, MOST, AddConfig, add
from hardball.errors import Damaged, Untrusted, UserError
from hardball.report.zoo_card import card
from hardball.runs import RunFolder

NAME = "mnist-linf-0.4-extended"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, evaluated."""
    out = tmp_path_factory.mktemp("zoo") / "run"
    values = {
        "eps": 0.05,
        "epochs": 2,
        "data": {"name": "digits"},
        "model": {"name": "digits_cnn", "args": {"width": 4}},
        "attack": {"steps": 2},
        "optimizer": {"lr": 1e-2},
    }
    train(TrainConfig.of({**values, "out": out}))
    measure = MeasureConfig(eps=[0.02, 0.05], attacks=["pgd-20"], certify="ibp")
    evaluate(EvaluateConfig(subject=SubjectConfig(out, n=50), measure=measure))
    return out


@pytest.fixture
def there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo with one entry, where hardball looks for it."""
    folder = tmp_path / "zoo"
    add(AddConfig(run, name=NAME, zoo=folder))
    monkeypatch.setattr(zoo, "home", lambda: folder)
    return folder


def test_an_entry_is_the_run(run: Path, there: Path) -> None:
    images = torch.rand(3, 1, 8, 8)
    model = hb.load(NAME)
    assert not model.training
    with torch.no_grad():
        assert torch.equal(model(images), hb.load_run(run).model(images))
        assert torch.equal(model(images), hb.load(there / NAME)(images))
    assert zoo.listed() == [NAME]
    config = zoo.entry(NAME).config
    evaluated = json.loads((run / "evaluation.json").read_text())
    assert config["measured"]["clean"] == evaluated["clean"]
    assert [one["eps"] for one in config["measured"]["robust"]] == [0.02, 0.05]
    assert len(config["measured"]["certified"]) == 2
    assert config["training"]["command"].startswith("hardball train --eps 0.05")


def test_an_entry_names_no_place_of_the_machine_that_made_it(run: Path, tmp_path: Path) -> None:
    """Nor an ε that was asked for and not learned."""
    own = tmp_path / "own"
    shutil.copytree(run, own)
    config = deepcopy(RunFolder(own).config())
    config["data"]["root"] = "/home/somebody/data"
    config["origin"] = {"path": "/home/somebody/runs/first", "sha256": "0" * 64}
    config["machine"]["precision"] = "bf16-mixed"
    outcome = RunFolder(own).outcome()
    assert outcome is not None
    learned = replace(outcome, eps=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "config", lambda _: config)
        patch.setattr(RunFolder, "outcome", lambda _: learned)
        entry = add(AddConfig(own, name=NAME, zoo=tmp_path / "zoo"))
    said = (entry.path / "README.md").read_text() + (entry.path / "config.json").read_text()
    assert "somebody" not in said
    assert "hardball extend runs/first" in said
    assert "trained for linf ε=0.02" in said
    assert "precision: bf16-mixed" in said


def test_the_card(there: Path) -> None:
    entry = zoo.entry(NAME)
    text = entry.card
    assert text == card(entry.config)
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "mit"
    assert head["library_name"] == "hardball"
    assert head["datasets"] == ["digits"]
    clean = entry.config["measured"]["clean"]
    shown = f"| 0 | {clean['accuracy']:.1%} | {clean['low']:.1%} to {clean['high']:.1%} | 50 |"
    assert shown in text
    assert "| 0.05, certified |" in text
    assert "on the first 50 test images" in text
    config = deepcopy(entry.config)
    config["measured"]["sample"] = 0
    config["model"] |= {"front": "rounding", "front_args": {"threshold": [0.42, 0.58]}}
    assert "on 50 test images, drawn at random" in card(config)
    assert "digits_cnn (width=4) behind the front rounding (threshold=[0.42, 0.58])" in card(config)
    digest = storage.digest((there / NAME / "model.safetensors").read_bytes())
    assert digest in text
    assert digest == entry.config["weights_sha256"]


def test_what_is_not_added(run: Path, there: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there already"):
        add(AddConfig(run, name=NAME, zoo=there))
    for name in ("", "../other", "a/b", "UPPER", ".hidden", "x" * 80):
        with pytest.raises(UserError, match="allowed are small letters"):
            AddConfig(run, name=name)
    other = tmp_path / "run"
    shutil.copytree(run, other)
    (other / "evaluation.json").unlink()
    with pytest.raises(UserError, match="no evaluation"):
        add(AddConfig(other, name="other", zoo=there))
    (other / "evaluation.json").write_text('{"weights_sha256": "x"}')
    with pytest.raises(Damaged, match="is no evaluation"):
        add(AddConfig(other, name="other", zoo=there))
    found = json.loads((run / "evaluation.json").read_text())
    found = {key: value for key, value in found.items() if "sha256" not in key}
    (other / "evaluation.json").write_text(json.dumps({**found, "weights_sha256": "0" * 64}))
    with pytest.raises(UserError, match="about other weights"):
        add(AddConfig(other, name="other", zoo=there))
    assert zoo.listed() == [NAME]  # nothing was left behind
    for number in range(MOST - 1):
        add(AddConfig(run, name=f"more-{number}", zoo=there))
    with pytest.raises(UserError, match="allowed are 5"):
        add(AddConfig(run, name="one-too-many", zoo=there))


def set_model(**more: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: config["model"].update(more)


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], type[Exception], str]] = {
    "code": (set_model(name="os:system"), Untrusted, "code outside hardball"),
    "another network": (
        set_model(name="mnist_cnn", args={}, shape=[1, 28, 28]),
        UserError,
        "another",
    ),
    "no network": (set_model(name="resnet_1e9"), UserError, "unknown model"),
    "a huge network": (set_model(args={"width": 10**30}), UserError, "width"),
    "a name that is none": (set_model(name=["x"]), Damaged, "name="),
    "a shape of text": (set_model(shape="8x8"), Damaged, "shape="),
    "a front of code": (set_model(front="os:system"), UserError, "front"),
    "another entry": (lambda c: c.update(name="other"), Damaged, "is of 'other'"),
    "a path": (lambda c: c.update(name="../" + NAME), Damaged, "is of"),
    "other weights": (lambda c: c.update(weights_sha256="0" * 64), Damaged, "SHA-256"),
    "another schema": (lambda c: c.update(schema=99), Damaged, "schema 1"),
    "no weights' digest": (lambda c: c.pop("weights_sha256"), Damaged, "no weights_sha256"),
    "no model": (lambda c: c.update(model=None), Damaged, "model="),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_entries_are_refused(there: Path, name: str) -> None:
    change, kind, said = HOSTILE[name]
    path = there / NAME / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(kind, match=said):
        hb.load(NAME)


def test_damaged_and_strange_files(there: Path, tmp_path: Path) -> None:
    entry = there / NAME
    for text in ("", "[1]", "[" * 100_000, '{"schema": 1', "{}"):
        (entry / "config.json").write_text(text)
        with pytest.raises(Damaged):
            hb.load(NAME)
    (entry / "config.json").write_bytes(b" " * (zoo.LARGEST_CONFIG + 1))
    with pytest.raises(Damaged, match="bytes"):
        hb.load(NAME)
    for name in ("other", "../zoo/" + NAME, "/etc", "", ".."):
        with pytest.raises(UserError, match="unknown network of the zoo"):
            hb.load(name)
    with pytest.raises(UserError):
        hb.load(tmp_path / "nowhere")


def test_links_are_not_followed(there: Path, tmp_path: Path) -> None:
    weights = there / NAME / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged, match="is a link"):
        hb.load(NAME)


def test_one_changed_byte(there: Path) -> None:
    weights = there / NAME / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Damaged, match="SHA-256"):
        hb.load(NAME)


def test_commands(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    def said(*words: object) -> str:
        with pytest.raises(SystemExit, match=r"^0$"):
            main([str(word) for word in words])
        return capsys.readouterr().out

    assert NAME in said("zoo", "list")
    assert json.loads(said("zoo", "list", "--json"))["entries"][0]["name"] == NAME
    copy = tmp_path / "copy.safetensors"
    assert f"# {NAME}" in said("zoo", "load", NAME, "--out", copy)
    assert copy.read_bytes() == (there / NAME / "model.safetensors").read_bytes()
    assert "second" in said("zoo", "add", run, "--name", "second", "--zoo", there)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["zoo", "load", NAME, "--out", str(copy)])
    assert "--out" in capsys.readouterr().err


def test_what_comes_with_hardball_is_whole() -> None:
    assert zoo.home() == ROOT / "zoo"
    assert len(zoo.listed()) <= MOST
    for name in zoo.listed():
        entry = zoo.entry(name)
        entry.model()
        assert entry.card == card(entry.config)
        assert (entry.path / zoo.WEIGHTS).stat().st_size <= LARGEST


def test_what_the_cards_say_of_clean_images(mnist_root: Path) -> None:
    for name in zoo.listed():
        measured = zoo.entry(name).config["measured"]
        data = hb.load_dataset("mnist", mnist_root, "test")
        data = data.some(measured["n"], measured.get("sample"))
        with torch.no_grad():
            found = hb.load(name)(data.images).argmax(dim=1)
        assert int((found == data.labels).sum()) == measured["clean"]["right"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["foolbox", "art", "torchattacks", "robustbench"])
def test_in_other_libraries(package: str) -> None:
    """The lines of docs/zoo.md, on a network of the size that they are about."""
    # RobustBench imports pkg_resources, which setuptools has given up
    pytest.importorskip(package, reason=f"{package} is not installed", exc_type=ImportError)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "zoo.md").read_text(), re.DOTALL)
    (block,) = (one for one in blocks if package in one)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    images, labels = torch.rand(4, 1, 28, 28), torch.arange(4)
    names: dict[str, Any] = {"model": model, "images": images, "labels": labels}
    exec(block, names)
    with torch.no_grad():
        expected = model(images)
    if package == "foolbox":
        assert torch.equal(names["foolbox_model"](images), expected)
    elif package == "art":
        found = names["art_model"].predict(images.numpy())
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-5)
    elif package == "torchattacks":
        moved = names["attack"](images, labels) - images
        assert float(moved.abs().max()) <= 0.4 + 1e-6
    else:
        assert 0 <= names["accuracy"] <= 1
