"""`hardball explain`: files in, data and picture out."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardball.cli import main
from hardball.report import explain_figures

Hardball = Callable[..., tuple[int, str, str]]

SMALL = ("--n", 5, "--steps", 2)


@pytest.fixture(scope="module")
def found(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of two runs, at one ε for saliency and another for perturbations."""
    from hardball.commands.explain import ExplainConfig, explain

    config = ExplainConfig(
        [runs / "at", runs / "eat"],
        index=[7, 0],
        eps=0.2,
        saliency_eps=0.1,
        n=5,
        steps=2,
        out=tmp_path_factory.mktemp("explained"),
    )
    return explain(config)


@pytest.fixture(scope="module")
def colour(runs: Path) -> None:
    """A run of images of another shape, `colour`."""
    from PIL import Image

    for part in ("train", "test"):
        for name in ("dark", "light"):
            folder = runs / "images" / part / name
            folder.mkdir(parents=True)
            for number in range(10):
                shade = number + 200 * (name == "light")
                Image.new("RGB", (8, 8), (shade, shade, 0)).save(folder / f"{number}.png")
    words = ("--data", "folder", "--data-root", runs / "images", "--model", "digits_cnn")
    more = ("--eps", 0.1, "--steps", 1, "--epochs", 1, "--validation", 4, "--out", runs / "colour")
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in ("train", *words, *more)])
    assert ended.value.code == 0


