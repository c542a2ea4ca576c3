"""Robust accuracy: pointwise worst, re-checked, and never better than it is."""

import json
import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hardball import PGD, Rounding, Targeted, ThreatModel, UserError, evaluate, fgsm, protocols
from hardball.attacks import Attack, AttackResult
from hardball.evaluation import Accuracy
from hardball.evaluation.protocols import ATTACKS, PROTOCOLS
from hardball.evaluation.sanity import Doubt
from hardball.losses import correct
from hardball.seeding import derive
from hardball.threats import GEOMETRIES

NORMS = sorted(GEOMETRIES)
RADII = {"linf": [0.05, 0.1, 0.2], "l2": [0.2, 0.5, 1.0], "l0": [1.0, 3.0], "unbounded": [1.0]}
WEAK = {
    "weak": PGD(steps=3),
    "sign": fgsm(),
    "towards": Targeted(attack=PGD(steps=2)),
}


@pytest.fixture(scope="module")
def some(digits):
    """Fifty digits in double precision, so that the batch size decides nothing by rounding."""
    part = digits.rows(slice(0, 50))
    return replace(part, images=part.images.double())


@pytest.fixture
def model(digits_net):
    return deepcopy(digits_net).double()


def right(model, images, labels):
    with torch.no_grad():
        return correct(model(images), labels)


class Planted(Attack):
    """An attack that returns what a test wants it to."""

    cost = 1

    def __init__(self, examples, fooled=True):
        self.examples, self.fooled = examples, fooled

    def run(self, model, images, labels, threat, generator):
        return AttackResult(
            examples=self.examples(images),
            loss=torch.zeros(len(images)),
            fooled=torch.full((len(images),), self.fooled),
            forwards=len(images),
            backwards=0,
        )


# ---------------------------------------------------------------- what it measures


@pytest.mark.parametrize("norm", NORMS)
def test_result_is_the_pointwise_worst_monotone_and_witnessed(norm, model, some):
    radii = RADII.get(norm, [1.0])
    found = evaluate(model, some, eps=radii[::-1], norm=norm, attacks=WEAK)
    clean = right(model, some.images, some.labels)
    assert found.clean == Accuracy(right=int(clean.sum()), n=50)
    assert torch.equal(found.broken_at == 0, ~clean)
    # each example's own story accounts for every number
    for eps in radii:
        standing = found.broken_at > eps
        assert found.worst[eps] == Accuracy(right=int(standing.sum()), n=50)
    left = [found.clean.right, *(score.after.right for score in found.scores)]
    assert left == sorted(left, reverse=True)
    for before, score in zip(left, found.scores, strict=False):
        assert (score.attacked, score.after.right) == (before, before - score.broken)
    # the witnesses prove it to anyone
    for i, eps in enumerate(found.broken_at.tolist()):
        witness, image, label = (t[i : i + 1] for t in (found.witnesses, some.images, some.labels))
        if eps in (0, math.inf):
            assert torch.equal(witness, image)
        else:
            assert ThreatModel(norm, eps).allows(witness, image)
        assert bool(right(model, witness, label)) == math.isinf(eps)
    assert any(score.broken for score in found.scores)


@pytest.mark.parametrize("name", WEAK)
def test_more_attacks_are_never_better_than_one(name, model, some):
    alone = evaluate(model, some, eps=0.1, attacks={name: WEAK[name]})
    together = evaluate(model, some, eps=0.1, attacks=WEAK)
    assert (together.broken_at <= alone.broken_at).all()


