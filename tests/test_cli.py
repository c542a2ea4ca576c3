"""The command: help, settings from files, and one line for every mistake."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from commands import PACKAGE, TINY, own
from hardball import Settings, __version__, load_dataset, load_run
from hardball.cli.main import COMMANDS, Group, main

Ended = tuple[int, str, str]
Hardball = Callable[..., Ended]

RUN = ("train", "--eps", 0.1, "--epochs", 1, *TINY)


@pytest.fixture
def hardball(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Hardball:
    """Runs the command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])

    def call(*words: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "line",
    [
        "/lib/torch/nn/modules/x.py:12: FutureWarning: soon\n  y = x.old()\n",
        "<frozen importlib._bootstrap>:241: DeprecationWarning: swigvarlink\n",
        "[W1124 12:00:00.1 socket.cpp:752] [c10d] no IPv6 address of (localhost, 1)\n",
        "[rank1]:[W1124 12:00:00.1 ProcessGroupGloo.cpp:1] late\n",
        "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number is: 1\n",
    ],
)
def test_the_tests_pass_over_the_warnings_of_others_only(line: str) -> None:
    before = (
        f"hardball: warning: [W1] x.py:1: UserWarning: mine\n{PACKAGE}/x.py:1: UserWarning: a\n"
    )
    after = "Traceback (most recent call last):\n  x()\nUserWarning: raised\n"
    assert own(before + line + after) == before + after


# --- help and settings


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(words: tuple[str, ...], hardball: Hardball) -> None:
    code, out, err = hardball(*words)
    assert (code, err) == (0, "")
    assert all(f"  {name} " in out for name in COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


PARTS = [
    f"{name} {part}"
    for name, group in COMMANDS.items()
    if isinstance(group, Group)
    for part in group.parts
]


@pytest.mark.parametrize("command", [*COMMANDS, *PARTS])
def test_help_of_a_command_is_readable(command: str, hardball: Hardball) -> None:
    code, out, err = hardball(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: hardball {command} ")
    for ugly in ("<class", "Literal[", "type:", "null", "typing"):
        assert ugly not in out


def test_version(hardball: Hardball) -> None:
    assert hardball("--version") == (0, f"hardball {__version__}\n", "")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--eps", 0.3),
        ("train", "--eps", 0.4, "--curriculum", "iterative", "--preset", "mnist-paper"),
        ("train", "--eps", 0.1, "--model-args", "{width: 3}", "--lr", 1e-5, "--augment", "true"),
        ("limit", "--eps", "[8, 16]", "--per", 255, "--split", "both", "--data-root", "d"),
        ("evaluate", "r", "--eps", "[0.1, 0.2]", "--attacks", "[fgsm, pgd-20]", "--n", 7),
    ],
)
def test_a_printed_config_gives_the_same_settings(
    words: tuple[object, ...], hardball: Hardball
) -> None:
    code, printed, err = hardball(*words, "--print_config")
    assert (code, err) == (0, "")
    Path("c.yaml").write_text(printed)
    again = [words[0], *(["r"] if words[0] == "evaluate" else []), "--config", "c.yaml"]
    assert yaml.safe_load(hardball(*again, "--print_config")[1]) == yaml.safe_load(printed)


def test_a_flag_overrides_the_file_and_dashes_are_underscores(hardball: Hardball) -> None:
    Path("c.yaml").write_text("eps: 0.2\nbatch_size: 7\nlr: 0.5\n")
    for flag in ("--batch-size", "--batch_size"):
        words = ("train", "--config", "c.yaml", flag, 9, "--print_config")
        found = yaml.safe_load(hardball(*words)[1])
        assert (found["eps"], found["batch_size"], found["optimizer"]["lr"]) == (0.2, 9, 0.5)