def test_files_and_tables(hardball: Hardball, tmp_path: Path) -> None:
    both = ("--index", "[7, 0]", "--eps", 0.2, "--saliency-eps", 0.1)
    code, out, err = hardball("explain", "at", "eat", *both, *SMALL, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "signed δ" in out
    assert "difference from at" in out
    assert (tmp_path / "explain.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "explain.json").read_text()
    first = json.loads(text)
    # the command remakes it
    program, *again = shlex.split(first["command"])
    assert program == "hardball"
    assert hardball(*again, "--out", "again")[0] == 0
    second = json.loads(Path("again/explain.json").read_text())
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    shutil.rmtree("again")


def test_the_numbers(found: dict[str, Any]) -> None:
    rows = found["numbers"]
    assert len(rows) == 2 * 4 * 3  # runs, maps, measures
    for row in rows:
        assert {"run", "quantity", "eps", "mean", "low", "high", "n"} <= set(row)
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["n"] == 5
    keys = {(row["run"], row["quantity"], row["eps"]) for row in rows}
    assert len(keys) == len(rows)
    assert ("eat", "gradient saliency: foreground share", 0.1) in keys
    assert ("at", "signed perturbation: gini", 0.2) in keys
    assert 0 < found["chance"]["foreground_share"] < 1


def test_differences_are_of_pairs(found: dict[str, Any]) -> None:
    means = {(row["run"], row["quantity"], row["eps"]): row["mean"] for row in found["numbers"]}
    assert len(found["differences"]) == 4 * 3
    for row in found["differences"]:
        assert (row["run"], row["against"]) == ("eat", "at")
        expected = (means[name, row["quantity"], row["eps"]] for name in ("eat", "at"))
        one, other = expected
        assert row["mean"] == pytest.approx(one - other)


def test_the_data_redraws_the_picture(found: dict[str, Any]) -> None:
    assert [one["index"] for one in found["images"]] == [7, 0]
    for one in found["images"]:
        assert np.shape(one["pixels"]) == (8, 8)
        for run in one["runs"]:
            for drawn in run["maps"]:
                values = np.array(drawn["values"])
                assert values.shape == (8, 8)
                assert np.abs(values).max() == 1
            assert run["maps"][2]["scale"] == pytest.approx(0.2)  # the signed attack reaches ε
    figure = explain_figures.explain(json.loads(json.dumps(found)))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles.count("signed δ\nε = 0.2") == 2
    assert titles.count("saliency\nat ε = 0.1") == 2


def test_methods_of_captum(hardball: Hardball, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    words = ("--methods", "[integrated-gradients, smoothgrad]", "--index", 1)
    code, _, err = hardball("explain", "at", *words, *SMALL, "--out", tmp_path)
    assert (code, err) == (0, "")
    found = json.loads((tmp_path / "explain.json").read_text())
    assert [one["name"] for one in found["images"][0]["runs"][0]["maps"][:4]] == [
        "integrated-gradients",
        "integrated-gradients",
        "smoothgrad",
        "smoothgrad",
    ]


def test_without_captum_its_methods_name_the_extra(
    hardball: Hardball, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum", None)
    words = ("--methods", "smoothgrad", *SMALL, "--out", tmp_path / "out")
    code, _, err = hardball("explain", "at", *words)
    assert code == 2
    assert "need captum: pip install 'hardball[explain]'" in err
    assert not (tmp_path / "out").exists()


def test_two_folders_of_one_name_are_told_apart(hardball: Hardball, tmp_path: Path) -> None:
    shutil.copytree("at", tmp_path / "at")
    assert hardball("explain", "at", tmp_path / "at", *SMALL, "--out", tmp_path / "out")[0] == 0
    found = json.loads((tmp_path / "out/explain.json").read_text())
    assert [run["name"] for run in found["runs"]] == ["at", str(tmp_path / "at")]


def test_images_in_colour(hardball: Hardball, colour: None, tmp_path: Path) -> None:
    assert hardball("explain", "colour", *SMALL, "--out", tmp_path)[0] == 0
    found = json.loads((tmp_path / "explain.json").read_text())
    assert np.shape(found["images"][0]["pixels"]) == (8, 8, 3)
    assert np.shape(found["images"][0]["runs"][0]["maps"][0]["values"]) == (8, 8)
    # a pixel is bright in some channel, so the foreground is everything, for any map
    assert found["chance"]["foreground_share"] == pytest.approx(1, abs=0.2)


def test_images_that_cannot_be_drawn_are_refused(hardball: Hardball, tmp_path: Path) -> None:
    """Five channels, of code of the user's own."""
    Path("five.py").write_text(
        "import torch, hardball as hb\n"
        "def load(root, train):\n"
        "    images = torch.rand(40, 5, 8, 8, generator=torch.Generator().manual_seed(0))\n"
        "    return hb.Dataset(name='five', images=images, labels=torch.arange(40) % 2, classes=2)\n"
    )
    words = ("--data", "five:load", "--model", "digits_cnn", "--out", "of-five")
    assert (
        hardball("train", "--eps", 0.1, "--epochs", 1, "--steps", 1, "--validation", 9, *words)[0]
        == 0
    )
    code, _, err = hardball("explain", "of-five", "--trust-model-code", "true", *SMALL)
    assert code == 2
    assert "images [5, 8, 8] of five:load; allowed is [1 or 3, H, W]" in err
    code, _, err = hardball("explain", "of-five", *SMALL)  # nobody said that its code may run
    assert code == 2
    assert "is code outside hardball" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("at", "--index", 360), "--index 360 of the 360 test images; allowed is 0 … 359"),
        (("at", "--index", "[0, -1]"), "--index -1 of the 360 test images"),
        (("at", "--index", "[]"), "name at least one image"),
        (("at", "--n", 361), "--n 361 of the 360 test images; allowed is 2 … 360"),
        (("at", "--n", 1), "--n 1; allowed is 2 or more"),
        (("at", "--eps", 0), "--eps 0 leaves no perturbation"),
        (("at", "--saliency-eps", 1.5), "eps=1.5 for linf; allowed is a number"),
        (("at", "--foreground", 1), "--foreground 1.0; allowed is 0 or more, below 1"),
        (("at", "--methods", "[]"), "--methods []; name at least one"),
        (("at", "--methods", "gradent"), "unknown saliency method 'gradent'"),
        (("at", "at"), "at is named twice"),
        (("at", "colour"), "at is of digits [1, 8, 8] and colour of folder [3, 8, 8]"),
        (("empty",), "empty has no weights yet; let it finish an epoch"),
        (("nowhere",), "no run and no weights at nowhere"),
        (("at", "--norm", "l3"), "unknown norm 'l3'"),
        ((), "missing RUN"),
    ],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line_and_nothing_is_written(
    words: tuple[object, ...], message: str, hardball: Hardball, colour: None, tmp_path: Path
) -> None:
    Path("empty").mkdir(exist_ok=True)
    shutil.copy("at/config.yaml", "empty")
    code, _, err = hardball("explain", *words, "--steps", 2, "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith("hardball: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()
