"""`hardball verify`: what an honest evaluation says holds, and every lie is found."""

import ast
import dataclasses
import inspect
import itertools
import json
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

import hardball
from hardball import Dataset, ThreatModel, UserError, storage
from hardball.cli import main
from hardball.commands.measure import MeasureConfig, Measured, measure
from hardball.commands.subject import SubjectConfig
from hardball.data import DATASETS
from hardball.evaluation import Accuracy, sanity
from hardball.evaluation.checks import budget
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.checks.result import Check
from hardball.evaluation.sanity import Doubt
from hardball.evaluation.witnesses import sealed
from hardball.fingerprint import tensors_sha256
from hardball.losses import correct
from hardball.threats import GEOMETRIES
from hardball.verification import Verification, arithmetic, verify

SOURCE = Path(hardball.__file__).parent
SETTINGS: dict[str, Any] = {
    "eps": [0.05, 0.1],
    "attacks": ["fgsm", "pgd-20"],
    "n": 40,
    "seed": 0,
    "batch_size": 64,
    "data": "digits",
    "model": "digits_cnn",
    "model_args": {"width": 8},
    "norm": "linf",
    "device": "cpu",
}
RADII = {"linf": [0.05, 0.1], "l2": [0.3, 0.6], "l0": [1.0, 4.0], "unbounded": [1.0]}


@dataclass(frozen=True)
class Evaluated:
    """A weights file with its evaluation, in a folder of its own."""

    folder: Path

    @property
    def weights(self) -> Path:
        return self.folder / "w.safetensors"

    @property
    def record(self) -> Path:
        return self.folder / "w.evaluation.json"

    @property
    def witnesses(self) -> Path:
        return self.folder / "w.witnesses.safetensors"

    def verify(self) -> Verification:
        return verify(self.weights)

    def refuted(self) -> list[str]:
        """What does not hold."""
        return [finding.what for finding in self.verify().findings if not finding.holds]

    def tell(self, **different: Any) -> None:
        """Lie in evaluation.json, and seal it."""
        content = json.loads(self.record.read_text()) | different
        content.pop("sha256")
        self.record.write_bytes(sealed(content))

    def forge(self, change: Any) -> None:
        """Change the witnesses' tensors and seal everything again."""
        content = self.witnesses.read_bytes()
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + size])["__metadata__"]
        change(tensors)
        content = save(tensors, metadata=about)
        self.witnesses.write_bytes(content)
        told = json.loads(self.record.read_text())["witnesses"]
        count = len(tensors["index"])
        self.tell(witnesses=told | {"sha256": storage.digest(content), "count": count})


def evaluated(folder: Path, net: nn.Module, norm: str = "linf", **more: Any) -> Evaluated:
    made = Evaluated(folder)
    storage.save_weights(net, made.weights)
    measured(made.weights, **({"eps": RADII[norm], "norm": norm} | more))
    return made


def measured(weights: Path, **more: Any) -> Measured:
    asked = SETTINGS | more
    subject = {f.name: asked[f.name] for f in fields(SubjectConfig) if f.name in asked}
    how = {f.name: asked[f.name] for f in fields(MeasureConfig) if f.name in asked}
    return measure(SubjectConfig(weights, **subject), MeasureConfig(**how))


@pytest.fixture(scope="module")
def untouched(_trained_digits_cnn, tmp_path_factory):
    return evaluated(tmp_path_factory.mktemp("honest"), _trained_digits_cnn)


@pytest.fixture
def honest(untouched, tmp_path):
    """A copy that may be tampered with."""
    for file in (untouched.weights, untouched.record, untouched.witnesses):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return Evaluated(tmp_path)


# ---------------------------------------------------------------- the truth holds


@pytest.mark.parametrize("norm", RADII)
def test_an_honest_evaluation_holds(norm, digits_net, tmp_path):
    made = evaluated(tmp_path, digits_net, norm)
    found = made.verify()
    assert [finding for finding in found.findings if not finding.holds] == []
    told = json.loads(made.record.read_text())
    for row in told["robust"]:
        assert f"{row['accuracy']:.1%} at ε={row['eps']:g}" in found.sentence
    assert f"{told['witnesses']['count']} witnesses prove it." in found.sentence
    assert told["witnesses"]["count"] == 40 - told["robust"][-1]["right"] > 0


