"""`hardball verify` on what an evaluation says besides its accuracies: each lie about scores, warnings,
requirements, checks and verdict is found, however well it is sealed."""

import json
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta
from torch import Tensor, nn

from contexts import SMALL
from hardball import Dataset, storage
from hardball.cli import main
from hardball.commands.checklist import ChecklistConfig
from hardball.commands.evaluate import EvaluateConfig, evaluate
from hardball.commands.measure import MeasureConfig
from hardball.commands.subject import SubjectConfig
from hardball.data import DATASETS
from hardball.evaluation import Accuracy, protocols
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.limits import Limit
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.checks.result import Check
from hardball.evaluation.checks.verdict import Figure, judge
from hardball.evaluation.sanity import chance_of_at_most
from hardball.verification import arithmetic, claims, verify
from hardball.verification.claims import CHECKS, LATER
from hardball.verification.outside import chance_of_notice
from test_verify import Evaluated, evaluated

Record = dict[str, Any]


@pytest.fixture(scope="module")
def whole(_trained_digits_cnn: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """A weights file with an evaluation, its checklist and its verdict."""
    made = Evaluated(tmp_path_factory.mktemp("whole"))
    storage.save_weights(_trained_digits_cnn, made.weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUDGETS, "quick", SMALL)
        patch.setitem(protocols.PROTOCOLS, "checklist", ("pgd-200", "apgd-ce"))
        subject = SubjectConfig(
            made.weights, data="digits", model="digits_cnn", model_args={"width": 8}, n=60
        )
        how = MeasureConfig(
            eps=[0.03, 0.06], norm="linf", protocol="checklist", require="0.06:0.2,0.03:0.99"
        )
        checks = ChecklistConfig(budget="quick")
        evaluate(EvaluateConfig(subject=subject, measure=how, checklist=checks))
    return made


@pytest.fixture
def honest(whole: Evaluated, tmp_path: Path) -> Evaluated:
    """A copy that may be tampered with."""
    for file in (whole.weights, whole.record, whole.witnesses):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return Evaluated(tmp_path)


def told(made: Evaluated) -> Record:
    return dict(json.loads(made.record.read_text()))


def test_what_an_honest_evaluation_says_holds(whole: Evaluated) -> None:
    found = whole.verify()
    assert [finding for finding in found.findings if not finding.holds] == []
    looked = {finding.what: finding.found for finding in found.findings}
    assert looked["scores"] == "4 lines, each with its witnesses"
    assert looked["requirements"] == "2, as said"
    assert looked["checks"] == f"{len(TABLE)} of {len(TABLE)}, judged as counted"
    assert looked["verdict"] == f"{told(whole)['verdict']['word']}, by the rule"
    assert found.remarks[0].startswith("Not re-checked: what the checks measured")


# --- lies


def set_in(record: Record, path: str, value: Any) -> None:
    *steps, last = path.split("/")
    for step in steps:
        record = record[int(step) if isinstance(record, list) else step]
    record[int(last) if isinstance(record, list) else last] = value


def figures(right: int, n: int = 60) -> Record:
    return Accuracy(right=right, n=n).as_json()


def forge_verdict(record: Record) -> None:
    """ "Trustworthy", at 99%."""
    for one in (record["checklist"], record["verdict"]):
        one["strongest"] |= figures(59)
    record["verdict"] |= {
        "word": "trustworthy",
        "exit_code": 0,
        "sentence": "trustworthy: 98.3% [91.1%, 99.7%] of 60 images withstand every attack",
    }


def forge_word(record: Record) -> None:
    strongest = record["verdict"]["strongest"]["accuracy"]
    record["verdict"] |= {
        "word": "undecided",
        "sentence": f"undecided: {strongest:.1%} are left",
    }


def drop_failures(record: Record) -> None:
    listed = record["checklist"]["checks"]
    record["checklist"]["checks"] = [row for row in listed if row["name"] != "zero gradients"]


def pass_all(record: Record) -> None:
    for row in record["checklist"]["checks"]:
        row["status"] = "pass"
        row["measured"] |= {"count": 60}


def raise_claim(record: Record) -> None:
    for one in (record["checklist"], record["verdict"]):
        one["claimed"] |= figures(60)


def lower_claim(record: Record) -> None:
    for one in (record["checklist"], record["verdict"]):
        one["claimed"] |= figures(0)


def raise_scores(record: Record) -> None:
    record["scores"][-1]["broken"] -= 1
    record["scores"][-1]["after"] = figures(
        record["scores"][-1]["attacked"] - record["scores"][-1]["broken"]
    )


def more_broken(record: Record) -> None:
    """More than there are witnesses of."""
    row = record["scores"][-1]
    row["broken"] = row["attacked"]
    row["after"] = figures(0)


def swap_attacks(record: Record) -> None:
    rows = record["scores"]
    rows[2]["attack"], rows[3]["attack"] = rows[3]["attack"], rows[2]["attack"]


LIES: dict[str, tuple[Callable[[Record], Any], str]] = {
    "strongest 98%": (forge_verdict, "verdict"),
    "strongest of the verdict alone": (
        lambda r: set_in(r, "verdict/strongest", r["verdict"]["strongest"] | figures(59)),
        "verdict",
    ),
    "another word": (forge_word, "verdict"),
    "another sentence": (
        lambda r: set_in(r, "verdict/sentence", f"{r['verdict']['word']}: 99.0% withstand."),
        "verdict",
    ),
    "another exit code": (lambda r: set_in(r, "verdict/exit_code", 3), "verdict"),
    "another attack": (lambda r: set_in(r, "checklist/strongest/attack", "x"), "verdict"),
    "another ε": (lambda r: set_in(r, "checklist/eps", 0.03), "verdict"),
    "no verdict": (lambda r: set_in(r, "verdict", None), "verdict"),
    "no checklist": (lambda r: set_in(r, "checklist", None), "checks"),
    "a check less": (drop_failures, "checks"),
    "a check of another kind": (
        lambda r: set_in(r, "checklist/checks/0/kind", "strength"),
        "checks",
    ),
    "a check twice": (
        lambda r: r["checklist"]["checks"].append(r["checklist"]["checks"][0]),
        "checks",
    ),
    "passed against its count": (pass_all, "checks"),
    "a higher claim": (raise_claim, "verdict"),
    "a lower claim": (lower_claim, "verdict"),
    "no scores": (lambda r: set_in(r, "scores", []), "scores"),
    "a score less": (lambda r: r["scores"].pop(1), "scores"),
    "fewer broken": (raise_scores, "scores"),
    "more broken": (more_broken, "scores"),
    "broken by another": (swap_attacks, "scores"),
    "another number attacked": (lambda r: set_in(r, "scores/1/attacked", 60), "scores"),
    "a requirement met": (lambda r: set_in(r, "required/1/met", True), "requirements"),
    "a requirement less": (lambda r: set_in(r, "required", []), "verdict"),
    "another requirement": (lambda r: set_in(r, "verdict/required", None), "verdict"),
    "a warning without ground": (lambda r: r["warnings"].append("NaN outputs: 3"), "warnings"),
    "half precision": (lambda r: r["warnings"].append("half precision: x"), "warnings"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(name: str, honest: Evaluated) -> None:
    lie, where = LIES[name]
    record = told(honest)
    lie(record)
    honest.tell(**record)
    assert where in honest.refuted()


def test_a_missing_warning_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Dataset(
        name="few",
        images=torch.rand(60, 1, 2, 2),
        labels=torch.zeros(60, dtype=torch.int64),
        classes=2,
    )
    monkeypatch.setitem(DATASETS, "few", lambda root, train: few)
    model = f"{__name__}:Tiny"
    with pytest.warns(UserWarning, match="absent classes"):
        made = evaluated(
            tmp_path, Tiny(), n=None, data="few", model=model, model_args={}, attacks=["fgsm"]
        )
    assert verify(made.weights, model=model).holds
    made.tell(warnings=[line for line in told(made)["warnings"] if "absent" not in line])
    refuted = [one for one in verify(made.weights, model=model).findings if not one.holds]
    assert [(one.what, one.found) for one in refuted] == [
        ("warnings", "absent classes: not mentioned")
    ]


def test_an_evaluation_without_the_later_checks_holds(honest: Evaluated) -> None:
    """As an earlier version of hardball wrote it."""
    record = told(honest)
    listed = record["checklist"]["checks"]
    record["checklist"]["checks"] = [row for row in listed if row["name"] not in LATER]
    honest.tell(**record)
    looked = {finding.what: finding for finding in honest.verify().findings}
    assert looked["checks"].holds
    assert "without companions, finds confirmed, fresh copy" in looked["checks"].found


# --- its own arithmetic


def test_its_table_is_the_checklists() -> None:
    assert {row.name: (row.kind, row.essential) for row in TABLE} == {
        name: (kind, essential) for name, (kind, essential, _) in CHECKS.items()
    }
    assert CHECKS.keys() > LATER


def test_its_bound_is_the_checklists() -> None:
    for n in (1, 7, 60, 1000):
        for count in {0, 1, 2, n // 20, n // 10, n // 3, n}:
            for share in (0.0, 0.01, 0.02, 0.05, 0.1):
                bound = float(beta.ppf(0.05, count, n - count + 1)) if count else 0.0
                if abs(bound - share) > 1e-9:
                    assert arithmetic.exceeds(count, n, share) == Limit(share).exceeded(count, n)


def test_its_chance_of_few_classes_is_the_evaluations() -> None:
    for present, n, classes in ((1, 5, 2), (3, 20, 10), (9, 40, 10)):
        mine = arithmetic.chance_of_at_most(present, n, classes)
        assert mine == pytest.approx(chance_of_at_most(present, n, classes))


ROWS = st.builds(
    Check,
    number=st.just("1"),
    name=st.just("a check"),
    kind=st.sampled_from(["masking", "strength"]),
    essential=st.booleans(),
    meaning=st.just("it fails"),
    status=st.sampled_from(["pass", "pass", "pass", "fail", "could not run", "not applicable"]),
    measured=st.just({}),
    doubt=st.sampled_from(["", "", "", "a doubt"]),
)


@given(
    rows=st.lists(ROWS, max_size=4),
    right=st.integers(0, 60),
    lost=st.none() | st.integers(0, 20),
    required=st.none() | st.floats(0, 1),
)
def test_its_rule_is_the_checklists(
    rows: list[Check], right: int, lost: int | None, required: float | None
) -> None:
    claim = None if lost is None else min(60, right + lost)
    claimed = None if claim is None else Figure(accuracy=Accuracy(right=claim, n=60), attack="pgd")
    strongest = Figure(accuracy=Accuracy(right=right, n=60), attack="pgd")
    theirs = judge(claimed, strongest, rows, threat="linf", required=required)
    missed = required is not None and right / 60 < required
    told = [row.as_json() for row in rows]
    assert claims._word(told, right, 60, claim, missed, required is not None) == theirs.word


# --- a network that cannot compute in float64


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4)[:, :2].contiguous())

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


class SingleOnly(Tiny):
    """Hands over to something that takes float32 alone."""

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype != torch.float32:
            raise RuntimeError("expected Float\nbut found Double")
        return super().forward(images)


def test_a_network_without_float64_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = torch.arange(40) % 2
    few = Dataset(name="few", images=torch.rand(40, 1, 2, 2), labels=labels, classes=2)
    monkeypatch.setitem(DATASETS, "few", lambda root, train: few)
    model = f"{__name__}:SingleOnly"
    made = evaluated(
        tmp_path, SingleOnly(), n=None, data="few", model=model, model_args={}, attacks=["fgsm"]
    )
    found = verify(made.weights, model=model)
    looked = {finding.what: finding.found for finding in found.findings}
    assert found.holds
    assert looked["the network in float64"] == "not available: expected Float"
    assert "misclassified in float64" not in looked
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(made.weights), "--model", model])
    assert ended.value.code == 0
    assert "not available" in capsys.readouterr().out


