"""A killed evaluation continues and gives the same answer; nothing else is ever reused."""

import json
import signal
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import commands
from hardball import PGD, UserError, evaluate, fgsm, storage
from hardball.attacks import Attack, AttackResult
from hardball.evaluation import Journal
from hardball.evaluation.journal import scope_of


@dataclass(frozen=True, kw_only=True)
class Companions(Attack):
    """An attack whose random numbers depend on who is in the batch, as a library's do."""

    chunk: int = 8
    cost: int = 2
    sizes: ClassVar[list[int]] = []

    def run(self, model, images, labels, threat, generator):
        self.sizes.append(len(images))
        first = generator[0] if generator else None
        noise = torch.rand(images.shape, generator=first, dtype=images.dtype)
        examples = threat.project(images + (noise - 0.5).sign() * threat.eps, images)
        with torch.no_grad():
            logits = model(examples)
        fooled = logits.argmax(1) != labels
        return AttackResult(
            examples=examples,
            loss=torch.zeros(len(images)),
            fooled=fooled,
            forwards=len(images),
            backwards=0,
        )


class Interrupting:
    """Passes calls on to an attack, and is interrupted at one of them."""

    def __init__(self, attack, at):
        self.attack, self.at, self.calls = attack, at, 0

    def __call__(self, *args, **more):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.attack(*args, **more)


@pytest.fixture(scope="module")
def some(digits):
    part = digits.rows(slice(0, 50))
    return replace(part, images=part.images.double())


@pytest.fixture
def model(digits_net):
    return deepcopy(digits_net).double()


ATTACKS = {"sign": fgsm(), "random": Companions(), "pgd": PGD(steps=3, restarts=2)}


def who(data, **different):
    facts: dict[str, Any] = {
        "norm": "linf",
        "seed": 0,
        "weights_sha256": "w",
        "model": {"name": "net"},
    } | different
    return scope_of(data, **facts)


def answer(found):
    """All that must not depend on how often the evaluation was killed."""
    told = found.as_json()
    scores = [{k: v for k, v in s.items() if k != "seconds"} for s in told["scores"]]
    rest = {k: v for k, v in told.items() if k not in ("seconds", "scores", "machine")}
    return rest, scores, found.broken_at.tolist(), found.broken_by, found.witnesses.tolist()


def measure(model, data, journal, attacks=ATTACKS, **more):
    return evaluate(
        model, data, eps=[0.1, 0.2], attacks=attacks, batch_size=16, journal=journal, **more
    )


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("at", [1, 2, 5])
def test_an_interrupted_evaluation_continues(name, at, model, some, tmp_path, monkeypatch):
    expected = answer(measure(model, some, None))
    kind = type(ATTACKS[name])
    stop = Interrupting(kind.__call__, at)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "__call__", lambda *args, **more: stop(*args, **more))  # noqa: PLW0108
        with pytest.raises(KeyboardInterrupt):
            measure(model, some, Journal(tmp_path, who(some)))
    lines: list[str] = []
    again = measure(model, some, Journal(tmp_path, who(some)), say=lines.append)
    assert answer(again) == expected
    # fgsm and pgd are one class: the fifth call is in the middle of the third attack
    if (name, at) == ("pgd", 5):
        assert lines == ["continuing: 2 of 6 attacks done and 1 begun"]


def test_what_is_done_is_not_done_again(model, some, tmp_path):
    first = measure(model, some, Journal(tmp_path, who(some)))

    class Never(Attack):
        def run(self, *args, **more):
            raise AssertionError("attacked again")

    lines: list[str] = []
    kept = Journal(tmp_path, who(some))
    calls = Companions.sizes.copy()
    again = measure(model, some, kept, say=lines.append)
    assert lines == ["continuing: 6 of 6 attacks done"]
    assert Companions.sizes == calls
    assert answer(again) == answer(first)
    assert [s.seconds for s in again.scores] == [s.seconds for s in first.scores]
    with pytest.raises(AssertionError, match="attacked again"):
        measure(model, some, Journal(tmp_path, who(some)), attacks={"never": Never()})


