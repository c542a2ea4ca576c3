"""`hardball landscape inputs`: files in, data and picture out."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Hardball = Callable[..., tuple[int, str, str]]

SMALL = ("--grid", 5, "--attack", "fgsm")


def test_planes_of_some_images_with_their_numbers(hardball: Hardball, tmp_path: Path) -> None:
    several = ("--index", "[2, 0, 1, 7]")
    code, out, err = hardball("landscape", "inputs", "at", *several, *SMALL, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "largest step" in out
    assert (tmp_path / "landscape-inputs.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "landscape-inputs.json").read_text()
    assert len(text.splitlines()) < 150  # a row of numbers is one line
    found = json.loads(text)
    assert found["steps"] == pytest.approx([-0.05, -0.025, 0, 0.025, 0.05])  # ±ε/2
    assert [one["index"] for one in found["planes"]] == [2, 0, 1, 7]
    assert all(np.shape(one["loss"]) == (5, 5) for one in found["planes"])
    assert all(0 < one["largest_step"] <= 1 for one in found["planes"])
    # the same image gives the same, alone
    program, *again = shlex.split(found["command"].replace("'[2, 0, 1, 7]'", "1"))
    assert program == "hardball"
    assert hardball(*again, "--out", "again")[0] == 0
    again = json.loads(Path("again/landscape-inputs.json").read_text())
    assert again["planes"] == [found["planes"][2]]
    shutil.rmtree("again")


def test_the_file_of_an_epoch_and_another_reach(hardball: Hardball, tmp_path: Path) -> None:
    words = ("at/epochs/00001.safetensors", "--reach", 0.2, "--split", "train")
    assert hardball("landscape", "inputs", *words, *SMALL, "--out", tmp_path)[0] == 0
    found = json.loads((tmp_path / "landscape-inputs.json").read_text())
    assert (found["steps"][-1], found["split"]) == (0.2, "train")
    assert found["run"]["name"] == "at/epochs/00001.safetensors"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("at", "--index", 360), "--index 360 of the 360 test images; allowed is 0 … 359"),
        (("at", "--index", "[0, -1]"), "--index -1 of the 360 test images"),
        (("at", "--index", "[]"), "name at least one image"),
        (("at", "--grid", 2), "--grid 2; allowed is 3 or more"),
        (("at", "--reach", -1), "--reach -1.0; allowed is a positive number"),
        (("at", "--eps", 0), "--eps 0 leaves no adversarial direction"),
        (("at", "--norm", "l0", "--eps", 3), "no length; allowed is linf, l2, unbounded"),
        (("at", "--attack", "pdg-20"), "unknown attack 'pdg-20'; did you mean 'pgd-20'?"),
        (("empty",), "empty has no weights yet; let it finish an epoch"),
        (("nowhere",), "no run and no weights at nowhere"),
        ((), "missing RUN"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(
    words: tuple[object, ...], message: str, hardball: Hardball, tmp_path: Path
) -> None:
    Path("empty").mkdir(exist_ok=True)
    shutil.copy("at/config.yaml", "empty")
    more = () if "--attack" in words else ("--attack", "fgsm")
    code, _, err = hardball("landscape", "inputs", *words, *more, "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith("hardball: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()
