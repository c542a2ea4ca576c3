"""What is offered to raise the inner maximum raises it, at equal steps, on fixed networks; measured on
the digits with fixed seeds."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardball as hb
from hardball.attacks.box import perturb_behind
from hardball.losses import cross_entropy
from hardball.training import TrainingAttack
from hardball.training.fit import describe, fingerprint
from hardball.training.machine import launch
from hardball.training.passes import Passes
from hardball.training.update import Update

EPS, JUMP_EPS = 0.05, 0.3


@pytest.fixture(scope="module")
def test_set() -> hb.Dataset:
    return hb.load_dataset("digits", split="test")


def trained(model: nn.Module, curriculum: Any) -> nn.Module:
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()
    settings = hb.Settings(
        optimizer=hb.Optimizer(lr=3e-3), attack=TrainingAttack(steps=2), batch_size=64
    )
    train = hb.load_dataset("digits").rows(slice(0, 800))
    hb.fit(model, train, curriculum=curriculum, settings=settings)
    return model.eval()


@pytest.fixture(scope="module")
def robust() -> nn.Module:
    ramp = hb.Iterative(EPS, ramp_epochs=3, hold=2, per="step", may_stop=False)
    return trained(hb.build("digits_cnn", (1, 8, 8), 10, {"width": 8}), ramp)


@pytest.fixture(scope="module")
def jumping() -> nn.Module:
    """Behind a threshold."""
    net = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 8})
    return trained(nn.Sequential(hb.Rounding(), net), hb.Constant(JUMP_EPS, epochs=5))


def update_of(model: nn.Module, attack: TrainingAttack) -> Update:
    settings = hb.Settings(attack=attack)
    fabric = launch(settings.machine)
    optimizer = settings.optimizer.of(model)
    wrapped = Passes(model, objective=settings.objective)
    return Update(wrapped, model, optimizer, settings, fabric, torch.contiguous_format)


def heights(model: nn.Module, attack: TrainingAttack, data: hb.Dataset, eps: float) -> Tensor:
    """Mean loss of what the training attack finds, for each of four seeds."""
    update, threat = update_of(model, attack), hb.LInf(eps)
    found = []
    for seed in range(4):
        starts = [
            threat.sample(data.images, torch.Generator().manual_seed(10 * seed + number))
            for number in range(attack.starts())
        ]
        ends = update.perturb(attack.at(eps), data.images, data.labels, threat, *starts)
        assert bool(threat.allows(ends, data.images).all())
        with torch.no_grad():
            found.append(cross_entropy(model(ends), data.labels).mean())
    return torch.stack(found)


@pytest.mark.parametrize("steps", [4, 8])
def test_smaller_and_smaller_steps_find_more(robust, test_set, steps):
    """In every seed: at equal steps, with an equal sum of step sizes."""
    plain = heights(robust, TrainingAttack(steps=steps), test_set, EPS)
    decaying = heights(robust, TrainingAttack(steps=steps, step_decay=True), test_set, EPS)
    assert (decaying > plain).all()


def test_behind_a_jump_two_starts_of_half_the_steps_find_more(jumping, test_set):
    one = heights(jumping, TrainingAttack(steps=8), test_set, JUMP_EPS)
    two = heights(jumping, TrainingAttack(steps=4, restarts=2), test_set, JUMP_EPS)
    assert (two > one).all()
    long = heights(jumping, TrainingAttack(steps=16), test_set, JUMP_EPS)
    four = heights(jumping, TrainingAttack(steps=4, restarts=4), test_set, JUMP_EPS)
    assert (four > long).all()


def test_another_start_never_lowers_the_loss_of_an_image(robust, test_set):
    threat, labels = hb.LInf(EPS), test_set.labels
    attack = TrainingAttack(steps=2, restarts=3)
    update = update_of(robust, attack)
    starts = [
        threat.sample(test_set.images, torch.Generator().manual_seed(seed)) for seed in range(3)
    ]

    def loss(*some: Tensor) -> Tensor:
        ends = update.perturb(attack.at(EPS), test_set.images, labels, threat, *some)
        with torch.no_grad():
            return cross_entropy(robust(ends), labels)

    each = torch.stack([loss(one) for one in starts])
    torch.testing.assert_close(loss(*starts), each.amax(0))


# ---------------------------------------------------------------- what the options mean


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_decaying_steps_have_the_same_sum(steps):
    attack = hb.DecayingPGD(steps=steps)
    factors = [attack.factor(step) for step in range(steps)]
    assert sum(factors) == pytest.approx(steps)
    assert factors == sorted(factors, reverse=True)
    assert min(factors) > 0


def test_leaps_begin_near_the_diameter_and_end_near_nothing():
    """In radii: 2T/(T + 1) at first, 2/(T + 1) at last. A step size that is given stays."""
    for steps in (1, 2, 5, 40):
        attack = hb.DecayingPGD(steps=steps, leap=True)
        sizes = [attack.ratio / steps * attack.factor(step) for step in range(steps)]
        assert (sizes[0], sizes[-1]) == pytest.approx((2 * steps / (steps + 1), 2 / (steps + 1)))
        assert sizes == sorted(sizes, reverse=True)
    images, threat = torch.full((1, 1, 1, 1), 0.5), hb.LInf(0.4)
    line = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    labels = torch.tensor([0])
    given, leaping = (
        hb.DecayingPGD(steps=1, step_size=size, leap=True).perturb(
            line, images, labels, threat, start=images
        )
        for size in (0.01, None)
    )
    assert float((given - images).abs()) == pytest.approx(0.01)
    assert float((leaping - images).abs()) == pytest.approx(0.4)


def test_behind_a_clip_leaps_find_more_than_ten_times_as_many_small_steps(test_set):
    """Over four seeds: the corners of that box are far apart, and a small step stays near one."""
    net = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 8})
    clipped = trained(nn.Sequential(hb.Clip(0.41, 0.59), net), hb.Constant(JUMP_EPS, epochs=5))

    def broken(attack: hb.PGD) -> int:
        return sum(
            int(
                hb.BehindFront(attack=attack)(
                    clipped,
                    test_set.images,
                    test_set.labels,
                    hb.LInf(JUMP_EPS),
                    generator=torch.Generator().manual_seed(seed),
                ).fooled.sum()
            )
            for seed in range(4)
        )

    assert broken(hb.DecayingPGD(steps=20, leap=True)) > broken(hb.PGD(steps=200))


def test_on_a_linear_model_it_goes_as_far():
    """Where nothing turns it back, the end is the same corner; from the image itself, with a reach of
    half the radius, exactly half way there."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images, labels, threat = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 1, 0]), hb.LInf(0.2)
    for kind in (hb.PGD, hb.DecayingPGD):
        attack = kind(steps=4, step_size=0.025)
        moved = attack.perturb(model, images, labels, threat, start=images)
        assert torch.allclose((moved - images).abs(), torch.tensor(0.1))