def test_other_parameters_of_an_attack_are_another_attack(model, some, tmp_path):
    weak = {"pgd": PGD(steps=1, random_start=False)}
    measure(model, some, Journal(tmp_path, who(some)), attacks=weak)
    strong = {"pgd": PGD(steps=20)}
    lines: list[str] = []
    kept = measure(model, some, Journal(tmp_path, who(some)), attacks=strong, say=lines.append)
    assert answer(kept) == answer(measure(model, some, None, attacks=strong))
    assert lines == []


def test_a_larger_set_of_attacks_continues_from_a_smaller(model, some, tmp_path):
    """Results of an attack that treats each example alone are those of a fresh evaluation."""
    alone = {"pgd": ATTACKS["pgd"]}
    measure(model, some, Journal(tmp_path, who(some)), attacks=alone)
    both = {"sign": fgsm(), **alone}
    told = answer(measure(model, some, Journal(tmp_path, who(some)), attacks=both))
    fresh = answer(measure(model, some, None, attacks=both))
    for part in (0, 2, 3, 4):
        assert told[part] == fresh[part]
    accounts = [[(s["attacked"], s["broken"]) for s in one[1]] for one in (told, fresh)]
    assert accounts[0] == accounts[1]


def test_chunks_have_their_size_whatever_the_batch(model, some):
    sizes = []
    for batch_size in (1, 7, 256):
        Companions.sizes.clear()
        found = evaluate(
            model, some, eps=0.2, attacks={"random": Companions()}, batch_size=batch_size
        )
        sizes.append((answer(found), Companions.sizes.copy()))
    assert sizes[0] == sizes[1] == sizes[2]
    whole, rest = divmod(found.clean.right, 8)
    assert sizes[0][1] == [8] * whole + [rest] * (rest > 0)


@pytest.mark.parametrize(
    ("different", "word"),
    [
        ({"weights_sha256": "other"}, "weights_sha256=w, not other"),
        ({"model": {"name": "x"}}, "model="),
        ({"norm": "l2"}, "norm=linf, not l2"),
        ({"seed": 1}, "seed=0, not 1"),
    ],
)
def test_results_of_another_evaluation_are_neither_used_nor_lost(
    different, word, model, some, tmp_path
):
    measure(model, some, Journal(tmp_path, who(some)), attacks={"sign": fgsm()})
    other = Journal(tmp_path, who(some, **different))
    assert not any(other.records(key) for key in Journal(tmp_path, who(some))._records)
    assert word in (other.about_others() or "")
    lines: list[str] = []
    kept = Journal(tmp_path, who(some))
    assert kept.about_others() is None
    measure(model, some, kept, attacks={"sign": fgsm()}, say=lines.append)
    assert lines == ["continuing: 2 of 2 attacks done"]


def test_data_is_known_by_its_content(some, tmp_path):
    changed = some.images.clone()
    changed[3, 0, 2, 2] += 1e-9
    kept = who(some)
    assert who(replace(some, images=some.images.clone())) == kept
    assert who(replace(some, images=changed)) != kept
    assert who(replace(some, labels=(some.labels + 1) % 10)) != kept
    assert who(some.rows(slice(0, 49))) != kept
    last = some.images.to(memory_format=torch.channels_last)
    assert who(replace(some, images=last)) == kept


def test_a_journal_of_something_else_is_refused(model, some, tmp_path):
    journal = Journal(tmp_path, who(some))
    for data, norm, seed in (
        (some.rows(slice(0, 9)), "linf", 0),
        (some, "l2", 0),
        (some, "linf", 1),
    ):
        with pytest.raises(UserError, match="open the journal with the scope"):
            evaluate(model, data, eps=1.0, norm=norm, attacks=ATTACKS, seed=seed, journal=journal)


def test_a_damaged_file_is_named_and_its_part_done_again(model, some, tmp_path):
    expected = answer(measure(model, some, Journal(tmp_path, who(some))))
    (file, *_) = sorted(tmp_path.glob("*/*.pt"))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.warns(UserWarning, match=r"000000-.*is done again"):
        journal = Journal(tmp_path, who(some))
    assert answer(measure(model, some, journal)) == expected


