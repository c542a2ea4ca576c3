"""A file that somebody else wrote makes no code run: not from a run's folder, nor from evaluation.json."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import hardball
from hardball import UserError, storage
from hardball.cli import main
from hardball.cli.main import COMMANDS, Group
from hardball.errors import Untrusted
from hardball.evaluation.witnesses import sealed
from hardball.verification import verify

HOSTILE = {
    "a command of the system": {"name": "os:system", "args": {"command": "touch created"}},
    "a module in this directory": {"name": "planted_here:Net", "args": {}},
    "no name at all": {"name": ["planted_here:Net"], "args": {}},
}
OWN = {"name": "digits_cnn", "args": {"width": 4}}
IMAGES = {"shape": [1, 8, 8], "classes": 10}

MODULE = """
from pathlib import Path
from typing import Any

import torch

Path("created").touch()


class Net(torch.nn.Sequential):
    def __init__(self, width=3):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10))


def load(root, train):
    raise AssertionError
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory with a module that leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted_here.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("planted_here", None)


def make_run(name: str, model: object, data: str = "digits", **more: object) -> Path:
    """A run's folder with the weights of a small network."""
    folder = Path(name)
    folder.mkdir()
    config = {
        "data": {"name": data, "root": "data"},
        "model": {**model, **IMAGES} if isinstance(model, dict) else model,
        "curriculum": {"name": "constant", "target": 0.1},
        **more,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = hardball.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    storage.save_weights(network, folder / "weights.safetensors")
    return folder


def command(capsys, *words: object) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return (ended.value.code, *capsys.readouterr())


def refused(ended: tuple[object, str, str], name: object) -> None:
    """Exit code 2 with the name; nothing was imported, nothing made."""
    code, out, err = ended
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{name!r} is code outside hardball, which a file asks to run" in err
    assert "--trust-model-code true" in err
    nothing_happened()


def nothing_happened() -> None:
    assert not Path("created").exists()
    assert "planted_here" not in sys.modules


CHECKLIST = ("--protocol", "checklist", "--budget", "quick", "--n", 4)


@pytest.mark.parametrize("model", HOSTILE.values(), ids=HOSTILE)
def test_evaluate_and_load_run(model, capsys):
    make_run("theirs", model)
    refused(command(capsys, "evaluate", "theirs", "--n", 4), model["name"])
    with pytest.raises(Untrusted, match="is code outside hardball"):
        hardball.load_run("theirs")
    nothing_happened()


@pytest.mark.parametrize("model", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("flag", ["source", "base"])
def test_another_run_to_compare_with(flag, model, capsys):
    make_run("mine", OWN)
    make_run("theirs", model)
    ended = command(capsys, "evaluate", "mine", *CHECKLIST, f"--{flag}", "theirs")
    refused(ended, model["name"])
    assert not Path("mine/evaluation.json").exists(), "refused before the evaluation"


@pytest.mark.parametrize("model", HOSTILE.values(), ids=HOSTILE)
def test_the_run_it_was_extended_from(model, capsys):
    theirs = make_run("theirs", model)
    digest = storage.digest((theirs / "weights.safetensors").read_bytes())
    make_run("mine", OWN, origin={"path": "theirs", "sha256": digest})
    refused(command(capsys, "evaluate", "mine", *CHECKLIST), model["name"])


def test_data_that_a_run_names(capsys):
    make_run("theirs", OWN, data="planted_here:load")
    refused(command(capsys, "evaluate", "theirs", "--n", 4), "planted_here:load")


@pytest.fixture
def evaluated(capsys):
    """A run of hardball's own network, evaluated."""
    make_run("mine", OWN)
    assert command(capsys, "evaluate", "mine", "--n", 60, "--attacks", "fgsm")[0] == 0
    return Path("mine/evaluation.json")


@pytest.mark.parametrize("model", HOSTILE.values(), ids=HOSTILE)
def test_verify_and_the_network_of_an_evaluation(model, evaluated, capsys):
    record = json.loads(evaluated.read_text())
    record.pop("sha256")
    evaluated.write_bytes(sealed(record | {"model": {**model, **IMAGES}}))
    refused(command(capsys, "verify", "mine"), model["name"])
    with pytest.raises(Untrusted):
        verify("mine")


def test_verify_and_the_data_of_an_evaluation(evaluated, capsys):
    record = json.loads(evaluated.read_text())
    record.pop("sha256")
    evaluated.write_bytes(sealed(record | {"data": "planted_here:load"}))
    refused(command(capsys, "verify", "mine"), "planted_here:load")


# ---------------------------------------------------------------- what the user says himself


@pytest.fixture
def trusted():
    """A run of the module's network, with its weights."""
    folder = make_run("own", {"name": "planted_here:Net", "args": {"width": 5}})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    storage.save_weights(network, folder / "weights.safetensors")
    return folder


@pytest.mark.parametrize("flags", [("--trust-model-code", "true"), ("--model", "planted_here:Net")])
def test_code_that_the_user_names_or_trusts_runs(flags, trusted, capsys):
    words = ("evaluate", trusted, "--n", 60, "--attacks", "fgsm", *flags)
    assert command(capsys, *words)[0] == 0
    assert Path("created").exists()
    record = json.loads((trusted / "evaluation.json").read_text())
    assert record["model"]["args"] == {"width": 5}, "naming it changes nothing of the run"
    assert command(capsys, "verify", trusted, *flags)[0] == 0


def test_another_name_is_another_network(trusted, capsys):
    words = ("evaluate", trusted, "--n", 4, "--attacks", "fgsm", "--model", "digits_cnn")
    code, _, err = command(capsys, *words)
    assert code == 2
    assert "weights" in err
    nothing_happened()
    with pytest.raises(UserError, match=r"`model=digits_cnn`, but the run's is planted_here:Net"):
        hardball.load_run(trusted, model="digits_cnn")
    nothing_happened()


def test_load_run_in_three_ways(trusted):
    images = torch.rand(3, 1, 8, 8)
    mine = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    by_object = hardball.load_run(trusted, model=mine)
    nothing_happened()
    assert by_object.model is mine
    for loaded in (
        hardball.load_run(trusted, trust=True),
        hardball.load_run(trusted, model="planted_here:Net"),
    ):
        assert torch.equal(loaded.model(images), mine(images))


def test_the_subjects_own_network_is_accepted_for_its_ancestors(trusted, capsys, monkeypatch):
    """One `--model` suffices for a run and for those like it."""
    monkeypatch.setattr("hardball.evaluation.checks.checklist.TABLE", ())
    monkeypatch.setattr("hardball.evaluation.protocols.PROTOCOLS", {"checklist": ("pgd-20",)})
    words = ["evaluate", trusted, *CHECKLIST, "--n", 40, "--source", trusted]
    words += ["--model", "planted_here:Net"]
    assert command(capsys, *words)[0] in (0, 1)
    assert json.loads((trusted / "evaluation.json").read_text())["verdict"] is not None


# --- training


TRAINED: dict[str, Any] = {
    "schema": 2,
    "origin": None,
    "norm": "linf",
    "attack": {"steps": 1},
    "objective": {"name": "adversarial", "label_smoothing": 0.0},
    "optimizer": {},
    "stopping": {},
    "machine": {},
    "batch_size": 64,
    "augment": False,
    "validation": 1000,
    "seed": 0,
}
NAMES: dict[str, dict[str, Any]] = {
    "model": {"name": "planted_here:Net", "args": {}, **IMAGES},
    "data": {"name": "planted_here:load", "root": "data"},
    "curriculum": {"name": "planted_here:Net", "target": 0.1},
    "objective": {"name": "planted_here:Net"},
}
"""Every group of a config whose name can reach an import."""


def trained(name: str, **more: Any) -> Path:
    """A run's folder as `train` leaves it, begun but not finished."""
    return make_run(name, OWN, **{**TRAINED, **more})


@pytest.mark.parametrize("group", NAMES)
def test_resume(group, capsys):
    folder = trained("theirs")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, group: NAMES[group]}))
    refused(command(capsys, "train", "--resume", "theirs"), NAMES[group]["name"])