def test_the_settings_choose_the_attack():
    plain, decaying = TrainingAttack(steps=3), TrainingAttack(steps=3, step_decay=True)
    assert type(plain.at(0.1)) is hb.PGD
    assert type(decaying.at(0.1)) is hb.DecayingPGD
    finish = TrainingAttack(
        steps=2, step_decay=True, finish_epochs=2, finish_steps=8, finish_restarts=3
    )
    assert isinstance(finish.at(0.1, finishing=True), hb.DecayingPGD)
    assert (finish.starts(), finish.starts(finishing=True)) == (1, 3)
    assert TrainingAttack(restarts=2, finish_epochs=1, finish_steps=4).starts(finishing=True) == 2


def test_a_training_counts_all_its_starts():
    train = hb.load_dataset("digits").rows(slice(0, 128))
    model = hb.build("digits_cnn", (1, 8, 8), 10, {"width": 4})
    attack = TrainingAttack(
        steps=2, restarts=2, finish_epochs=1, finish_steps=3, finish_restarts=4, step_decay=True
    )
    settings = hb.Settings(attack=attack, validation=28, batch_size=50)
    run = hb.fit(model, train, curriculum=hb.Constant(EPS, epochs=2), settings=settings)
    assert [row["sample_steps"] for row in run.history] == [100 * 4, 100 * (4 + 12)]


def test_runs_of_earlier_versions_keep_their_fingerprint():
    config = describe(hb.Constant(0.1, epochs=1), hb.Settings(), None)
    earlier = {**config, "attack": dict(config["attack"])}
    for name in ("step_decay", "restarts", "finish_restarts", "finish_reach", "validation_leap"):
        del earlier["attack"][name]
    assert fingerprint(earlier) == fingerprint(config)
    changed = hb.Settings(attack=TrainingAttack(step_decay=True))
    assert fingerprint(describe(hb.Constant(0.1, epochs=1), changed, None)) != fingerprint(config)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"restarts": 0}, "restarts=0"),
        ({"restarts": 2, "random_start": False}, "without a random start"),
        ({"finish_restarts": 2}, "finish_epochs=0"),
    ],
)
def test_what_cannot_be_is_refused(values, said):
    with pytest.raises(hb.UserError, match=said):
        TrainingAttack(**values)


def test_behind_a_front_the_steps_decay_too(jumping, test_set):
    front, body = jumping[0], jumping[1]
    images, labels, threat = test_set.images[:50], test_set.labels[:50], hb.LInf(JUMP_EPS)
    ends = [
        perturb_behind(kind(steps=3), front, body, images, labels, threat, start=images)
        for kind in (hb.PGD, hb.DecayingPGD)
    ]
    assert bool(threat.allows(ends[1], images).all())
    assert not torch.equal(*ends)
