"""Several processes at once: the same answer, an end without leftovers, and errors that are told."""

import json
import multiprocessing
import os
import signal
import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import commands
from hardball import PGD, Targeted, UserError, evaluate, fgsm
from hardball.attacks import Attack
from hardball.evaluation import Journal
from hardball.evaluation.journal import scope_of
from test_journal import Companions, answer

ATTACKS = {
    "sign": fgsm(),
    "starts": PGD(steps=3, restarts=2),
    "towards": Targeted(attack=PGD(steps=2)),
    "random": Companions(),
}


@pytest.fixture(scope="module", autouse=True)
def _imported_once():
    """The processes of these tests come from the server that those of the commands come from."""
    commands._server()


@pytest.fixture(scope="module")
def some(digits):
    part = digits.rows(slice(0, 50))
    return replace(part, images=part.images.double())


@pytest.fixture
def model(digits_net):
    return deepcopy(digits_net).double()


def measure(model, data, **more):
    return evaluate(
        model,
        data,
        **dict[str, Any](attacks=ATTACKS, eps=[0.05, 0.1], batch_size=7) | more,
    )


def no_child_is_left() -> bool:
    return not multiprocessing.active_children()


def test_processes_and_batch_size_change_nothing(model, some):
    expected = answer(measure(model, some, batch_size=256))
    for batch_size in (1, 7):
        assert answer(measure(model, some, batch_size=batch_size)) == expected
    assert answer(measure(model, some, processes=2)) == expected
    assert no_child_is_left()


@dataclass(frozen=True)
class Planted(Attack):
    """Does something else at some example."""

    what: str
    cost: int = 1

    def run(self, model, images, labels, threat, generator):
        if self.what == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "raises":
            raise UserError("what=raises; allowed is nothing else")
        if self.what == "fails":
            raise IndexError("far out")
        if self.what == "warns":
            warnings.warn("seen in the worker", RuntimeWarning, stacklevel=2)
            warnings.warn("for programmers", DeprecationWarning, stacklevel=2)
        return PGD(steps=1).run(model, images, labels, threat, generator)


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("dies", UserError, r"ended with code -9, perhaps for lack of memory; use fewer"),
        ("raises", UserError, r"^what=raises; allowed is nothing else$"),
        ("fails", RuntimeError, r"(?s)in a process of the evaluation.*IndexError: far out"),
    ],
)
def test_what_goes_wrong_there_is_told_here(what, kind, message, model, some, tmp_path):
    who = scope_of(some, "linf", 0, weights_sha256="w", model={})
    attacks = {"sign": fgsm(), "planted": replace(Planted(what), cost=9)}
    with pytest.raises(kind, match=message):
        measure(model, some, attacks=attacks, processes=2, journal=Journal(tmp_path, who))
    assert no_child_is_left()
    # what was found before is kept
    lines: list[str] = []
    few = {"sign": fgsm()}
    measure(model, some, attacks=few, eps=[0.05], journal=Journal(tmp_path, who), say=lines.append)
    assert lines == ["continuing: 1 of 1 attacks done"]


def test_warnings_there_are_warnings_here(model, some):
    with pytest.warns(UserWarning, match="seen in the worker") as noted:
        measure(model, some, attacks={"planted": Planted("warns")}, processes=2, batch_size=64)
    assert {str(note.message) for note in noted} == {"seen in the worker"}


def test_nothing_left_to_do_starts_no_process(model, some, tmp_path, monkeypatch):
    who = scope_of(some, "linf", 0, weights_sha256="w", model={})
    expected = answer(measure(model, some, journal=Journal(tmp_path, who)))
    monkeypatch.setattr("hardball.evaluation.workers._Worker", None)  # not to be called
    found = measure(model, some, processes=2, journal=Journal(tmp_path, who))
    assert answer(found) == expected


def test_refusals_name_the_value_and_the_cure(model, some):
    class Local(nn.Module):
        def forward(self, images):
            return model(images)

    with pytest.raises(UserError, match=r"(?s)cannot be sent.*Local.*at the top of a module"):
        measure(Local(), some, processes=2)
    with pytest.raises(UserError, match="`processes=0`; allowed is 1 or more"):
        measure(model, some, processes=0)
    meta = replace(some, images=some.images.float())
    object.__setattr__(meta, "images", torch.zeros(50, 1, 8, 8, device="meta"))
    with pytest.raises(UserError, match="`processes=2` on meta; one process drives a GPU"):
        measure(model, meta, processes=2)


def test_the_command_interrupted_with_processes_continues_with_one(tmp_path: Path) -> None:
    train = ("train", "--data", "digits", "--model", "digits_cnn", "--eps", 0.1, "--epochs", 1)
    assert commands.run((*train, *commands.TINY, "--out", "r"), tmp_path)[0] == 0
    words = ("evaluate", "r", "--eps", 0.01, "--attacks", "[fgsm,pgd-20]", "--n", 60)
    planned = commands.Signal(
        at="hardball.evaluation.journal:Journal.append", count=3, number=signal.SIGINT
    )
    ended, _, err = commands.run((*words, "--processes", 2), tmp_path, planned=planned)
    assert (ended, err) == (130, "hardball: interrupted; the same command continues it\n")
    ended, out, err = commands.run(words, tmp_path)
    assert (ended, err) == (0, "")
    assert "continuing: 1 of 2 attacks done" in out
    told = json.loads((tmp_path / "r/evaluation.json").read_text())
    (tmp_path / "r/evaluation.state").rename(tmp_path / "elsewhere")
    assert commands.run(words, tmp_path)[0] == 0
    alone = json.loads((tmp_path / "r/evaluation.json").read_text())
    assert told["robust"] == alone["robust"]
    assert told["witnesses"] == alone["witnesses"]


@dataclass(frozen=True)
class Noted(Attack):
    """Writes down with how many threads it attacked how many examples, alone in its batches of 20."""

    folder: Path
    cost: int = 1
    chunk: int = 20

    def run(self, model, images, labels, threat, generator):
        (self.folder / f"{os.getpid()}-{len(images)}").write_text(str(torch.get_num_threads()))
        return PGD(steps=1).run(model, images, labels, threat, generator)


@pytest.mark.parametrize(("examples", "shared", "alone"), [(20, 0, 1), (40, 2, 0), (50, 2, 1)])
def test_a_task_too_many_gets_the_cores_that_are_idle(
    examples, shared, alone, model, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    data = digits.rows(slice(0, 200))
    right = (model(data.images.double()).argmax(1) == data.labels).nonzero().squeeze(1)
    data = replace(data.rows(right[:examples]), images=data.images[right[:examples]].double())
    measure(model, data, attacks={"noted": Noted(tmp_path)}, eps=[0.05], processes=2)
    threads = [int(path.read_text()) for path in tmp_path.iterdir()]
    # two at once have two cores each, one by itself all four
    assert sorted(threads) == sorted([2] * shared + [4] * alone)