def test_a_resumed_command_of_the_system_is_no_network_even_trusted(capsys):
    trained("theirs")
    config = yaml.safe_load(Path("theirs/config.yaml").read_text())
    config["model"] |= HOSTILE["a command of the system"]
    Path("theirs/config.yaml").write_text(yaml.safe_dump(config))
    code, _, err = command(capsys, "train", "--resume", "theirs", "--trust-model-code", "true")
    assert (code, err.count("\n")) == (2, 1)
    assert "os:system" in err
    nothing_happened()


@pytest.mark.parametrize("group", ["model", "data", "objective"])
def test_extend(group, capsys):
    folder = trained("theirs")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, group: NAMES[group]}))
    refused(command(capsys, "extend", "theirs", "--eps", 0.2), NAMES[group]["name"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("group", NAMES)
@pytest.mark.parametrize("nested", [True, False], ids=["nested", "short"])
def test_a_config_file(group, nested, capsys):
    name = NAMES[group]["name"]
    Path("c.yaml").write_text(yaml.safe_dump({group: {"name": name} if nested else name}))
    refused(command(capsys, "train", "--eps", 0.1, "--config", "c.yaml"), name)


@pytest.mark.parametrize("key", ["data", "model", "attacks", "certify"])
def test_a_config_file_of_an_evaluation(key, capsys):
    make_run("mine", OWN)
    Path("c.yaml").write_text(yaml.safe_dump({key: "planted_here:Net", "n": 4}))
    refused(command(capsys, "evaluate", "mine", "--config", "c.yaml"), "planted_here:Net")


@pytest.mark.parametrize(
    "words", [("train", "--eps", 0.1), ("evaluate", "mine"), ("verify", "mine")]
)
def test_a_file_cannot_vouch_for_itself(words, capsys):
    make_run("mine", OWN)
    content = {"model": "planted_here:Net", "trust_model_code": True}
    Path("c.yaml").write_text(yaml.safe_dump(content))
    code, _, err = command(capsys, *words, "--config", "c.yaml")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot vouch for itself" in err
    nothing_happened()


def test_a_demo_in_somebodys_folder(capsys):
    Path("theirs/seed0").mkdir(parents=True)
    folder = trained("theirs/seed0/standard")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "model": NAMES["model"]}))
    code, _, err = command(capsys, "demo", "--out", "theirs")
    assert (code, err.count("\n")) == (2, 1)
    assert "theirs/seed0/standard is another run" in err  # and so nothing that it names is used
    nothing_happened()