def test_a_number_may_be_a_fraction(hardball: Hardball) -> None:
    for words in (("--eps", "8/255"), ("--eps=8/255",)):
        found = yaml.safe_load(hardball("train", *words, "--print_config")[1])
        assert found["eps"] == 8 / 255
    several = ("evaluate", "runs/8/255", "--eps", "[8/255, 1.5/8]", "--n", 7, "--print_config")
    found = yaml.safe_load(hardball(*several)[1])
    assert found["eps"] == [8 / 255, 1.5 / 8]
    text = "eps: 8/255\nattack:\n  step_size: 2/255\nout: runs/8/255\n"
    Path("c.yaml").write_text(text)
    found = yaml.safe_load(hardball("train", "--config", "c.yaml", "--print_config")[1])
    assert (found["eps"], found["attack"]["step_size"]) == (8 / 255, 2 / 255)
    assert found["out"] == "runs/8/255"
    Path("c.yaml").write_text("eps: [4/255, 0.1]\n")
    found = yaml.safe_load(hardball("evaluate", "r", "--config", "c.yaml", "--print_config")[1])
    assert found["eps"] == [4 / 255, 0.1]
    Path("c.yaml").write_text("eps: 8/0\n")
    assert hardball("train", "--config", "c.yaml")[2] == (
        "hardball: error: --config: eps=8/0; allowed is a finite number; see hardball train --help\n"
    )
    for wrong in ("8/0", "8/2/5", "a/8", "8/"):
        code, _, err = hardball("train", "--eps", wrong, "--print_config")
        assert code == 2
        assert "allowed is a finite number" in err


# --- a session from training to evaluation


def test_train_extend_and_evaluate(hardball: Hardball) -> None:
    code, out, err = hardball(*RUN, "--out", "at-0.1")
    assert (code, err) == (0, "")
    assert out.count("\n") == 2
    assert "epoch 1  ε=0.1" in out
    code, out, err = hardball("extend", "at-0.1", "--eps", 0.2, "--epochs", 1)
    assert (code, err) == (0, "")
    assert "finished: runs/at-0.1-to-0.2-seed0" in out
    config = yaml.safe_load(Path("runs/at-0.1-to-0.2-seed0/config.yaml").read_text())
    assert config["origin"]["path"] == "at-0.1"
    assert config["batch_size"] == 64  # taken over from the origin
    code, out, err = hardball("evaluate", "at-0.1", "--eps", 0.05, "--attacks", "fgsm", "--n", 50)
    assert (code, err) == (0, "")
    assert "n=50" in out
    found = json.loads(Path("at-0.1/evaluation.json").read_text())
    assert [score["attack"] for score in found["scores"]] == ["fgsm"]
    assert found["clean"]["n"] == 50
    weights = ("evaluate", "at-0.1/weights.safetensors", "--data", "digits", "--n", 50)
    code, _, err = hardball(*weights, "--model-args", "{width: 4}", "--eps", "[0.05]")
    assert (code, err) == (0, "")


def test_an_extension_is_validated_on_what_its_origins_never_saw(hardball: Hardball) -> None:
    assert hardball(*RUN, "--out", "one", "--seed", 3)[0] == 0
    for number, (there, out) in enumerate((("one", "two"), ("two", "three"))):
        words = ("extend", there, "--eps", 0.2, "--epochs", 1, "--seed", number, "--out", out)
        assert hardball(*words)[0] == 0
        run = load_run(Path(out))
        _, held = Settings(seed=3, validation=1000).hold_out(load_dataset("digits"))
        with torch.no_grad():
            right = run.model(held.images).argmax(1) == held.labels
        assert run.history[-1]["val_accuracy"] == pytest.approx(right.float().mean().item())


STRIPES = """
import torch
from hardball import Dataset

def load(root, train):
    labels = torch.arange(200 if train else 60) % 2
    images = torch.rand(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(int(train)))
    images[:, :, :, :4] += labels[:, None, None, None]
    return Dataset(name="stripes", images=images / 2, labels=labels, classes=2)
"""


def as_folder(root: Path) -> None:
    """The same images as files, by class."""
    for train in (True, False):
        data = load_dataset("stripes:load", split="train" if train else "test")
        for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            place = root / ("train" if train else "test") / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            pixels = (image[0] * 255).to(torch.uint8).numpy()
            Image.fromarray(pixels).save(place / f"{number}.png")


def test_images_in_a_folder_are_trained_on_evaluated_and_verified(hardball: Hardball) -> None:
    """What an evaluation calls the data is a name that `verify` can load."""
    Path("stripes.py").write_text(STRIPES)
    as_folder(Path("shapes"))
    data = ("--data", "folder", "--data-root", "shapes", "--model", "digits_cnn")
    short = ("--eps", 0.05, "--epochs", 1, "--steps", 2, "--batch-size", 32, "--validation", 40)
    assert hardball("train", *data, *short, "--out", "r")[0] == 0
    assert hardball("evaluate", "r", "--attacks", "fgsm")[0] == 0
    assert json.loads(Path("r/evaluation.json").read_text())["data"] == "folder"
    code, out, err = hardball("verify", "r")
    assert (code, err) == (0, "")
    assert "60 images of folder" in out