def test_each_wrong_example_has_its_witness(honest):
    told = json.loads(honest.record.read_text())
    content = honest.witnesses.read_bytes()
    found = load(content)
    about = json.loads(
        json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["about"]
    )
    assert (about["norm"], about["seed"], about["n"]) == ("linf", 0, 40)
    for score in told["scores"]:
        mine = found["attack"] == about["attacks"].index(score["attack"])
        assert int((mine & (found["eps"] == score["eps"])).sum()) == score["broken"]
    assert int((found["eps"] == 0).sum()) == 40 - told["clean"]["right"]
    digits = hardball.load_dataset("digits", split="test")
    clean = found["eps"] == 0
    assert torch.equal(found["images"][clean], digits.images[found["index"][clean]])


def test_a_sample_is_measured_in_place_of_the_first_images(digits_net, tmp_path):
    made = evaluated(tmp_path, digits_net, n=30, sample=5)
    digits = hardball.load_dataset("digits", split="test")
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(5))[:30]
    rows = torch.tensor(sorted(order.tolist()))
    told = json.loads(made.record.read_text())
    right = digits_net(digits.images[rows]).argmax(dim=1) == digits.labels[rows]
    assert (told["sample"], told["n"], told["clean"]["right"]) == (5, 30, int(right.sum()))
    assert made.verify().holds
    found = load(made.witnesses.read_bytes())
    wrong = found["eps"] == 0
    assert wrong.any()
    assert torch.equal(found["images"][wrong], digits.images[rows[found["index"][wrong]]])
    made.tell(sample=6)
    assert made.refuted() == ["data"]
    made.tell(sample=None)
    assert made.refuted() == ["data"]


@pytest.mark.parametrize(
    ("n", "sample", "message"),
    [
        (None, 0, " without `n`; say how many"),
        (30, -1, "; allowed is a seed of 0 or more"),
        (30, 2**63, "; allowed is a seed of 0 or more"),
    ],
)
def test_a_sample_needs_a_number_of_images_and_a_seed(n, sample, message, digits_net, tmp_path):
    with pytest.raises(hardball.UserError, match=f"`sample={sample}`{message}"):
        evaluated(tmp_path, digits_net, n=n, sample=sample)


def test_evaluating_again_writes_the_same_witnesses(honest):
    before = honest.witnesses.read_bytes()
    seconds = json.loads(honest.record.read_text())["seconds"]
    again = evaluated(honest.folder, _net_of(honest))
    assert again.witnesses.read_bytes() == before
    assert again.verify().holds
    assert seconds != 0


def _net_of(made: Evaluated) -> nn.Module:
    net = hardball.build("digits_cnn", (1, 8, 8), 10, {"width": 8})
    storage.load_weights(net, made.weights)
    return net


def test_the_command_says_so_in_80_columns(honest, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(honest.weights)])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "Verified: of 40 images of digits" in " ".join(out.split())
    assert " NO " not in out
    honest.witnesses.unlink()
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(honest.weights)])
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 1
    assert "NOT verified: witness file: w.witnesses.safetensors is missing." in out


# ---------------------------------------------------------------- a changed byte


@pytest.mark.parametrize("file", ["weights", "witnesses", "record"])
@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found(file, where, change, untouched):
    path = getattr(untouched, file)
    content = path.read_bytes()
    place = int(where * len(content))
    try:
        path.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
        assert not untouched.verify().holds
    finally:
        path.write_bytes(content)