FORGED = {
    "a find that is none": lambda r: r["examples"].copy_(r["examples"].roll(1, 0)),
    "another row": lambda r: r["rows"].copy_(r["rows"].roll(1)),
    "a row beyond the data": lambda r: r["rows"].add_(1000),
    "fewer finds than claimed": lambda r: r.update(examples=r["examples"][1:]),
    "no field": lambda r: r.pop("forwards"),
    "text": lambda r: r.update(broken="all"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_find_in_the_journal_is_judged_again_before_it_counts(name, model, some, tmp_path):
    attacks = {"pgd": ATTACKS["pgd"]}
    expected = answer(measure(model, some, Journal(tmp_path, who(some)), attacks=attacks))
    changed = 0
    for path in tmp_path.glob("*/*.pt"):
        state = storage.load_state(path)
        for record in state["records"]:
            if record["content"]["broken"].sum() > 1:
                FORGED[name](record["content"])
                changed += 1
        storage.save_state(state, path)
    assert changed
    with pytest.warns(UserWarning, match=r"finds of pgd at .* does not confirm; that part is done"):
        found = measure(model, some, Journal(tmp_path, who(some)), attacks=attacks)
    assert answer(found) == expected


def test_records_of_any_kind_survive(tmp_path):
    content = {"a": 1, "b": [torch.ones(2), None], "c": {"d": "e", "f": 0.5}}
    journal = Journal(tmp_path, {"x": 1})
    journal.append("check", content)
    assert Journal(tmp_path, {"x": 1}).records("check") == []  # not on disk yet
    journal.flush()
    (found,) = Journal(tmp_path, {"x": 1}).records("check")
    assert torch.equal(found.pop("b")[0], torch.ones(2))
    assert found == {"a": 1, "c": {"d": "e", "f": 0.5}}


def test_results_reach_the_disk_while_an_attack_runs(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("hardball.evaluation.journal.time.monotonic", lambda: now[0])
    journal = Journal(tmp_path, {"x": 1})
    on_disk = []
    for second in range(0, 40, 4):
        now[0] = float(second)
        journal.append("key", {"second": second})
        on_disk.append(len(Journal(tmp_path, {"x": 1}).records("key")))
    assert on_disk == [0, 0, 0, 4, 4, 4, 7, 7, 7, 10]


def test_the_command_killed_continues(tmp_path: Path) -> None:
    train = ("train", "--data", "digits", "--model", "digits_cnn", "--eps", 0.1, "--epochs", 1)
    assert commands.run((*train, *commands.TINY, "--out", "r"), tmp_path)[0] == 0
    words = ("evaluate", "r", "--eps", "[0.01,0.02]", "--attacks", "[fgsm,pgd-20]", "--n", 60,
             "--batch-size", 60)  # one part for each attack  # fmt: skip
    assert commands.run(words, tmp_path)[0] == 0
    told = json.loads((tmp_path / "r/evaluation.json").read_text())

    def answer(content):
        scores = [{k: v for k, v in s.items() if k != "seconds"} for s in content["scores"]]
        return content["clean"], content["robust"], scores

    for number, code, count in ((signal.SIGKILL, -9, 2), (signal.SIGINT, 130, 3)):
        for old in (tmp_path / "r/evaluation.state").rglob("*.pt"):
            old.unlink()
        at = "hardball.evaluation.tasks:attempt"
        planned = commands.Signal(at=at, count=count, number=number)
        ended, _, err = commands.run(words, tmp_path, planned=planned)
        assert ended == code
        if number == signal.SIGINT:
            assert err == "hardball: interrupted; the same command continues it\n"
        ended, out, err = commands.run(words, tmp_path)
        assert (ended, err) == (0, "")
        assert f"continuing: {count - 1} of 4 attacks done\n" in out
        found = json.loads((tmp_path / "r/evaluation.json").read_text())
        assert answer(found) == answer(told)