def test_a_name_on_the_command_line_is_the_users_own(capsys):
    words = ["train", "--eps", 0.0, "--epochs", 1, "--validation", 1400, "--out", "mine"]
    assert command(capsys, *words, "--model", "planted_here:Net", "--model-args", "{}")[0] == 0
    assert "planted_here" in sys.modules
    config = Path("mine/config.yaml").read_text()
    refused_once = command(capsys, "train", "--resume", "mine")
    assert refused_once[0] == 2
    again = ["train", "--resume", "mine", "--model"]
    assert command(capsys, *again, "planted_here:Net")[0] == 0
    code, _, err = command(capsys, *again, "digits_cnn")
    assert (code, err.count("\n")) == (2, 1)
    assert "but the model of mine is planted_here:Net" in err
    assert Path("mine/config.yaml").read_text() == config


# --- every command


READERS: dict[str, tuple[object, ...] | None] = {
    "demo": None,  # see above: it takes up only runs whose config is its own
    "train": ("--resume", "theirs"),
    "extend": ("theirs", "--eps", 0.2),
    "evaluate": ("theirs", "--n", 4),
    "verify": ("theirs",),
    "certify-smooth": ("theirs", "--sigma", 0.5, "--n", 2),
    "export": ("theirs", "--format", "torch-export", "--out", "theirs.pt2"),
    "sweep": None,  # no run; what a grid names is tested in test_sweep
    "zoo list": None,
    "zoo load": None,  # no run; what a card names is tested in test_zoo
    "zoo add": ("theirs", "--name", "theirs-0.1"),
    "doctor": None,
    "completion": None,
    "landscape weights": ("theirs", "theirs2"),
    "landscape inputs": ("theirs",),
    "landscape convergence": ("theirs", "theirs2"),
    "reproduce": None,  # reads no run but those of its own recipes
    "report": ("theirs",),
    "explain": ("theirs",),
    "explore": ("theirs",),
    "limit": None,  # no run, and the data that the user names
    **{f"theory {part}": None for part in ("gaussian", "bernoulli", "limits", "hardness")},
}
"""command → words that make it read somebody's run; None: it reads none."""


def test_the_table_has_every_command() -> None:
    names = {
        f"{name} {part}" if part else name
        for name, entry in COMMANDS.items()
        for part in (entry.parts if isinstance(entry, Group) else [""])
    }
    assert names == set(READERS)


@pytest.mark.parametrize("name", [name for name, words in READERS.items() if words])
@pytest.mark.parametrize("group", ["model", "data"])
def test_no_command_imports_what_a_run_names(group, name, capsys):
    words = READERS[name]
    assert words is not None
    for folder in ("theirs", "theirs2"):
        path = trained(folder)
        config = yaml.safe_load((path / "config.yaml").read_text())
        (path / "config.yaml").write_text(yaml.safe_dump({**config, group: NAMES[group]}))
        if name == "landscape convergence":  # needs the weights of epochs
            (path / "epochs").mkdir()
            for epoch in (1, 2):
                (path / f"epochs/{epoch:05d}.safetensors").write_bytes(
                    (path / "weights.safetensors").read_bytes()
                )
    code, _, err = command(capsys, *name.split(), *words)
    nothing_happened()
    if (name, group) == ("zoo add", "data"):
        return  # it loads no data
    if name not in (
        "verify",
        "landscape convergence",
        "report",
        "explore",
    ):  # which may need neither
        assert (code, err.count("\n")) == (2, 1), err
        assert NAMES[group]["name"] in err


@pytest.mark.parametrize(
    "content",
    [{"methods": "planted_here:load"}, {"objective": {"parts": ["planted_here:load"]}}],
)
def test_a_config_file_names_no_code_under_any_key(content, capsys):
    Path("c.yaml").write_text(yaml.safe_dump(content))
    refused(command(capsys, "train", "--eps", 0.1, "--config", "c.yaml"), "planted_here:load")
