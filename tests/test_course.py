"""Curricula in loops that are not hardball's."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

import hardball as hb
from hardball.errors import UserError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EPS = 0.03
LABELS = torch.arange(100) % 10


def logits_of(right: int, confident: float = 5.0, labels: Tensor = LABELS) -> Tensor:
    """The first `right` examples classified correctly, the others as the next class."""
    shown = torch.where(torch.arange(len(labels)) < right, labels, (labels + 1) % 10)
    return confident * torch.nn.functional.one_hot(shown, 10).float()


def constant(labels: Tensor = LABELS) -> Tensor:
    return torch.tensor([[0.01, *[0.0] * 9]]).repeat(len(labels), 1)


def a_course(curriculum: hb.Curriculum) -> hb.Course:
    return hb.Course(curriculum=curriculum, labels=LABELS, classes=10)


def test_a_ramp_is_the_curriculum_s_own() -> None:
    curriculum = hb.Iterative(0.4, ramp_epochs=4, per="step", may_stop=False)
    course = a_course(curriculum)
    for epoch in range(4):
        for fraction in (0.25, 1.0):
            assert course.eps(fraction) == curriculum.eps_at(epoch, fraction)
        decision = course.see(logits_of(90), LABELS)
        assert decision.learned
        assert decision.action == ("end" if epoch == 3 else "hold")
    assert not course.running
    with pytest.raises(UserError, match="ended"):
        course.see(logits_of(90), LABELS)


def test_a_collapse_ends_after_patience() -> None:
    course = a_course(hb.Constant(0.4, epochs=30))
    actions = [course.see(constant(), LABELS).action for _ in range(3)]
    assert actions == ["hold", "hold", "end"]
    course = a_course(hb.Constant(0.4, epochs=30))
    mixed = [constant(), constant(), logits_of(50), constant(), constant()]
    assert [course.see(one, LABELS).action for one in mixed] == ["hold"] * 5


def test_a_sudden_increase_ends_a_ramp_that_may_stop() -> None:
    def end_of(may_stop: bool) -> int:
        course = a_course(hb.Iterative(0.5, ramp_epochs=12, may_stop=may_stop))
        for epoch in range(12):
            decision = course.see(logits_of(95 if epoch < 8 else 40), LABELS)
            if decision.restore:
                return epoch
        return 12

    assert end_of(may_stop=True) == 9  # the second epoch above the limit
    assert end_of(may_stop=False) == 12


def test_a_number_that_is_none_ends() -> None:
    course = a_course(hb.Constant(0.4, epochs=3))
    decision = course.see(torch.full((100, 10), math.nan), LABELS)
    assert decision.action == "end"
    assert decision.restore


def test_adaptive_raises_and_goes_back() -> None:
    rule = hb.Adaptive(0.4, increment=0.1, finish=0)
    course = a_course(rule)
    seen = []
    for logits in (logits_of(99), logits_of(99), constant()):
        decision = course.see(logits, LABELS)
        seen.append((decision.action, round(course.eps(), 3)))
    assert seen == [("raise", 0.1), ("raise", 0.2), ("back", 0.15)]


def test_the_probe_is_asked_and_believed() -> None:
    calls = []

    def masked() -> Tensor:
        calls.append(1)
        return logits_of(10)

    course = a_course(hb.Adaptive(0.4, increment=0.1))
    course.see(logits_of(99), LABELS, probe=masked)  # ε = 0 needs no probe
    assert not calls
    decision = course.see(logits_of(99), LABELS, probe=masked)
    assert (len(calls), decision.action, decision.restore) == (1, "strengthen", True)
    attack = hb.PGD(steps=10)
    assert course.attack(attack).steps == 20
    assert course.attack(hb.PGD(step_size=0.1)).step_size == 0.05


def test_a_saved_course_goes_on_alike() -> None:
    for curriculum in (hb.Adaptive(0.4, increment=0.1), hb.Iterative(0.4, ramp_epochs=9)):
        one, other = a_course(curriculum), a_course(curriculum)
        answers = [logits_of(99), logits_of(80), constant(), logits_of(70), logits_of(20)]
        for logits in answers[:3]:
            one.see(logits, LABELS)
        other.load_state_dict(one.state_dict())
        for logits in answers[3:]:
            assert one.see(logits, LABELS) == other.see(logits, LABELS)
        assert one.eps(0.5) == other.eps(0.5)


def test_bad_input() -> None:
    with pytest.raises(UserError, match=r"classes=1"):
        hb.Course(curriculum=hb.Constant(0.1), labels=LABELS, classes=1)
    with pytest.raises(UserError, match=r"\[100, 10\] for 3 labels"):
        a_course(hb.Constant(0.1)).see(logits_of(5), LABELS[:3])


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_own_loop_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    own = example("own_loop", monkeypatch)
    model, course = own.train(eps_max=0.1, epochs=5)
    assert course.epoch == 5
    assert course.steered.learned > 0
    test = hb.load_dataset("digits-bw", split="test")
    attacks = {"pgd": hb.PGD(steps=20)}
    assert hb.evaluate(model, test, eps=[EPS], attacks=attacks).worst[EPS].value > 0.5


# those of pytorch_lightning itself, about torch's newest version and few workers
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_lightning_callback_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytorch_lightning")
    lightning = example("lightning_loop", monkeypatch)
    ramp = hb.Iterative(0.1, ramp_epochs=3, hold=1, per="step", may_stop=False)
    model, callback = lightning.train(ramp)
    assert callback.course.epoch == 4
    assert not callback.course.running
    test = hb.load_dataset("digits-bw", split="test")
    attacks = {"pgd": hb.PGD(steps=20)}
    assert hb.evaluate(model, test, eps=[EPS], attacks=attacks).worst[EPS].value > 0.5
