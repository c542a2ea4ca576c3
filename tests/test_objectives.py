"""Training objectives: their formulas, what the attack climbs for them, and what watches training."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import flat
from hardball import PGD, Constant, Dataset, Iterative, UserError, build, fit, load_dataset
from hardball.errors import Untrusted
from hardball.losses import kl
from hardball.threats import LInf
from hardball.training import MART, OBJECTIVES, TRADES, Adversarial, Objective, TrainingAttack
from hardball.training.objectives import objective_class, objective_from, objective_spec


def logits(count: int = 6, classes: int = 5, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
QUICK = flat.settings(steps=3, batch_size=64, lr=5e-3, validation=300)


@pytest.fixture(scope="module")
def train() -> Dataset:
    return load_dataset("digits")


def small(data: Dataset) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build("digits_cnn", data.shape, data.classes, {"width": 8})


# --- formulas, against plain arithmetic on probabilities


def test_trades_is_cross_entropy_and_beta_times_the_divergence() -> None:
    clean, moved = logits(seed=1).double(), logits(seed=2).double()
    p, q = clean.softmax(1), moved.softmax(1)
    divergence = (p * (p.log() - q.log())).sum(1)
    expected = -p.log()[torch.arange(6), LABELS] + 4.0 * divergence
    assert torch.allclose(TRADES(beta=4.0).loss(moved, LABELS, clean), expected)
    assert torch.allclose(TRADES().climbed(moved, LABELS, clean), divergence)


def test_mart_is_the_boosted_cross_entropy_and_the_weighted_divergence() -> None:
    clean, moved = logits(seed=1).double(), logits(seed=2).double()
    p, q, rows = clean.softmax(1), moved.softmax(1), torch.arange(6)
    others = q.clone()
    others[rows, LABELS] = 0
    boosted = -q[rows, LABELS].log() - (1 - others.amax(1)).log()
    divergence = (p * (p.log() - q.log())).sum(1)
    expected = boosted + 3.0 * divergence * (1 - p[rows, LABELS])
    assert torch.allclose(MART(beta=3.0).loss(moved, LABELS, clean), expected, atol=1e-5)
    assert torch.equal(
        MART().climbed(moved, LABELS, clean), F.cross_entropy(moved, LABELS, reduction="none")
    )


@given(st.floats(1, 60), st.integers(0, 1000))
def test_marts_margin_term_is_finite_where_a_wrong_class_is_certain(
    scale: float, seed: int
) -> None:
    moved = logits(seed=seed, scale=scale)
    assert bool(MART().loss(moved, LABELS, logits(seed=1)).isfinite().all())


@pytest.mark.parametrize("kind", [Adversarial, TRADES, MART])
def test_label_smoothing_is_a_part_of_each(kind: type[Objective]) -> None:
    clean, moved = logits(seed=1), logits(seed=2)
    plain, smooth = kind().loss(moved, LABELS, clean), kind(label_smoothing=0.2)
    attacked = clean if kind is TRADES else moved
    difference = F.cross_entropy(
        attacked, LABELS, reduction="none", label_smoothing=0.2
    ) - F.cross_entropy(attacked, LABELS, reduction="none")
    assert torch.allclose(smooth.loss(moved, LABELS, clean) - plain, difference, atol=1e-5)


# --- training with them


@pytest.mark.parametrize("kind", [Adversarial, TRADES, MART])
def test_every_objective_learns_and_is_watched_by_the_adversarial_cross_entropy(
    kind: type[Objective], train: Dataset
) -> None:
    run = fit(small(train), train, curriculum=Constant(0.05, 8), settings=QUICK, objective=kind())
    last = run.history[-1]
    assert last["val_accuracy"] > 0.8
    assert last["val_adv_accuracy"] > 0.6
    # the mean cross entropy of a network that is right so often; TRADES' own loss is another number
    assert 0 < last["adv_loss"] < math.log(10)


@dataclass(frozen=True, kw_only=True)
class Scaled(Objective):
    """Adversarial cross entropy times a factor: what is watched must not scale with it."""

    factor: float = 1.0

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        return self.factor * F.cross_entropy(adversarial, labels, reduction="none")


def test_a_scaled_objective_changes_neither_what_is_watched_nor_adams_path(train: Dataset) -> None:
    runs = [
        fit(
            small(train),
            train,
            curriculum=Constant(0.05, 2),
            settings=QUICK,
            objective=Scaled(factor=factor),
        )
        for factor in (1.0, 1024.0)
    ]
    first, second = (run.history[0]["adv_loss"] for run in runs)
    assert second == pytest.approx(first, rel=0.05)


def test_collapse_is_seen_whatever_the_objective(train: Dataset) -> None:
    settings = flat.settings(QUICK, batch_size=32)
    scaled = Scaled(factor=100.0)
    model = small(train)
    run = fit(model, train, curriculum=Constant(0.45, 8), settings=settings, objective=scaled)
    assert run.outcome is not None
    assert run.outcome.status == "collapsed"


def test_the_attack_climbs_the_objectives_loss(train: Dataset) -> None:
    """TRADES' attack raises the divergence from the clean logits more than one on the labels does."""
    model = fit(small(train), train, curriculum=Constant(0.0, 3), settings=QUICK).model.eval()
    images, labels = train.images[:64], train.labels[:64]
    with torch.no_grad():
        clean = model(images)
    start = LInf(0.05).sample(images, torch.Generator().manual_seed(0))
    attack = PGD(steps=10, keep="last")
    found = {
        name: attack.perturb(model, images, labels, LInf(0.05), start=start, loss=loss)
        for name, loss in {
            "labels": None,
            "divergence": lambda z, y: TRADES().climbed(z, y, clean),
        }.items()
    }
    with torch.no_grad():
        reached = {name: float(kl(model(moved), clean).mean()) for name, moved in found.items()}
    assert reached["divergence"] > reached["labels"]