def test_data_of_a_users_own_function_is_trained_on(hardball: Hardball) -> None:
    Path("stripes.py").write_text(STRIPES)
    data = ("--data", "stripes:load", "--model", "digits_cnn")
    short = ("--eps", 0.05, "--epochs", 1, "--steps", 2, "--batch-size", 32, "--validation", 40)
    code, out, err = hardball("train", *data, *short, "--out", "r")
    assert (code, err) == (0, "")
    assert "finished: r" in out
    assert yaml.safe_load(Path("r/config.yaml").read_text())["data"]["name"] == "stripes:load"


# --- mistakes

# what Python itself says: from 3.13 on it suggests another argument, and to 3.14 a path whose name is too
# long is one that does not exist
SUGGESTED = ". Did you mean 'width'?" if sys.version_info >= (3, 13) else ""
TOO_LONG = "no run and no weights at xxx" if sys.version_info >= (3, 14) else "File name too long"

BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "command": (("trian",), "unknown command 'trian'; did you mean 'train'? there are: "),
    "part": (
        ("theory", "gausian"),
        "unknown command 'gausian'; did you mean 'gaussian'? there are: bernoulli, gaussian",
    ),
    "theory": (("theory", "gaussian", "--sigma", -1), "--sigma -1.0; give a positive"),
    "limit": (("limit", "--data", "digit"), "unknown data set 'digit'; did you mean 'digits'?"),
    "limit out": (
        ("limit", "--first", 50, "--eps", "[0.1]", "--out", "w.bin"),
        "w.bin is no JSON",
    ),
    "data of one's own": ((*RUN, "--data", "no:load"), "data set 'no:load': No module named 'no'"),
    "no eps": (("train",), "missing --eps"),
    "eps without value": (("train", "--eps"), "--eps: expected one argument"),
    "eps as text": ((*RUN, "--eps", "big"), "eps=big; allowed is a finite number"),
    "eps nan": ((*RUN, "--eps", "nan"), "eps=nan; allowed is a finite number"),
    "negative eps": ((*RUN, "--eps", -0.1), "eps=-0.1; allowed"),
    "large eps": ((*RUN, "--eps", 8), "eps=8 for linf; allowed"),
    "epochs": ((*RUN, "--epochs", -1), "epochs=-1; allowed is 1 or more"),
    "epochs as text": ((*RUN, "--epochs", "x"), "epochs=x; allowed is a whole number"),
    "half an epoch": ((*RUN, "--epochs", 1.5), "epochs=1.5; allowed is a whole number"),
    "steps": ((*RUN, "--steps", -1), "steps=-1; allowed is 1 or more"),
    "no step": (
        ("train", "--eps", 0.1, "--step-size", 0.5),
        "eps=0.1 with step_size=0.5 leaves no step",
    ),
    "data": (
        (*RUN, "--data", "mnis"),
        "unknown data set 'mnis'; did you mean 'mnist'? there are: cifar10, cifar10-jpeg",
    ),
    "no folder": (
        (*RUN, "--data", "folder", "--data-root", "no"),
        "no folder no/train; --data folder needs a --data-root with train/CLASS/ and test/CLASS/",
    ),
    "model": (
        (*RUN, "--model", "net"),
        "unknown model 'net'; did you mean 'resnet8'? there are: cnn7, digits_cnn",
    ),
    "module": ((*RUN, "--model", "no:Net"), "name an importable module"),
    "model argument": (
        (*RUN, "--model-args", "{wide: 4}"),
        f"'wide'{SUGGESTED}; change --model-args",
    ),
    "model arguments": ((*RUN, "--model-args", 4), "model_args=4; allowed is a YAML mapping"),
    "curriculum": (
        (*RUN, "--curriculum", "slow"),
        "unknown curriculum 'slow'; there are: adaptive, constant, iterative",
    ),
    "no largest eps": (("train", "--curriculum", "adaptive"), "missing --eps-max: the largest"),
    "eps and largest eps": (
        (*RUN, "--curriculum", "adaptive", "--eps-max", 0.4),
        "--eps 0.1 beside --eps-max 0.4, which are one setting; give one",
    ),
    "largest eps": (
        ("train", "--eps-max", 0.4),
        "eps_max=0.4 without --curriculum adaptive; add it, or give --eps",
    ),
    "schedule": (
        ("train", "--curriculum", "adaptive", "--eps-max", 0.4, "--schedule", "cosine"),
        "schedule=cosine with an adaptive curriculum",
    ),
    "no budget": (
        ("train", "--curriculum", "adaptive", "--eps-max", 0.4, "--budget-steps", 0),
        "budget_steps=0; allowed is a number above 0",
    ),
    "ramp": ((*RUN, "--increment", 0.01), "increment=0.01 without a ramp; add --curriculum iter"),
    "preset": ((*RUN, "--preset", "x"), "unknown preset 'x'; there are: cifar10-paper"),
    "no preset": ((*RUN, "--pres", "mnist-paper"), "unknown flag --pres; did you mean --preset?"),
    "flag": ((*RUN, "--epz", 1), "unknown flag --epz; did you mean --eps?"),
    "stray word": ((*RUN, "stray"), "unrecognized arguments: stray"),
    "devices": ((*RUN, "--devices", 0), "devices=0; allowed is 1 or more"),
    "gpus": ((*RUN, "--devices", 99, "--accelerator", "cuda"), "accelerator=cuda, devices=99"),
    "accelerator": ((*RUN, "--accelerator", "abacus"), "accelerator=abacus"),
    "precision": ((*RUN, "--precision", 16), "unknown precision '16'; there are: 32-true"),
    "switch": ((*RUN, "--carry", "maybe"), "carry=maybe; allowed is true or false"),
    "augmentation": (
        (*RUN, "--augment", "afine"),
        "unknown augmentation 'afine'; did you mean 'affine'? there are: affine, affine-sharp, crops, "
        "false, none, shifts, true",
    ),
    "front": ((*RUN, "--front", "round"), "unknown front 'round'; did you mean 'rounding'?"),
    "front's arguments": (
        (*RUN, "--front-args", "{steepness: 40}"),
        "--front-args {'steepness': 40} without --front, whose they are; name one: rounding",
    ),
    "validation": ((*RUN, "--validation", 5000), "--validation 5000 of 1437 training images"),
    "norm": ((*RUN, "--norm", "l1"), "unknown norm to train with 'l1'; there are: l0, l2, linf"),
    "config missing": ((*RUN, "--config", "no.yaml"), "cannot read --config no.yaml: No such"),
    "config damaged": ((*RUN, "--config", "damaged.yaml"), "cannot read --config damaged.yaml"),
    "config binary": ((*RUN, "--config", "w.bin"), "cannot read --config w.bin"),
    "config a list": ((*RUN, "--config", "list.yaml"), "no YAML mapping; write lines"),
    "config unknown": (
        (*RUN, "--config", "unknown.yaml"),
        "unknown flag --epz; did you mean --eps?",
    ),
    "out a file": ((*RUN, "--out", "w.bin"), "--out w.bin is a file; choose a folder"),
    "out below a file": ((*RUN, "--out", "w.bin/r"), "cannot write w.bin/r/config.yaml"),
    "out a run": ((*RUN, "--out", "r"), "r already holds a run; continue it with --resume r"),
    "resume nothing": (("train", "--resume", "no"), "no is no run: it has no config.yaml"),
    "resume a file": (("train", "--resume", "w.bin"), "w.bin is no run"),
    "resume what": (("train", "--resume"), "--resume: expected one argument"),
    "resume with others": (
        ("train", "--resume", "r", "--lr", 0.1),
        "--lr beside --resume; a resumed run keeps its own settings",
    ),
    "extend nothing": (("extend", "no", "--eps", 0.1), "no run and no weights at no"),
    "extend whom": (("extend", "--eps", 0.1), "missing RUN"),
    "extend late": (("extend", "--eps", 0.1, "r"), "name the run to extend first"),
    "extend a page": (("extend", "page.html", "--eps", 0.1), "is a web page, not weights"),
    "extend another": (
        ("extend", "r", "--eps", 0.1, "--model-args", "{width: 5}"),
        "of another architecture: convs.0.weight is [4, 1, 3, 3] there and [5, 1, 3, 3]",
    ),
    "extend with more held out": (
        ("extend", "r", "--eps", 0.1, "--validation", 1100, "--out", "new"),
        "--validation 1100, but r held out 1000 images and was trained on the others; allowed is 1 … 1000",
    ),
    "extend with others held out": (
        ("extend", "r", "--eps", 0.1, "--validation-seed", 5, "--out", "new"),
        "--validation-seed 5, but r held out its images by 0 and was trained on the others",
    ),
    "extend a tensor": (("extend", "w.st", "--eps", 0.1), "of another architecture: missing"),
    "evaluate nothing": (("evaluate", "no"), "no run and no weights at no"),
    "evaluate what": (("evaluate",), "missing RUN"),
    "evaluate a folder": (("evaluate", "."), ". is no run: it has no config.yaml"),
    "evaluate unknown data": (("evaluate", "w.st"), "pass --data (and --model)"),
    "evaluate bytes": (
        ("evaluate", "w.bin", "--data", "digits", "--eps", 0.1),
        "no whole safetensors file",
    ),
    "evaluate at which eps": (
        ("evaluate", "w.bin", "--data", "digits"),
        "w.bin does not say which ε it was trained for; pass the ε to measure at, e.g. --eps 0.3",
    ),
    "evaluate eps": (("evaluate", "r", "--eps", "[2]"), "eps=2 for linf; allowed"),
    "evaluate no eps": (("evaluate", "r", "--eps", "[]"), "--eps []; give at least one"),
    "evaluate text": (("evaluate", "r", "--eps", "[a]"), "eps=a; allowed is a finite number"),
    "protocol": (
        ("evaluate", "r", "--protocol", "x"),
        "unknown protocol 'x'; there are: autoattack",
    ),
    "a set of attacks": (
        ("evaluate", "r", "--attacks", "checklist"),
        "attack 'checklist' is a protocol, a set of attacks; use --protocol checklist",
    ),
    "attack": (("evaluate", "r", "--attacks", "x"), "unknown attack 'x'; there are: apgd-ce"),
    "n": (("evaluate", "r", "--n", 0), "--n 0; allowed is 1 or more"),
    "batch size": (("evaluate", "r", "--batch-size", 0), "--batch-size 0; allowed is 1 or more"),
    "seed": (("evaluate", "r", "--seed", -1), "--seed -1; allowed is 0 or more"),
    "device": (("evaluate", "r", "--device", "abacus"), "--device abacus is not on this machine"),
    "n beyond": (("evaluate", "r", "--n", 99999), "--n 99999 of the 360 images of digits; allowed"),
    "other images": (
        ("evaluate", "r", "--data", "wide:load"),
        "made for images [1, 8, 8] and does",
    ),
    "a pipe": (("evaluate", "pipe", "--data", "digits", "--eps", 0.1), "it is no regular file"),
    "integer weights": (
        ("extend", "int8.st", "--eps", 0.1, *TINY),
        "is of type int8 there and float",
    ),
    "complex weights": (
        ("extend", "complex.st", "--eps", 0.1, *TINY),
        "of type complex64 there and",
    ),
    "no out": ((*RUN, "--out", ""), "--out . is the current folder; name one of the run's own"),
    "long out": ((*RUN, "--out", "x" * 300), "File name too long"),
    "long run": (("evaluate", "x" * 300), TOO_LONG),
    "large seed": (
        (*RUN, "--seed", 2**64),
        "seed=18446744073709551616; allowed is 0 or more, below",
    ),
    "large batch": (("evaluate", "r", "--batch-size", 2**63), "allowed is 1 or more, below 2⁶³"),
    "many digits": (
        (*RUN, "--lr", "9" * 400),
        "99999999999999999999... has too many digits for a number",
    ),
    "strategy": ((*RUN, "--strategy", "deepspeed"), "strategy=deepspeed"),
    "tpu": ((*RUN, "--accelerator", "tpu"), "accelerator=tpu"),
    "processes": ((*RUN, "--accelerator", "cpu", "--devices", 999), "--devices 999 on"),
    "width": ((*RUN, "--model-args", "{width: -1}"), "width=-1; allowed is 1 or more"),
    "half a width": (
        (*RUN, "--model-args", "{width: 1.5}"),
        "model digits_cnn: width=1.5; allowed is int",
    ),
    "a billion wide": ((*RUN, "--model-args", "{width: 1000000000}"), "change --model-args"),
    "many processes": (
        ("evaluate", "r", "--n", 20, "--processes", 9999, "--attacks", "fgsm"),
        "--processes 9999 on",
    ),
    "other arguments of a run": (
        ("evaluate", "r", "--model-args", "{width: 5}"),
        "of another architecture: convs.0.weight is [4, 1, 3, 3] there and [5, 1, 3, 3]",
    ),
    "config a pipe": ((*RUN, "--config", "pipe"), "--config pipe is no regular file"),
    "first": (("limit", "--first", -1300), "--first -1300; allowed is 1 or more"),
    "per": (("limit", "--per", 0), "--per 0; allowed is a positive number"),
    "escape": (("evaluate", "\x1b[31mred"), r"no run and no weights at \x1b[31mred"),
    "split": (("evaluate", "r", "--split", "val"), "split=val; allowed is test, train"),
    "evaluate norm": (("evaluate", "r", "--norm", "l7"), "unknown norm 'l7'"),
}


