"""The whole path, train → extend → evaluate with the checklist → verify, on what is the user's own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import run
from contexts import SMALL
from hardball import load_dataset

QUICKLY = {
    "hardball.evaluation.checks.budget:BUDGETS": {"quick": SMALL},
    "hardball.evaluation.protocols:PROTOCOLS": {"checklist": ("pgd-20", "apgd-ce")},
}
CHECKLIST = ("--protocol", "checklist", "--budget", "quick")
TRAIN = ("--epochs", 2, "--steps", 2, "--batch-size", 64, "--validation", 60)
NET = """
import torch


class Net(torch.nn.Sequential):
    def __init__(self, hidden=16):
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(64, hidden),
            torch.nn.ReLU(),
            torch.nn.Linear(hidden, 10),
        )
"""
OWN = ("--model", "ownnet:Net")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A directory with images in folders, a network in a module, a run, and one extended from it."""
    here = tmp_path_factory.mktemp("own")
    (here / "ownnet.py").write_text(NET)
    for split, count in (("train", 400), ("test", 40)):
        data = load_dataset("digits", split=split).rows(slice(0, count))
        for i, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
            target = here / "images" / split / f"class{label}"
            target.mkdir(parents=True, exist_ok=True)
            pixels = (image[0].numpy() * 255).astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{i:04}.png")
    source = ("--data", "folder", "--data-root", "images")
    train = ("train", *source, *OWN, "--model-args", "{hidden: 24}", "--eps", 0.02, *TRAIN)
    assert succeeds(run((*train, "--out", "at"), here))
    extend = ("extend", "at", "--eps", 0.04, "--epochs", 1, *OWN, "--model-args", "{hidden: 24}")
    assert succeeds(run((*extend, "--out", "eat"), here))
    return here


def succeeds(ended: tuple[int, str, str]) -> bool:
    code, _, err = ended
    assert err == ""
    return code == 0


def record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def output(place) -> str:
    """What evaluating the extended run printed."""
    code, out, err = run(("evaluate", "eat", *CHECKLIST, *OWN), place, instead=QUICKLY)
    assert (code in (0, 1), err) == (True, "")
    return " ".join(out.split())


def test_own_images_and_own_network(place, output):
    found = record(place / "eat" / "evaluation.json")
    assert (found["data"], found["data_root"]) == ("folder", "images")
    assert found["model"]["args"] == {"hidden": 24}
    assert found["verdict"]["sentence"] in output
    by_name = {check["name"]: check for check in found["checklist"]["checks"]}
    assert by_name["transfer from origin"]["status"] in ("pass", "fail")
    code, out, err = run(("verify", "eat", *OWN), place)
    assert (code, err) == (0, "")
    assert "Verified: of 40 images of folder" in " ".join(out.split())
    # the data has moved: where it is must be said
    shutil.move(place / "images", place / "elsewhere")
    try:
        code, out, err = run(("verify", "eat", *OWN), place)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--data-root" in err
        assert run(("verify", "eat", *OWN, "--data-root", "elsewhere"), place)[0] == 0
    finally:
        shutil.move(place / "elsewhere", place / "images")


def test_own_weights_beside_own_images(place):
    """No run's config: everything that verify needs is in evaluation.json."""
    shutil.copy(place / "eat" / "weights.safetensors", place / "mine.safetensors")
    words = ["evaluate", "mine.safetensors", "--data", "folder", "--data-root", "images", *OWN]
    more = ("--model-args", "{hidden: 24}", "--eps", 0.04)
    code, _, err = run((*words, *more, *CHECKLIST), place, instead=QUICKLY)
    assert (code in (0, 1), err) == (True, "")
    code, out, err = run(("verify", "mine.safetensors", *OWN), place)
    assert (code, err) == (0, "")
    assert "Verified: of 40 images of folder" in " ".join(out.split())
    # other images in the same place do not hold
    image = next((place / "images" / "test" / "class0").glob("*.png"))
    before = image.read_bytes()
    Image.fromarray(np.full((8, 8), 255, dtype=np.uint8)).save(image)
    try:
        code, out, _ = run(("verify", "mine.safetensors", *OWN), place)
        assert code == 1
        assert "NOT verified: data: 40 images of folder, but other ones" in " ".join(out.split())
    finally:
        image.write_bytes(before)


@pytest.mark.usefixtures("output")
def test_code_that_is_not_there_is_no_refutation(place):
    (place / "ownnet.py").rename(place / "gone.py")
    try:
        code, out, err = run(("verify", "eat", *OWN), place)
    finally:
        (place / "gone.py").rename(place / "ownnet.py")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "No module named 'ownnet'" in err


LOADER = """
import hardball


def load(root, train):
    data = hardball.load_dataset("digits", split="train" if train else "test")
    return data.rows(slice(0, 400 if train else 40))
"""


def test_own_data(place):
    """A function that loads the data is code as a network is: it must be named, or trusted."""
    (place / "owndata.py").write_text(LOADER)
    data, trust = ("--data", "owndata:load"), ("--trust-model-code", "true")
    train = ("train", *data, *OWN, "--eps", 0.02, *TRAIN, "--out", "d")
    assert succeeds(run(train, place))
    evaluate = ("evaluate", "d", "--attacks", "fgsm")
    code, out, err = run((*evaluate, *OWN), place)
    assert (code, out) == (2, "")
    assert "the data set 'owndata:load' is code outside hardball" in err
    for flags in ((*data, *OWN), trust):
        assert succeeds(run((*evaluate, *flags), place))
        assert record(place / "d" / "evaluation.json")["data"] == "owndata:load"
        assert run(("verify", "d", *OWN), place)[0] == 2
        assert succeeds(run(("verify", "d", *flags), place))
