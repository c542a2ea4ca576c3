"""`hardball landscape weights`: files in, data and picture out."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Hardball = Callable[..., tuple[int, str, str]]

FEW = ("--points", 5, "--n", 60, "--attack", "fgsm")


@pytest.fixture
def drawn(hardball: Hardball, tmp_path: Path) -> Any:
    """Words of the command → content of landscape-weights.json."""

    def call(*words: object) -> dict[str, Any]:
        code, out, err = hardball("landscape", "weights", *words, *FEW, "--out", tmp_path)
        assert (code, err) == (0, "")
        assert "barrier" in out
        assert (tmp_path / "landscape-weights.png").read_bytes().startswith(b"\x89PNG")
        found: dict[str, Any] = json.loads((tmp_path / "landscape-weights.json").read_text())
        return found

    return call


def test_from_one_run_to_another_at_both_eps(drawn: Any, hardball: Hardball) -> None:
    found = drawn("at", "eat", "--at-eps", 0.1)
    assert found["alpha"] == [0, 0.25, 0.5, 0.75, 1]
    wide, narrow = found["segments"]
    assert (wide["eps"], narrow["eps"]) == (0.2, 0.1)  # the end's own, then the start's
    assert all(one > other for one, other in zip(wide["loss"], narrow["loss"], strict=True))
    for one in found["segments"]:
        assert 0 <= one["chord_violation"] <= one["convexity_violation"]
        assert one["barrier"] == max(one["loss"]) - max(one["loss"][0], one["loss"][-1])
    assert (found["images"], found["split"], found["norm"]) == (60, "train", "linf")
    assert found["start"]["name"] == "at"
    assert found["plane"] is found["curvature"] is None


def test_epoch_files_and_weights_files_of_a_run_need_no_more_words(drawn: Any) -> None:
    by_file = drawn("at/epochs/00001.safetensors", "at/epochs/00002.safetensors")
    by_run = drawn("at/epochs/00001.safetensors", "at")
    assert by_file["segments"] == by_run["segments"]
    assert by_file["start"]["name"] == "at/epochs/00001.safetensors"
    assert drawn("eat", "at/weights.safetensors")["segments"][0]["loss"][-1] == pytest.approx(
        by_run["segments"][0]["loss"][-1]
    )


def test_a_file_elsewhere_takes_the_data_and_model_named(drawn: Any, tmp_path: Path) -> None:
    by_run = drawn("at", "eat", "--eps", 0.1)
    shutil.copy("eat/weights.safetensors", tmp_path / "w.safetensors")
    named = ("--data", "digits", "--model-args", "{width: 4}", "--eps", 0.1)
    assert drawn("at", tmp_path / "w.safetensors", *named)["segments"] == by_run["segments"]


def test_random_weights_are_those_a_training_starts_from(drawn: Any, hardball: Hardball) -> None:
    words = ("--steps", 1, "--validation", 1300, "--model-args", "{width: 4}", "--lr", 1e-9)
    assert hardball("train", "--eps", 0.1, "--epochs", 1, *words, "--seed", 3, "--out", "still")[
        0
    ] == (0)
    found = drawn("random", "still", "--seed", 3)
    assert found["segments"][0]["range"] < 1e-4
    assert drawn("random", "still", "--seed", 4)["segments"][0]["range"] > 1e-3
    assert found["start"] == {"name": "random weights", "path": None, "weights_sha256": None}
    shutil.rmtree("still")


def test_the_plane_has_the_end_at_its_centre(drawn: Any) -> None:
    found = drawn("at", "eat", "--plane", 3, "--span", 0.5)
    assert found["plane"]["steps"] == [-0.5, 0, 0.5]
    assert found["plane"]["loss"][1][1] == pytest.approx(found["segments"][0]["loss"][-1])


def test_the_command_beside_the_picture_remakes_it(drawn: Any, hardball: Hardball) -> None:
    found = drawn("random", "at", "--eps", 0.05, "--at-eps", "[0.1, 0.15]", "--seed", 2)
    program, *words = shlex.split(found["command"])
    assert program == "hardball"
    assert hardball(*words, "--out", "again")[0] == 0
    again = json.loads(Path("again/landscape-weights.json").read_text())
    unlike = {"seconds"}
    assert {k: v for k, v in again.items() if k not in unlike} == {
        k: v for k, v in found.items() if k not in unlike
    }
    shutil.rmtree("again")


def test_by_default_the_files_lie_in_the_run_of_the_end(hardball: Hardball) -> None:
    assert hardball("landscape", "weights", "at", "eat/weights.safetensors", *FEW)[0] == 0
    for kind in ("json", "png"):
        Path(f"eat/landscape-weights.{kind}").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("at", "wide"), "at and wide are different networks: args is {'width': 4} in the first"),
        (("at", "eat", "--points", 1), "--points 1; allowed is 2 or more"),
        (("at", "eat", "--plane", 1), "--plane 1; allowed is 2 or more"),
        (("at", "eat", "--attack", "pdg-20"), "unknown attack 'pdg-20'; did you mean 'pgd-20'?"),
        (("at", "eat", "--n", 9999), "--n 9999 of 1437 images; allowed is 1 … 1437"),
        (("at", "eat", "--eps", 8), "eps=8 for linf; allowed is"),
        (("at", "eat", "--at-eps", "[2]"), "eps=2 for linf; allowed is"),
        (("at", "eat", "--plane", 3, "--span", -1), "--span -1.0; allowed is a positive number"),
        (("at", "nowhere"), "no run and no weights at nowhere"),
        (("nowhere", "at"), "no run and no weights at nowhere"),
        (("empty", "at"), "empty has no weights yet; let it finish an epoch"),
        (("at", "empty"), "empty has no weights yet; let it finish an epoch"),
        (("at", "random"), "name them first: hardball landscape weights random RUN"),
        (("at",), "missing END"),
        (("at", "eat", "--out", "at/config.yaml"), "is a file; choose a folder"),
        (("at", "eat", "--device", "tpu"), "--device tpu is not on this machine"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(
    words: tuple[object, ...], message: str, hardball: Hardball, tmp_path: Path
) -> None:
    empty = Path("empty")
    empty.mkdir(exist_ok=True)
    shutil.copy("at/config.yaml", empty)
    out = () if "--out" in words else ("--out", tmp_path / "out")
    code, _, err = hardball("landscape", "weights", *FEW[2:], *words, *out)
    assert code == 2
    assert err.startswith("hardball: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_the_missing_extra_is_named_before_anything_is_computed(
    hardball: Hardball, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "curvlinops", None)
    code, _, err = hardball("landscape", "weights", "at", "eat", "--curvature", "true")
    assert code == 2
    assert "--curvature true) needs curvlinops: pip install 'hardball[landscape]'" in err