WIDE = """
import torch
from hardball import Dataset

def load(root, train):
    return Dataset(name="wide", images=torch.zeros(20, 1, 28, 28), labels=torch.arange(20) % 10, classes=10)
"""


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_costs_one_line_and_nothing_else(
    name: str, hardball: Hardball, tmp_path: Path, made_run: Path
) -> None:
    words, message = BAD[name]
    Path("damaged.yaml").write_text("eps: [\n")
    Path("list.yaml").write_text("- 1\n")
    Path("unknown.yaml").write_text("epz: 1\n")
    Path("page.html").write_text("<!DOCTYPE html><html>not found</html>")
    Path("w.bin").write_bytes(b"\x93\xff\x00")
    save_file({"weight": torch.zeros(3)}, "w.st")
    weights = load_file(made_run / "weights.safetensors")
    for kind in (torch.int8, torch.complex64):
        save_file(
            {k: v.to(kind) for k, v in weights.items()}, f"{str(kind)[6:].removesuffix('64')}.st"
        )
    os.mkfifo("pipe")
    Path("wide.py").write_text(WIDE)
    for source, content in files(made_run).items():
        target = tmp_path / "r" / source.relative_to(made_run)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    before = files(tmp_path)
    code, out, err = hardball(*words)
    assert (code, out) == (2, "")
    assert err.startswith("hardball: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert files(tmp_path) == before


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("made") / "r"
    with pytest.raises(SystemExit) as ended:
        main([*map(str, RUN), "--out", str(folder)])
    assert ended.value.code == 0
    return folder


def test_a_collapse_is_an_outcome_and_says_which_command_to_try(hardball: Hardball) -> None:
    words = ("train", "--eps", 0.9, "--epochs", 12, *TINY, "--lr", 1e-6)
    Path("still.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.bias = nn.Parameter(__import__('torch').linspace(0, 0.1, 10))\n"
        "    def forward(self, x):\n        return self.bias + 0 * x.flatten(1).sum(1)[:, None]\n"
    )
    model = ("--model", "still:Net", "--model-args", "{}", "--out", "r")
    code, out, err = hardball(*words, *model)
    assert (code, err) == (0, "")
    assert "collapsed: r" in out
    assert out.count("collapse at ε=0.9") == 1, "told when it is noticed, not again at the end"
    assert "stopped after 3 collapsed epochs in a row" in out
    assert "hardball train --curriculum iterative --eps 0.9" in out
    outcome = json.loads(Path("r/outcome.json").read_text())
    assert outcome["status"] == "collapsed"
    assert math.isclose(outcome["eps"], 0.9)


def test_a_reader_that_has_gone_ends_it_without_a_word() -> None:
    command = [sys.executable, "-c", "import hardball.cli as c; c.main(['--help'])"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        error = process.stderr.read()
    assert (process.returncode, own(error.decode())) == (141, "")


def test_a_run_s_name_is_text_to_the_terminal(hardball: Hardball, made_run: Path) -> None:
    name = "[bold]r[red] :smile: \x1b[31m"
    shutil.copytree(made_run, name)
    code, out, err = hardball("evaluate", name, "--attacks", "fgsm", "--n", 30)
    assert code == 0, err
    assert r"[bold]r[red] :smile: \x1b[31m on digits" in out
    assert "\x1b" not in out