def test_cheapest_attack_goes_first(model, some):
    found = evaluate(model, some, eps=0.1, attacks=WEAK)
    assert [score.attack for score in found.scores] == ["sign", "weak", "towards"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batch_size_changes_nothing(norm, batch_size, model, some):
    some = some.rows(slice(0, 20))
    how = {"eps": RADII.get(norm, [1.0])[0], "norm": norm}
    attacks = {"starts": PGD(steps=2, restarts=2), "towards": Targeted(attack=PGD(steps=2))}
    how |= {"attacks": attacks}
    expected = evaluate(model, some, **how, batch_size=10)
    found = evaluate(model, some, **how, batch_size=batch_size)
    assert torch.equal(found.broken_at, expected.broken_at)
    torch.testing.assert_close(found.witnesses, expected.witnesses, rtol=0, atol=1e-9)
    costs = [[(s.forwards, s.backwards) for s in one.scores] for one in (found, expected)]
    assert costs[0] == costs[1]


def test_seed_decides_the_starts_and_nothing_else_does(model, some):
    def witnesses(seed):
        torch.rand(1)  # the global random state is no source
        return evaluate(model, some, eps=0.1, attacks={"pgd": PGD(steps=2)}, seed=seed).witnesses

    first = witnesses(0)
    assert torch.equal(witnesses(0), first)
    assert not torch.equal(witnesses(1), first)


@given(places=st.sets(st.lists(st.integers(0, 2**40), min_size=1, max_size=4).map(tuple)))
def test_seeds_of_different_places_differ(places):
    """Also where one path continues another with zeros, or a number exceeds 32 bits."""
    places |= {(*place, 0) for place in places} | {(0, 1), (2**32,), (0,), (0, 0)}
    assert len({derive(*place) for place in places}) == len(places)


def test_without_bounds_nothing_stands(model, some):
    found = evaluate(model, some, eps=1.0, norm="unbounded", attacks=protocols.quick)
    assert found.worst[1.0].right == 0
    assert right(model, found.witnesses, some.labels).sum() == 0


def test_evaluation_mode_is_used_and_every_mode_put_back(some):
    class Noted(nn.Linear):
        modes: frozenset[bool] = frozenset()

        def forward(self, images):
            Noted.modes |= {self.training}
            return super().forward(images.flatten(1))

    model = nn.Sequential(Noted(64, 10), nn.Dropout(0.5)).double()
    model[0].eval()
    evaluate(model, some, eps=0.1, attacks={"weak": PGD(steps=1)})
    assert Noted.modes == {False}
    assert [module.training for module in model.modules()] == [True, False, True]


# ---------------------------------------------------------------- what it does not believe


@pytest.mark.parametrize("constant", [0.0, float("nan")])
def test_a_constant_predictor_is_not_robust(constant, some):
    """All logits equal: every answer is a tie, and a tie is an error."""
    with pytest.warns(Doubt) as noted:
        found = evaluate(
            lambda images: torch.full((len(images), 10), constant),
            some,
            eps=0.4,
            attacks=WEAK,
        )
    names = ["nothing to attack", *(["NaN outputs"] if math.isnan(constant) else [])]
    assert [str(note.message).partition(":")[0] for note in noted] == names
    assert found.clean.right == 0
    assert found.worst[0.4].right == 0
    assert all(score.attacked == 0 for score in found.scores)


@pytest.mark.parametrize(
    "planted",
    [
        Planted(lambda images: images),
        Planted(lambda images: 1 - images),
        Planted(lambda images: images - 1),
        Planted(lambda images: images * torch.nan),
    ],
    ids=["the image itself", "too far", "outside the box", "not a number"],
)
def test_a_false_claim_breaks_nothing(planted, model, some):
    found = evaluate(model, some, eps=0.1, attacks={"planted": planted})
    assert found.scores[0].broken == 0
    assert found.scores[0].unconfirmed == found.scores[0].attacked == found.clean.right
    assert found.worst[0.1] == found.clean
    assert torch.equal(found.witnesses, some.images)


def test_a_stochastic_model_is_noticed(some):
    """Wrong in the attack's pass, right in the fresh one: counted, and not as broken."""

    class Alternating(nn.Module):
        calls = 0

        def forward(self, images):
            self.calls += 1
            truth = nn.functional.one_hot(labels[: len(images)], 10).double()
            sign = 1 if self.calls % 2 else -1
            return sign * truth + 0 * images.flatten(1).sum(1, keepdim=True)

    labels = some.labels
    model = Alternating()
    attacks = {"pgd": PGD(steps=1, random_start=False)}
    with pytest.warns(Doubt, match="stochastic model: two passes"):
        found = evaluate(model, some, eps=0.1, attacks=attacks)
    assert found.scores[0].unconfirmed == 50
    assert found.scores[0].broken == 0
    assert found.worst[0.1].right == 50


# ---------------------------------------------------------------- how it is told


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_interval_is_wilsons(n, share):
    """Its ends solve |p̂ − p| = z·√(p(1−p)/n)."""
    accuracy = Accuracy(right=round(share * n), n=n)
    z = 1.959963984540054
    low, high = accuracy.interval
    assert 0 <= low <= accuracy.value <= high <= 1
    middle = (accuracy.right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(accuracy.right * (n - accuracy.right) / n + z * z / 4)
    assert low == pytest.approx(max(0, middle - half), abs=1e-9)
    assert high == pytest.approx(min(1, middle + half), abs=1e-9)


def test_json_round_trip(model, some):
    attacks = {**WEAK, "planted": Planted(lambda images: images)}
    found = evaluate(model, some, eps=[0.05, 0.1], attacks=attacks)
    told = found.as_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["clean"]["right"] == found.clean.right
    assert [(row["eps"], row["right"]) for row in told["robust"]] == [
        (eps, accuracy.right) for eps, accuracy in found.worst.items()
    ]
    assert [row["after"]["n"] for row in told["scores"]] == [50] * 8
    assert told["attacks"]["weak"]["steps"] == 3
    assert told["attacks"]["towards"]["attack"]["steps"] == 2


@pytest.mark.parametrize("name", NORMS)
def test_json_of_every_norm_is_strict(name, model, some):
    eps = RADII.get(name, [1.0])[0]
    found = evaluate(model, some, eps=eps, norm=name, attacks={"sign": fgsm()})
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_named_attack_runs_and_is_told(name, model, some):
    attack = protocols.named([name])[name]
    few = some.rows(slice(0, 3))
    if name.startswith("front-"):
        model = nn.Sequential(Rounding(steepness=4), model)
    found = evaluate(model, few, eps=0.3, attacks={name: attack})
    assert found.worst[0.3].right == 0
    assert found.as_json()["attacks"][name]["kind"] == type(attack).__name__


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_names_attacks_that_exist(name):
    assert tuple(protocols.protocol(name)) == PROTOCOLS[name]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m, d: evaluate(m, d.rows(slice(0, 0)), eps=0.1, attacks=WEAK), "0 examples, 3 att"),
        (
            lambda m, d: evaluate(m, d, eps=0.1, attacks={}),
            "50 examples, 0 attacks and 1 values of `eps`; give at least",
        ),
        (
            lambda m, d: evaluate(m, replace(d, classes=12), eps=0.1, attacks=WEAK),
            "10 outputs for 12 classes of digits",
        ),
        (
            lambda m, d: evaluate(m, d, eps=[], attacks=WEAK),
            "50 examples, 3 attacks and 0 values of `eps`; give at least one of each",
        ),
        (lambda m, d: evaluate(m, d, eps=[0.1, 2.0], attacks=WEAK), "eps=2 for linf; allowed is"),
        (
            lambda m, d: evaluate(m, d, eps=0.1, attacks={"mine": lambda *batch: batch}),  # type: ignore[dict-item]
            "attack 'mine' is <function .*; allowed is an instance .*hardball.attacks.Attack",
        ),
        (
            lambda m, d: evaluate(m, d, eps=0.1, attacks={"mine": PGD}),  # type: ignore[dict-item]
            "attack 'mine' is the class PGD; allowed is an instance",
        ),
        (
            lambda m, d: evaluate(m, d, eps=0.1, attacks=WEAK, certify=len),  # type: ignore[arg-type]
            "certificate 'builtin_function.*' is <built-in.*hardball.certify.Certificate",
        ),
        (
            lambda m, d: evaluate(lambda x: (m(x), x), d, eps=0.1, attacks=WEAK),  # type: ignore[arg-type, return-value]
            "returned tuple; allowed is a tensor of logits",
        ),
        (lambda m, d: protocols.named(["cw"]), "unknown attack 'cw'; there are: apgd-ce"),
        (
            lambda m, d: protocols.named(["pgd-20", "autoattack"]),
            "attack 'autoattack' is a protocol, a set of attacks; use `protocol=autoattack`",
        ),
        (lambda m, d: protocols.protocol("best"), "unknown protocol 'best'; there are: .*quick"),
        (lambda m, d: protocols.protocol("square"), "'square' is an attack; use `attacks=square`"),
        (lambda m, d: protocols.protocol("pgd-7"), "'pgd-7' is an attack; use `attacks=pgd-7`"),
    ],
)
def test_refusals_name_the_value_and_the_cure(make, message, model, some):
    with pytest.raises(UserError, match=message):
        make(model, some)
