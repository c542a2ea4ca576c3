"""An evaluation written and read back."""

import json
from typing import Any

import pytest
import torch

from hardball import PGD, UserError, evaluate, fgsm
from hardball.attacks import BruteForce
from hardball.certify import Certificate
from hardball.errors import CannotRun, Damaged
from hardball.evaluation import checklist, load_evaluation, save_evaluation
from hardball.threats import LInf


class First(Certificate):
    """Claims the examples that are given: what a test knows to be unbroken."""

    def __init__(self, rows):
        self.rows = rows

    def certify(self, model, images, labels, threat):
        return torch.isin(torch.arange(len(images)), self.rows)


@pytest.fixture(scope="module")
def some(digits):
    return digits.rows(slice(0, 40))


@pytest.fixture
def found(digits_net, some):
    attacks = {"sign": fgsm(), "pgd": PGD(steps=3), "noise": BruteForce(samples=4)}
    how: dict[str, Any] = {"eps": [0.05, 0.1], "attacks": attacks}
    left = evaluate(digits_net, some, **how).broken_at.isinf().nonzero().flatten()
    assert len(left) > 3
    return evaluate(digits_net, some, **how, certify={"first": First(left[:3])})


def test_what_was_written_is_read_back(found, digits_net, some, tmp_path):
    save_evaluation(found, tmp_path / "mine" / "eval", digits_net, some, {"note": "hello"})
    record = json.loads((tmp_path / "mine" / "eval" / "evaluation.json").read_text())
    assert record["note"] == "hello"
    again = load_evaluation(tmp_path / "mine" / "eval")
    assert again.as_json() == found.as_json()
    assert again.worst == found.worst
    assert again.clean == found.clean
    assert again.certified == found.certified
    certified = again.certified_at(0.05)
    assert certified is not None
    assert torch.equal(certified, found.certified_at(0.05))
    assert torch.equal(again.broken_at, found.broken_at)
    assert again.broken_by == found.broken_by
    broken = found.broken_at.isfinite()
    assert torch.equal(again.witnesses[broken], found.witnesses[broken])
    assert again.witnesses[~broken].isnan().all(), "the data's own images are not stored"


def test_beside_a_weights_file(found, digits_net, some, tmp_path):
    save_evaluation(found, tmp_path / "w.safetensors", digits_net, some)
    assert {path.name for path in tmp_path.iterdir()} == {
        "w.evaluation.json",
        "w.witnesses.safetensors",
    }
    assert load_evaluation(tmp_path / "w.safetensors").worst == found.worst


def test_the_attacks_are_descriptions_and_say_so(found, digits_net, some, tmp_path):
    save_evaluation(found, tmp_path, digits_net, some)
    again = load_evaluation(tmp_path)
    assert again.attacks["pgd"].description()["steps"] == 3
    with pytest.raises(CannotRun, match="descriptions of its attacks, not the attacks; evaluate"):
        checklist(digits_net, some, LInf(0.1), again, budget="quick")


@pytest.mark.parametrize("name", ["evaluation.json", "witnesses.safetensors"])
def test_a_changed_file_is_refused(name, found, digits_net, some, tmp_path):
    save_evaluation(found, tmp_path, digits_net, some)
    content = (tmp_path / name).read_bytes()
    place = len(content) // 2
    changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    (tmp_path / name).write_bytes(changed)
    with pytest.raises(Damaged, match=name):
        load_evaluation(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"no evaluation at .*evaluation.json; write one"):
        load_evaluation(tmp_path)
