"""`hardball landscape convergence`: metrics in, data and picture out."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Hardball = Callable[..., tuple[int, str, str]]


def test_the_columns_of_several_runs(hardball: Hardball, tmp_path: Path) -> None:
    code, out, err = hardball("landscape", "convergence", "at", "eat", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "eat" in out
    assert (tmp_path / "landscape-convergence.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((tmp_path / "landscape-convergence.json").read_text())
    at, eat = found["runs"]
    assert (at["name"], at["epoch"], eat["epoch"]) == ("at", [1, 2], [1])
    with Path("at/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert at["weight_distance"] == [float(row["weight_distance"]) for row in rows]
    assert at["loss_change"] == [None, float(rows[1]["loss_change"])]


def test_by_default_the_files_lie_in_the_first_run(hardball: Hardball) -> None:
    assert hardball("landscape", "convergence", "eat", "at")[0] == 0
    for kind in ("json", "png"):
        Path(f"eat/landscape-convergence.{kind}").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "nowhere is no run: it has no config.yaml"),
        (("at", "none"), "none has finished no epoch yet; continue it"),
        (("old",), "has no column weight_distance: an earlier hardball made it"),
        ((), "missing RUN"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    words: tuple[object, ...], message: str, hardball: Hardball, tmp_path: Path
) -> None:
    for name in ("none", "old"):
        Path(name).mkdir(exist_ok=True)
        shutil.copy("at/config.yaml", name)
    Path("old/metrics.csv").write_text("epoch,eps,adv_loss\n1,0.1,2.3\n")
    code, _, err = hardball("landscape", "convergence", *words, "--out", tmp_path / "out")
    assert code == 2
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()