# --- witnesses that were removed


def test_the_chance_of_notice_equals_enumeration() -> None:
    """Two of ten in truth broken, five tried: any found of five proves more than 2%?"""
    least = next(k for k in range(1, 6) if arithmetic.exceeds(k, 5, 0.02))
    assert least == 2
    both = comb(8, 3) / comb(10, 5)
    assert chance_of_notice(2, 10, 5, 1.0) == pytest.approx(both)
    assert chance_of_notice(2, 10, 5, 0.5) == pytest.approx(both / 4)
    assert chance_of_notice(0, 10, 5, 1.0) == 0.0
    assert chance_of_notice(10, 10, 5, 1.0) == 1.0


def remove(made: Evaluated, share: float) -> None:
    """Take that share of the attacks' witnesses away, and make all that is said of it fit."""

    def change(tensors: dict[str, Tensor]) -> None:
        attacked = (tensors["eps"] > 0).nonzero().flatten()
        kept = torch.ones(len(tensors["eps"]), dtype=torch.bool)
        kept[attacked[: round(share * len(attacked))]] = False
        for name, tensor in tensors.items():
            tensors[name] = tensor[kept]

    made.forge(change)
    tensors = storage_load(made)
    record = told(made)
    n = record["n"]
    left = record["clean"]["right"]
    names = json.loads(_about(made))["attacks"]
    for row in record["scores"]:
        mine = (tensors["attack"] == names.index(row["attack"])) if row["attack"] in names else None
        count = 0 if mine is None else int((mine & (tensors["eps"] == row["eps"])).sum())
        row |= {"attacked": left, "broken": count}
        left -= count
        row["after"] = figures(left, n)
    robust = [
        row | figures(n - int((tensors["eps"] <= row["eps"]).sum()), n) for row in record["robust"]
    ]
    made.tell(scores=record["scores"], robust=robust)


def storage_load(made: Evaluated) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(made.witnesses.read_bytes())


def _about(made: Evaluated) -> str:
    content = made.witnesses.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return str(header["__metadata__"]["about"])


@pytest.mark.parametrize(
    ("share", "basis"), [(0.7, "images that have a witness"), (1.0, "No image has a witness")]
)
def test_removed_witnesses_are_found_by_a_challenge(
    share: float, basis: str, digits_net: nn.Module, tmp_path: Path
) -> None:
    made = evaluated(tmp_path, digits_net, n=60, eps=[0.1], attacks=["pgd-20"])
    assert verify(made.weights, challenge=40, seed=1).holds
    remove(made, share)
    assert made.verify().holds, "that the accuracy is at most that is true"
    found = verify(made.weights, challenge=40, seed=1)
    assert [one.what for one in found.findings if not one.holds] == ["challenge"]
    assert "NOT verified: challenge" in found.sentence
    (remark,) = [line for line in found.remarks if line.startswith("Challenge")]
    assert basis in remark
    assert "of 10% with probability" in remark
