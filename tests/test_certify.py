"""Certificates: lower bounds beside the attacks' upper bounds, never above them."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from contexts import LINF, SMALL, WEAK, measured
from hardball import PGD, Dataset, ThreatModel, UserError, evaluate, storage
from hardball.certify import CERTIFICATES, Certificate, named
from hardball.cli import main
from hardball.errors import Contradiction, Unsupported
from hardball.evaluation import Journal, checklist
from hardball.evaluation.checks.budget import BUDGETS
from hardball.evaluation.checks.registry import TABLE
from hardball.evaluation.witnesses import sealed
from hardball.report.tables import evaluation_table
from hardball.verification import verify

EPS = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Linear(Certificate):
    """Exact for a linear model of two classes in ℓ∞: the margin exceeds ε·‖w‖₁."""

    share: float = 1.0
    """Of ε: below 1 it is unsound."""

    def validate(self, images, threat):
        if threat.norm != "linf":
            raise Unsupported(f"the norm {threat.norm}; allowed is linf")

    def certify(self, model, images, labels, threat):
        assert not torch.is_grad_enabled()
        logits = model(images)
        margin = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
        return margin > self.share * threat.eps * model.weight.abs().sum() + 1e-9


class Everything(Certificate):
    def certify(self, model, images, labels, threat):
        return torch.ones(len(images), dtype=torch.bool)


class Answers(Certificate):
    def __init__(self, answer):
        self.answer = answer

    def certify(self, model, images, labels, threat):
        return self.answer


@pytest.fixture
def data():
    """Points in the middle of the box, so that it does not help the model."""
    source = torch.Generator().manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(60, 1, 2, 2, generator=source, dtype=torch.float64)
    labels = (images.flatten(1)[:, 0] > 0.5).long()
    return Dataset(name="points", images=images, labels=labels, classes=2)


@pytest.fixture
def model(two_classes):
    """Right on these, by up to 0.1 in the first pixel."""
    weight = torch.tensor([[[10.0, 0.0], [0.0, 0.5]]], dtype=torch.float64)
    return two_classes(weight, bias=-5.25)


ATTACKS = {"pgd": PGD(steps=20)}


# ---------------------------------------------------------------- side by side


def test_for_a_linear_model_both_bounds_meet(model, data):
    """PGD is exact there, and so is the certificate."""
    found = evaluate(model, data, eps=EPS, attacks=ATTACKS, certify={"linear": Linear()})
    assert list(found.certified) == list(EPS)
    for eps in EPS:
        assert found.certified[eps] == found.worst[eps]
        certified = found.certified_at(eps)
        assert certified is not None
        assert torch.equal(certified, found.broken_at > eps)
    assert 0 < found.certified[0.05].right < found.clean.right
    assert found.as_json()["certified"] == [
        {"eps": eps, "certificate": "linear", **found.certified[eps].as_json()} for eps in EPS
    ]


def test_without_certificates_nothing_is_certified(model, data):
    found = evaluate(model, data, eps=0.1, attacks=ATTACKS)
    assert found.certified == {}
    assert found.certified_at(0.1) is None
    assert found.as_json()["certified"] == []


def test_of_several_certificates_each_counts(model, data):
    weak = Linear(share=3.0)
    both = {"weak": weak, "linear": Linear()}
    found = evaluate(model, data, eps=0.05, attacks=ATTACKS, certify=both)
    assert [proof.certificate for proof in found.proofs] == ["weak", "linear"]
    assert found.proofs[0].accuracy.right < found.proofs[1].accuracy.right
    assert found.certified[0.05] == found.proofs[1].accuracy


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batches_change_nothing_and_the_journal_keeps_it(batch_size, model, data, monkeypatch):
    journal = Journal()
    how: dict[str, Any] = {"eps": EPS, "attacks": ATTACKS, "certify": Linear()}
    found = evaluate(model, data, **how, batch_size=batch_size, journal=journal)
    expected = evaluate(model, data, **how)
    assert found.certified == expected.certified
    monkeypatch.setattr(Linear, "certify", lambda *_: pytest.fail("certified again"))
    assert evaluate(model, data, **how, journal=journal).certified == expected.certified


# ---------------------------------------------------------------- never above


def test_certified_and_broken_is_a_contradiction(model, data):
    """Named: certificate, ε, examples and what broke them."""
    unsound = {"half": Linear(share=0.5)}
    with pytest.raises(Contradiction) as caught:
        evaluate(model, data, eps=[0.05], attacks=ATTACKS, certify=unsound)
    broken = evaluate(model, data, eps=0.05, attacks=ATTACKS).broken_at
    wrong = broken <= 0.05
    claimed = Linear(share=0.5)(model, data.images, data.labels, ThreatModel("linf", 0.05))
    rows = (wrong & claimed).nonzero().flatten().tolist()
    text = str(caught.value)
    assert f"{len(rows)} example" in text
    assert ", ".join(map(str, rows[:10])) in text
    assert "certified by half at eps=0.05, and broken" in text
    assert "by pgd" in text


def test_a_misclassified_image_cannot_be_certified(model, data):
    labels = data.labels.clone()
    labels[3] = 1 - labels[3]
    mistaken = replace(data, labels=labels)
    with pytest.raises(Contradiction, match=r"^1 example \(3\).*by none.*without attack"):
        evaluate(model, mistaken, eps=0.0, attacks=ATTACKS, certify={"all": Everything()})


def test_what_broke_at_a_smaller_eps_counts_too(model, data):
    """The certificate is sound at the smaller radius, and not at the larger."""
    found = evaluate(model, data, eps=EPS, attacks=ATTACKS)
    only = int((found.broken_at == 0.05).nonzero()[0])

    class One(Certificate):
        def certify(self, model, images, labels, threat):
            return (torch.arange(len(images)) == only) & (threat.eps > 0.1)

    with pytest.raises(Contradiction, match=rf"^1 example \({only}\): certified by One at eps=0.2"):
        evaluate(model, data, eps=EPS, attacks=ATTACKS, certify=One())


def test_the_checks_finds_are_held_against_it(model, data, monkeypatch):
    """What a check breaks after the evaluation contradicts a certificate as well."""
    monkeypatch.setitem(BUDGETS, "quick", SMALL)
    only = [spec for spec in TABLE if spec.name == "ten restarts"]
    monkeypatch.setattr("hardball.evaluation.checks.checklist.TABLE", only)
    unsound = Linear(share=0.1)
    found = measured(model, data, LINF, {"pgd-200": WEAK}, certify=unsound)
    with pytest.raises(Contradiction, match=r"certified by Linear at eps=0\.1"):
        checklist(model, data, LINF, found, budget="quick")


# ---------------------------------------------------------------- the shared call


def test_the_model_is_left_as_it_was(data):
    class Noisy(torch.nn.BatchNorm2d):
        def forward(self, images):
            return super().forward(images).flatten(1)[:, :2] + torch.rand(1)

    model = Noisy(1).double().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()

    class Calling(Certificate):
        def certify(self, model, images, labels, threat):
            return model(images).argmax(1) > 5

    Calling()(model, data.images, data.labels, LINF)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.ones(60), r"Answers returned torch.float32 of shape \[60\] for 60 images"),
        (torch.ones(59, dtype=torch.bool), r"shape \[59\] for 60 images; return a bool tensor"),
        (True, "returned bool for 60 images"),
    ],
)
def test_an_answer_of_another_form_is_refused(answer, message, model, data):
    with pytest.raises(UserError, match=message):
        Answers(answer)(model, data.images, data.labels, LINF)


def test_input_is_validated_and_the_norm_refused_before_any_attack(model, data, monkeypatch):
    with pytest.raises(UserError, match="allowed is"):
        Linear()(model, data.images + 2, data.labels, LINF)
    empty = Linear()(model, data.images[:0], data.labels[:0], LINF)
    assert (empty.dtype, empty.shape) == (torch.bool, (0,))
    monkeypatch.setattr(PGD, "run", lambda *_, **__: pytest.fail("attacked first"))
    with pytest.raises(Unsupported, match="the norm l2"):
        evaluate(model, data, eps=0.1, norm="l2", attacks=ATTACKS, certify=Linear())
    with pytest.raises(TypeError, match="without a method `certify`"):
        Certificate()(model, data.images, data.labels, LINF)


# ---------------------------------------------------------------- names, files, the command


def test_names():
    assert named(["ibp"]) == {"ibp": CERTIFICATES["ibp"]}
    (found,) = named([f"{__name__}:Linear"]).values()
    assert found == Linear()
    with pytest.raises(
        UserError, match=r"unknown certificate 'deeppoly'; there are: crown-ibp, ibp, .*your.module"
    ):
        named(["deeppoly"])
    with pytest.raises(UserError, match=r"certificate .*:PGD' is the class PGD; allowed is"):
        named([f"{__name__}:PGD"])


class Nothing(Certificate):
    """Proves nothing, soundly."""

    def certify(self, model, images, labels, threat):
        return torch.zeros(len(images), dtype=torch.bool)


class Some(Certificate):
    """Certifies whatever a strong attack leaves: sound as far as the attack goes."""

    def certify(self, model, images, labels, threat):
        with torch.enable_grad():
            found = PGD(steps=20)(model, images, labels, threat)
        return ~found.fooled


@pytest.fixture
def evaluated(digits_net, tmp_path, capsys, monkeypatch) -> Path:
    """A weights file, evaluated by the command with a certificate."""
    monkeypatch.setenv("COLUMNS", "80")
    weights = tmp_path / "w.safetensors"
    storage.save_weights(digits_net, weights)
    words = ["evaluate", weights, "--data", "digits", "--model-args", "{width: 8}", "--n", 40]
    words += ["--eps", "[0.02,0.05]", "--attacks", "fgsm", "--certify", f"{__name__}:Some"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "certified" in out
    assert max(map(len, out.splitlines())) <= 80
    return weights


def test_the_command_writes_and_verify_checks(evaluated):
    record = json.loads(evaluated.with_suffix(".evaluation.json").read_text())
    assert record["schema"] == 3
    assert [row["certificate"] for row in record["certified"]] == [f"{__name__}:Some"] * 2
    for row, robust in zip(record["certified"], record["robust"], strict=True):
        assert row["eps"] == robust["eps"]
        assert 0 < row["right"] <= robust["right"]
    found = verify(evaluated)
    assert found.holds
    assert f"{__name__}:Some at ε=0.05" in {finding.what for finding in found.findings}


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        (lambda rows: [rows[0] | {"right": 40, "accuracy": 1.0}, rows[1]], "at ε=0.02"),
        (lambda rows: [rows[0], rows[1] | {"high": 1.0}], "at ε=0.05"),
        (lambda rows: rows[:1], "certified"),
        (lambda rows: [rows[0] | {"eps": 0.05}, rows[1]], "against witnesses"),
    ],
)
def test_a_false_certificate_is_refuted(change, refuted, evaluated):
    path = evaluated.with_suffix(".evaluation.json")
    record = json.loads(path.read_text())
    record.pop("sha256")
    path.write_bytes(sealed(record | {"certified": change(record["certified"])}))
    failed = [finding.what for finding in verify(evaluated).findings if not finding.holds]
    assert len(failed) == 1
    assert refuted in failed[0]


def test_the_column_is_there_only_if_there_is_a_certificate(model, data):
    for certify, shown in ((None, False), (Nothing(), True)):
        found = evaluate(model, data, eps=0.1, attacks=ATTACKS, certify=certify)
        console = Console(width=80)
        with console.capture() as captured:
            console.print(evaluation_table(found))
        assert ("certified" in captured.get()) is shown
