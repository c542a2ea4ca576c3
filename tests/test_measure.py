"""What `hardball evaluate` takes from a run, and what must be said."""

from pathlib import Path

import pytest

from hardball import UserError
from hardball.commands.checklist import ChecklistConfig
from hardball.commands.evaluate import EvaluateConfig
from hardball.commands.measure import MeasureConfig, trained_eps, trained_norm
from hardball.commands.subject import SubjectConfig

RUN = Path("runs/mine")


@pytest.mark.parametrize(
    ("config", "eps"),
    [
        ({"curriculum": {"name": "iterative", "target": 0.4}}, 0.4),
        ({"curriculum": {"kind": "Constant", "eps": 0.3}}, 0.3),
        ({"curriculum": {"target": 0}}, 0.0),
    ],
)
def test_the_eps_that_a_run_was_trained_for(config, eps):
    assert trained_eps(RUN, config) == eps
    assert MeasureConfig().radii(RUN, config) == [eps]
    assert MeasureConfig(eps=0.1).radii(RUN, config) == [0.1]


@pytest.mark.parametrize("config", [{}, {"curriculum": None}, {"curriculum": {"name": "m:Mine"}}])
def test_an_eps_that_is_not_known_is_asked_for(config):
    with pytest.raises(UserError, match=r"runs/mine does not say which ε.*pass .* `eps=0\.3`"):
        MeasureConfig().radii(RUN, config)
    assert MeasureConfig(eps=[0.1, 0.2]).radii(RUN, config) == [0.1, 0.2]


def test_the_eps_of_requirements_are_measured_too():
    assert MeasureConfig(eps=0.1, require="0.3:0.5,0.4:0.1").radii(RUN, {}) == [0.1, 0.3, 0.4]


@pytest.mark.parametrize(
    ("config", "norm"),
    [({"norm": "l2"}, "l2"), ({"settings": {"norm": "l0"}}, "l0"), ({}, "linf")],
)
def test_the_norm_that_a_run_was_trained_in(config, norm):
    assert trained_norm(config) == norm


def test_a_bad_config_is_refused_when_it_is_made():
    subject = SubjectConfig(RUN)
    for how, message in (
        ({"measure": MeasureConfig(require="x")}, "`require=x`; allowed is EPS:ACC"),
        (
            {"checklist": ChecklistConfig(budget="full")},
            "`budget=full` without `protocol=checklist`",
        ),
    ):
        with pytest.raises(UserError, match=message):
            EvaluateConfig(subject=subject, **how)
    with pytest.raises(UserError, match="`processes=0`; allowed is 1 or more"):
        MeasureConfig(processes=0)