def test_every_changed_digit_of_the_record_is_found(untouched):
    content = untouched.record.read_bytes()
    digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
    try:
        for place in digits[:: len(digits) // 150]:
            other = b"0" if content[place : place + 1] != b"0" else b"7"
            untouched.record.write_bytes(content[:place] + other + content[place + 1 :])
            assert untouched.refuted() == ["evaluation.json"]
    finally:
        untouched.record.write_bytes(content)


@pytest.mark.parametrize("file", ["weights", "witnesses", "record"])
def test_a_truncated_or_missing_file_is_found(file, honest):
    path = getattr(honest, file)
    path.write_bytes(path.read_bytes()[:-7])
    assert not honest.verify().holds
    path.write_bytes(b"")
    assert not honest.verify().holds


# ---------------------------------------------------------------- lies, well sealed


def first(tensors: dict[str, torch.Tensor]) -> int:
    """A witness that an attack made."""
    return int((tensors["eps"] > 0).nonzero()[0])


def too_far(tensors):
    row = first(tensors)
    digits = hardball.load_dataset("digits", split="test")
    image = digits.images[tensors["index"][row]]
    tensors["images"][row] = (image + tensors["eps"][row] + 1e-5).clamp(0, 1)


def outside(tensors):
    tensors["images"][first(tensors), 0, 0, 0] = -1e-3


def not_a_number(tensors):
    tensors["images"][first(tensors), 0, 0, 0] = math.nan


def right_after_all(tensors):
    row = first(tensors)
    digits = hardball.load_dataset("digits", split="test")
    tensors["images"][row] = digits.images[tensors["index"][row]]


def labelled_otherwise(tensors):
    row = first(tensors)
    tensors["label"][row] = tensors["predicted"][row]
    tensors["predicted"][row] = (tensors["predicted"][row] + 1) % 10


def taken_for_another(tensors):
    row = first(tensors)
    tensors["predicted"][row] = next(
        k
        for k in range(10)
        if k not in (int(tensors["label"][row]), int(tensors["predicted"][row]))
    )


def twice(tensors):
    row = first(tensors)
    for name, value in tensors.items():
        tensors[name] = torch.cat([value, value[row : row + 1]])


def one_less(tensors):
    row = first(tensors)
    for name, value in tensors.items():
        tensors[name] = torch.cat([value[:row], value[row + 1 :]])


def at_smaller_eps(tensors):
    row = int((tensors["eps"] == 0.1).nonzero()[0])
    tensors["eps"][row] = 0.05


def at_no_eps(tensors):
    tensors["eps"][first(tensors)] = 0.07


def by_nothing(tensors):
    tensors["attack"][first(tensors)] = 0


def nobody(tensors):
    tensors["index"][first(tensors)] = 40


def counted_backwards(tensors):
    tensors["index"][first(tensors)] = -1


def half_a_list(tensors):
    tensors["label"] = tensors["label"][:-1]


def of_another_kind(tensors):
    tensors["index"] = tensors["index"].float()


def all_unattacked(tensors):
    wrong = tensors["eps"] > 0
    tensors["eps"][wrong], tensors["attack"][wrong] = 0.0, 0


LIES = {
    too_far: "distance ≤ ε in float32",
    outside: "inside [0, 1]",
    not_a_number: "inside [0, 1]",
    right_after_all: "misclassified in float32",
    labelled_otherwise: "witness list",
    taken_for_another: "taken for the class said",
    twice: "witness list",
    one_less: "accuracy at ε=",
    at_smaller_eps: "distance ≤ ε in float32",
    at_no_eps: "witness list",
    by_nothing: "witness list",
    nobody: "witness list",
    counted_backwards: "witness list",
    half_a_list: "witness list",
    of_another_kind: "witness list",
    all_unattacked: "right or wrong unattacked",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_false_witness_is_refuted(lie, honest):
    honest.forge(lie)
    refuted = honest.refuted()
    assert any(what.startswith(LIES[lie]) for what in refuted), refuted
    assert honest.verify().sentence.startswith(f"NOT verified: {refuted[0]}")


def better(row: dict[str, Any]) -> dict[str, Any]:
    right = row["right"] + 1
    return row | Accuracy(right=right, n=row["n"]).as_json()


@pytest.mark.parametrize(
    ("lie", "refuted"),
    [
        (lambda told: {"clean": better(told["clean"])}, "clean accuracy"),
        (
            lambda told: {"robust": [told["robust"][0], better(told["robust"][1])]},
            "accuracy at ε=0.1",
        ),
        (
            lambda told: {"robust": [told["robust"][0] | {"high": 1.0}, told["robust"][1]]},
            "accuracy at ε=0.05",
        ),
        (lambda told: {"n": 39}, "data"),
        (lambda told: {"n": 400}, "data"),
        (lambda told: {"split": "train"}, "data"),
        (lambda told: {"norm": "l0"}, "witness list"),
        (lambda told: {"seed": 5}, "witness list"),
        (lambda told: {"weights_sha256": "0" * 64}, "weights"),
        (lambda told: {"model": told["model"] | {"args": {"width": 16}}}, "weights"),
        (lambda told: {"model": None}, "evaluation.json"),
        (lambda told: {"robust": 7}, "evaluation.json"),
        (lambda told: {"witnesses": {}}, "evaluation.json"),
    ],
)
def test_a_false_record_is_refuted(lie, refuted, honest):
    honest.tell(**lie(json.loads(honest.record.read_text())))
    assert honest.refuted()[0] == refuted


def test_other_weights_that_claim_to_be_the_same_are_refuted(honest):
    """Resealed, witnesses and all: but they do not fool these weights."""
    torch.manual_seed(1)
    net = hardball.build("digits_cnn", (1, 8, 8), 10, {"width": 8})
    storage.save_weights(net, honest.weights)
    honest.tell(weights_sha256=storage.digest(honest.weights.read_bytes()))
    assert honest.refuted() == ["witness list"]


# ---------------------------------------------------------------- rounding


class Rounding(nn.Module):
    """A tie in float32, right in float64: 1 + 1e-9 against 1."""

    def __init__(self) -> None:
        super().__init__()
        self.little = nn.Parameter(torch.tensor(1e-9))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        one = 1 + 0 * images.flatten(1).sum(1)
        return torch.stack([one + self.little, one], dim=1)


def test_what_depends_on_rounding_is_counted_apart(tmp_path, monkeypatch):
    tiny = Dataset(
        name="tiny",
        images=torch.full((6, 1, 2, 2), 0.5),
        labels=torch.tensor([0, 0, 0, 0, 1, 1]),
        classes=2,
    )
    monkeypatch.setitem(DATASETS, "tiny", lambda root, train: tiny)
    name = f"{__name__}:Rounding"
    with pytest.warns(Doubt, match="nothing to attack"):
        made = evaluated(
            tmp_path, Rounding(), n=None, data="tiny", model=name, model_args={}, attacks=["fgsm"]
        )
    found = verify(made.weights, model=name)
    assert found.holds
    told = {finding.what: finding.found for finding in found.findings}
    assert told["misclassified in float32"] == "6 of 6"
    assert told["misclassified in float64"] == "2 of 6, 4 more precision-dependent"
    assert found.sentence.endswith("6 witnesses prove it (4 of them depending on rounding).")


# ---------------------------------------------------------------- its own code path


def test_it_shares_no_arithmetic_with_the_evaluation():
    """Walk what it imports, and what that imports: no accuracy, no attacks, no threat models."""
    seen, left = set(), {"hardball.verification.recheck"}
    while left:
        module = left.pop()
        seen.add(module)
        path = SOURCE.joinpath(*module.split(".")[1:])
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
                left |= {n for n in names if n.startswith("hardball") and _exists(n)} - seen
    left_out = {"hardball.attacks", "hardball.threats", "hardball.losses", "hardball.evaluation"}
    left_out.add("hardball.certify")
    assert {".".join(name.split(".")[:2]) for name in seen} & left_out == set()
    assert "hardball.verification.arithmetic" in seen


def _exists(module: str) -> bool:
    path = SOURCE.joinpath(*module.split(".")[1:])
    return module != "hardball" and (path.with_suffix(".py").exists() or path.is_dir())


@given(data=st.data())
def test_it_agrees_with_the_evaluation_on_geometry(data):
    norm = data.draw(st.sampled_from(sorted(GEOMETRIES)))
    low, high = GEOMETRIES[norm].radii
    eps = data.draw(st.floats(low, min(high, 3.0)))
    source = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    centres = torch.rand(4, 1, 3, 3, generator=source)
    moved = (centres + eps * (2 * torch.rand(4, 1, 3, 3, generator=source) - 1)).clamp(-0.1, 1.1)
    threat = ThreatModel(norm, eps)
    for images in (moved, threat.project(moved, centres)):
        mine = arithmetic.in_box(images)
        for dtype in ("float32", "float64"):
            both = mine & arithmetic.in_ball(norm, images, centres, np.full(4, eps), dtype)
            typed = getattr(torch, dtype)
            theirs = threat.allows(images.to(typed), centres.to(typed))
            assert both.tolist() == theirs.tolist()


@given(
    rows=st.lists(
        st.lists(
            st.sampled_from([0.0, 1.0, 2.0, math.nan, math.inf, -math.inf]), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=9,
    ),
    label=st.integers(0, 2),
)
def test_it_agrees_with_the_evaluation_on_what_is_wrong(rows, label):
    labels = torch.full((len(rows),), label)
    theirs = ~correct(torch.tensor(rows, dtype=torch.float64), labels)
    assert arithmetic.wrong(np.array(rows), labels.numpy()).tolist() == theirs.tolist()


@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_it_agrees_with_the_evaluation_on_intervals(n, share):
    right = round(share * n)
    theirs = Accuracy(right=right, n=n).interval
    assert arithmetic.wilson(right, n) == pytest.approx(theirs, abs=1e-9)


def test_it_agrees_with_the_evaluation_on_digests():
    tensors = [torch.rand(3, 1, 2, 2), torch.arange(3), torch.zeros(0, 2)]
    assert arithmetic.tensors_sha256(tensors) == tensors_sha256(tensors)
    assert arithmetic.tensors_sha256(tensors[:2]) != tensors_sha256(tensors)


# ---------------------------------------------------------------- mistakes


def test_code_that_a_file_names_is_not_run_unasked(honest):
    told = json.loads(honest.record.read_text())["model"]
    honest.tell(model=told | {"name": "os:getcwd"})
    with pytest.raises(
        UserError, match=r"model 'os:getcwd' is code outside hardball.*trust_model_code"
    ):
        honest.verify()


def test_refusals_name_the_value_and_the_cure(honest, tmp_path):
    with pytest.raises(UserError, match=r"no run and no weights at .*nowhere"):
        verify(tmp_path / "nowhere")
    with pytest.raises(UserError, match="`batch_size=0`; allowed is 1 or more"):
        verify(honest.weights, batch_size=0)
    with pytest.raises(UserError, match="`model=mnist_cnn`, but the evaluation is of digits_cnn"):
        verify(honest.weights, model="mnist_cnn")
    honest.record.write_text('{"schema": 1}')
    with pytest.raises(UserError, match="schema 1, which had no witnesses; evaluate again"):
        honest.verify()
    honest.record.unlink()
    with pytest.raises(UserError, match="make one: hardball evaluate"):
        honest.verify()


def test_a_later_find_lowers_the_accuracy_and_is_verified(digits_net, tmp_path, digits):
    """What a check beyond the attacks breaks is a witness like any other."""
    made = Evaluated(tmp_path)
    storage.save_weights(digits_net, made.weights)
    found = measured(made.weights, eps=[0.02, 0.1], attacks=["fgsm"])
    before = found.evaluation
    images, labels = digits.images[:40], digits.labels[:40]
    result = hardball.PGD(steps=20)(digits_net, images, labels, ThreatModel("linf", 0.09))
    rows = result.fooled.nonzero().squeeze(1)
    radii = torch.full((len(rows),), 0.09)  # float32, and none that was measured
    after = before.lowered(rows, result.examples[rows], radii, "check 4")
    new = rows[before.broken_at.isinf()[rows]]
    assert len(new) > 0
    # each counts at the next ε measured, once; what fell before keeps its witness
    assert (after.broken_at[new] == 0.1).all()
    assert {after.broken_by[i] for i in new.tolist()} == {"check 4"}
    assert after.worst[0.02] == before.worst[0.02]
    assert after.worst[0.1].right == before.worst[0.1].right - len(new)
    kept = before.broken_at.isfinite()
    assert torch.equal(after.witnesses[kept], before.witnesses[kept])
    lower = dataclasses.replace(found, evaluation=after)
    lower.write()
    told = made.verify()
    assert told.holds, told
    assert f"{after.worst[0.1].value:.1%} at ε=0.1" in told.sentence
    # a word without the checks that it follows from
    lower.write(verdict={"word": "weaker than claimed"})
    assert json.loads(made.record.read_text())["verdict"] == {"word": "weaker than claimed"}
    assert made.refuted() == ["checks", "verdict"]


def test_finds_beyond_the_measured_radius_count_for_nothing(honest, digits_net, digits):
    before = measured(honest.weights).evaluation
    rows = before.broken_at.isinf().nonzero().squeeze(1)
    assert len(rows) > 0
    beyond = before.lowered(rows, 1 - digits.images[rows], [0.11] * len(rows), "check 9")
    assert beyond.worst == before.worst
    assert torch.equal(beyond.witnesses, before.witnesses)
    # the radius itself, as float32 has it, is not beyond
    at = before.lowered(rows, 1 - digits.images[rows], torch.full((len(rows),), 0.1), "check 9")
    assert at.worst[0.1].right == 0


def test_an_evaluation_at_no_eps_holds(digits_net, tmp_path):
    made = evaluated(tmp_path, digits_net, eps=[0.0])
    assert made.verify().holds


# ---------------------------------------------------------------- the page that describes it

PAGE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text()


def rows_below(heading: str) -> set[str]:
    """The names in the first column of the table below a line of the page."""
    lines = PAGE[PAGE.index(heading) :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| ---")) + 1
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    cells = [line.split("|")[1] for line in table]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_page_describes_every_field(untouched):
    told = json.loads(untouched.record.read_text())
    assert rows_below("## evaluation.json") == set(told)
    assert rows_below("An entry of `scores`") == set(told["scores"][0])
    proofs = {"certified", "margins"}  # only with certificates
    tensors = {*load(untouched.witnesses.read_bytes()), *proofs}
    assert rows_below("## witnesses.safetensors") == tensors


def test_the_page_describes_every_warning():
    source = inspect.getsource(sanity)
    for name in (
        line.split("|")[1].strip()
        for line in PAGE[PAGE.index("## Warnings") : PAGE.index("## From Python")].splitlines()
        if line.startswith("|") and "---" not in line and "| name" not in line
    ):
        assert f'"{name}: ' in source


CHECKLIST_PAGE = (Path(__file__).parents[1] / "docs" / "checklist.md").read_text()


def test_the_checklists_page_has_every_check_and_field():
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", CHECKLIST_PAGE, re.MULTILINE)
    named = " ".join(name for _, name in rows)
    for check in TABLE:
        assert check.name in named
        assert any(number.strip() == check.number for number, _ in rows)
    fields_there = set(re.findall(r"`(\w+)`", CHECKLIST_PAGE))
    assert {field.name for field in fields(Check)} <= fields_there
    root = Path(__file__).parents[1]
    for page in ("README.md", "docs/mnist.md"):
        assert (root / page).read_text().count(f"{len(TABLE)} checks") == 1


def test_the_minutes_of_a_budget_are_those_measured():
    """Stated on one page, from the file that it names; nowhere in the code."""
    results = Path(__file__).parents[1] / "results" / "checklist_mnist.json"
    runs = [row for row in json.loads(results.read_text()).values() if "checks" in str(row)]
    found = [row for row in map(_checks_in, runs) if row]
    minutes = [sum(check["seconds"] for check in row) / 60 for row in found]
    ((low, high),) = re.findall(r"took (\d+) to (\d+) minutes", CHECKLIST_PAGE)
    assert (round(min(minutes)), math.ceil(max(minutes))) == (int(low), int(high))
    source = inspect.getsource(budget)
    assert "minute" not in source
    assert "docs/checklist.md" in source


def _checks_in(run):
    """The list of checks, wherever a result has it."""
    if isinstance(run, dict):
        if isinstance(run.get("checks"), list):
            return run["checks"]
        return next(filter(None, map(_checks_in, run.values())), [])
    return []


def test_help_names_the_page_that_has_the_checks(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "the checks of docs/checklist.md" in text
    assert "docs/evaluation.md" not in text
