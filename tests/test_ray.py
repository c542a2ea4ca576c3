"""A sweep on a real Ray cluster of two workers, one of which is killed."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import Signal, run, start
from hardball.commands.sweep import remote
from hardball.commands.sweep.run import SweepConfig
from hardball.errors import MissingExtra, UserError

pytest.importorskip("ray", reason="a sweep on Ray needs hardball[ray]")

GRID: dict[str, Any] = {
    "base": {
        "data": "digits",
        "model_args": {"width": 4},
        "eps": 0.03,
        "steps": 2,
        "epochs": 10,
        "lr": 0.01,
        "validation": 1000,
        "batch_size": 16,
    },
    "axes": {"seed": [0, 1, 2]},
    "probe": {"n": 20, "attacks": ["pgd-20"]},
}


def quick_import(folder: Path) -> dict[str, str]:
    """Environment in which Ray's seven processes do without a grammar that jsonschema reads at import
    where it is installed: seconds for each."""
    stub = folder / "stub" / "rfc3987_syntax.py"
    stub.parent.mkdir()
    stub.write_text("raise ImportError\n")
    return {"PYTHONPATH": os.pathsep.join([str(stub.parent), os.environ.get("PYTHONPATH", "")])}


def below(parent: int) -> Iterator[int]:
    """Processes that a process has started, and that those have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    left = [parent]
    while left:
        found = children.get(left.pop(), [])
        yield from found
        left += found


def busy(parent: int) -> list[int]:
    """Ray's workers that run a trial."""
    found = []
    for pid in below(parent):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::_run"):
            found.append(pid)
    return found


def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID))
    out = tmp_path / "out"
    words = ["sweep", path, "--out", out]
    # begun without Ray, and killed in the middle of the second trial
    planned = Signal(at="hardball.training.loop:Trainer._finish_epoch", count=13)
    assert run(words, tmp_path, planned=planned)[0] == -signal.SIGKILL
    (first,) = out.glob("*/trial.json")
    before = first.stat().st_mtime_ns

    started = start([*words, "--ray"], tmp_path, environment=quick_import(tmp_path))
    assert started.process.pid is not None
    killed = None
    while started.process.is_alive() and killed is None:
        workers = busy(started.process.pid)
        if workers and any(out.glob("seed=2*/metrics.csv")):
            killed = workers[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.05)
    code, shown, _ = started.end()
    assert killed is not None
    assert code == 0
    assert "3 learned of 3 trials" in shown
    assert first.stat().st_mtime_ns == before

    # and the other way round: what Ray has done is found without it
    path.write_text(yaml.safe_dump(GRID | {"axes": {"seed": [0, 1, 2, 3]}}))
    code, shown, _ = run(words, tmp_path)
    assert code == 0
    assert "1 of 4 trials to run" in shown
    found = json.loads((out / "sweep.json").read_text())
    assert found["counts"]["learned"] == 4
    assert all(one["epochs"] == 10 for one in found["trials"])


def test_what_ray_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        """A cluster of one core."""

        def init(self, address: str | None, **_: Any) -> None:
            if address is not None:
                raise ConnectionError("no cluster there")

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": 1.0}

        def shutdown(self) -> None:
            pass

    with pytest.raises(UserError, match=r"`ray_address=x:1`: no cluster there"):
        remote._started(Ray(), SweepConfig(tmp_path, ray_address="x:1"))
    with pytest.raises(UserError, match=r"`gpus=0\.5` for a trial, but the cluster has 0"):
        remote._started(Ray(), SweepConfig(tmp_path, gpus=0.5))
    monkeypatch.setattr("hardball.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"hardball\[ray\]"):
        remote._imported()
