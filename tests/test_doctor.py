"""`hardball doctor`: what it says, and that its self-test can fail."""

import json
from pathlib import Path
from typing import Any

import pytest

from hardball.commands import doctor
from hardball.commands.doctor import DoctorConfig, examination
from hardball.extras import EXTRAS
from test_extras import PROJECT, bare
from trained import Hardball, hardball, runs

__all__ = ["hardball", "runs"]


def test_the_self_test_trains_attacks_and_re_checks(hardball: Hardball) -> None:
    code, out, err = hardball("doctor")
    assert (code, err) == (0, "")
    *rest, last = out.splitlines()
    assert last.startswith("self-test: passed: clean ")
    assert "re-check passed" in last
    said = {line.partition(":")[0]: line.partition(": ")[2] for line in rest}
    assert said.keys() >= {"python", "torch", "devices", "cores", "threads", "data", "numpy"}
    assert {f"extra {name}" for name in EXTRAS} <= said.keys()


def test_all_required_packages_are_looked_at() -> None:
    named = {name.lower() for name in doctor.REQUIRED}
    assert named == {bare(one) for one in PROJECT["dependencies"]}


@pytest.mark.parametrize("numbers", [{"clean": 0.1}, {"robust": 0.99}, {"verified": False}])
def test_other_numbers_fail(
    numbers: dict[str, Any], hardball: Hardball, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"clean": 0.85, "robust": 0.6, "verified": True}
    monkeypatch.setattr(doctor, "_numbers", lambda _: good | numbers)
    code, out, _ = hardball("doctor", "--json")
    assert code == 1
    assert json.loads(out)["self_test"]["passed"] is False
    assert "self-test: FAILED" in hardball("doctor")[1]


def test_a_fault_in_the_self_test_is_part_of_the_report(
    hardball: Hardball, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> dict[str, Any]:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(doctor, "_numbers", fails)
    code, out, _ = hardball("doctor")
    assert code == 1
    assert out.endswith("self-test: FAILED: RuntimeError: no kernel image\n")


def test_it_finds_data_where_it_is_told_to_look(tmp_path: Path, mnist_root: Path) -> None:
    empty = examination(DoctorConfig(data_root=tmp_path, self_test=False))
    assert [name for name, is_there in empty["data"].items() if is_there] == ["digits"]
    found = examination(DoctorConfig(data_root=mnist_root, self_test=False))
    assert found["data"]["mnist"]
    assert found["self_test"] is None


def test_it_says_which_extras_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda name: name != "jinja2")
    found = examination(DoctorConfig(self_test=False))["extras"]
    assert found["report"]["jinja2"] is None
    assert found["report"]["matplotlib"] is not None