def test_trades_without_a_random_start_is_refused() -> None:
    with pytest.raises(UserError, match="random_start=False with TRADES"):
        flat.settings(objective=TRADES(), random_start=False)


@pytest.mark.parametrize("loss", ["margin", "dlr"])
def test_another_loss_of_the_attack_is_trained_with(loss: str, train: Dataset) -> None:
    plain = fit(small(train), train, curriculum=Constant(0.05, 1), settings=QUICK)
    other = fit(
        small(train), train, curriculum=Constant(0.05, 1), settings=flat.settings(QUICK, loss=loss)
    )
    assert plain.history[0]["adv_loss"] != other.history[0]["adv_loss"]


def test_fit_takes_the_attack_and_the_objective_beside_the_settings(train: Dataset) -> None:
    asked = flat.settings(QUICK, steps=2, objective=TRADES(beta=3.0))
    by_settings = fit(small(train), train, curriculum=Constant(0.05, 1), settings=asked)
    beside = fit(
        small(train),
        train,
        curriculum=Constant(0.05, 1),
        settings=QUICK,
        attack=PGD(steps=2),
        objective=TRADES(beta=3.0),
    )
    assert by_settings.history[0]["adv_loss"] == beside.history[0]["adv_loss"]
    with pytest.raises(UserError, match="restarts=3 in a training attack"):
        fit(small(train), train, curriculum=Constant(0.1, 1), attack=PGD(steps=2, restarts=3))


def test_a_ramp_with_trades_begins_without_an_attack(train: Dataset) -> None:
    ramp = Iterative(0.1, ramp_epochs=2, per="step")
    run = fit(small(train), train, curriculum=ramp, settings=QUICK, objective=TRADES())
    assert run.outcome is not None
    assert run.outcome.status == "finished"
    standard = fit(
        small(train), train, curriculum=Constant(0.0, 6), settings=QUICK, objective=TRADES()
    )
    assert standard.history[-1]["val_accuracy"] > 0.7


# --- names


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_spec_gives_the_objective_back(name: str) -> None:
    made = objective_from({"name": name, "label_smoothing": 0.1})
    assert objective_from(objective_spec(made)) == made


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "trade"}, "unknown objective 'trade'; did you mean 'trades'"),
        ({"name": "trades", "beta": -1}, "beta=-1; allowed is a finite number"),
        ({"name": "mart", "beta": math.inf}, "beta=inf; allowed is a finite number"),
        ({"name": "trades", "gamma": 1}, "trades with {'gamma': 1}.*change its arguments"),
        ({"name": "adversarial", "label_smoothing": 1}, "label_smoothing=1; allowed is"),
        ({"name": "math:sin"}, "no class derived from hardball.Objective"),
        ({"name": "nowhere.to:be"}, "name an importable module"),
    ],
)
def test_bad_objectives_are_named_with_the_cure(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        objective_from(spec)


def test_an_objective_that_a_file_names_is_not_imported_unasked() -> None:
    with pytest.raises(Untrusted, match="'antigravity:Fly' is code outside hardball"):
        objective_class("antigravity:Fly", trusted=False)


def test_a_training_attack_from_pgd_keeps_what_it_says() -> None:
    attack = TrainingAttack.of(PGD(steps=4, step_size=0.1, direction="raw", loss="margin"))
    assert (attack.steps, attack.step_size, attack.direction, attack.loss) == (
        4,
        0.1,
        "raw",
        "margin",
    )
    assert TrainingAttack.of(PGD(steps=4)).loss is None
