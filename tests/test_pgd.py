"""Projected gradient descent: what it finds, what it costs, and what it leaves alone."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hardball import PGD, Targeted, ThreatModel, Unbounded, UserError, fgsm
from hardball.attacks.pgd import DIRECTIONS
from hardball.losses import LOSSES, correct, cross_entropy
from hardball.seeding import generators
from hardball.threats import GEOMETRIES

NORMS = sorted(GEOMETRIES)
RADII = {"linf": 0.15, "l2": 0.4, "l0": 2.0, "unbounded": 1.0}
THREATS = [ThreatModel(norm, RADII.get(norm, 0.1)) for norm in NORMS]
ATTACKS = {
    "pgd": PGD(steps=4),
    "pgd, paper's rule": PGD(step_size=0.1),
    "pgd, margin, restarts": PGD(steps=3, loss="margin", restarts=3),
    "pgd, last iterate": PGD(steps=4, keep="last"),
    "fgsm": fgsm(),
    "towards one class": Targeted(attack=PGD(steps=3), target=1),
    "towards every class": Targeted(attack=PGD(steps=3, restarts=2)),
}
SHAPE = (1, 3, 4)

each_threat = pytest.mark.parametrize("threat", THREATS, ids=NORMS)
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def network(classes=4, seed=0):
    """A smooth random network in double precision, so that rounding decides nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, classes)
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        model.get_parameter("1.weight").mul_(4)
    return model


def batch(model, count=24, wrong=4, seed=1):
    """Images, half of the pixels at an end of the box, with labels as `model` sees them: except
    `wrong` of them."""
    images = (
        2 * torch.rand(count, *SHAPE, generator=seeded(seed), dtype=torch.float64) - 0.5
    ).clamp(0, 1)
    with torch.no_grad():
        logits = model(images)
    labels = logits.argmax(1)
    labels[:wrong] = (labels[:wrong] + 1) % logits.shape[1]
    return images, labels


def forward(attack, model, examples, labels):
    with torch.no_grad():
        logits = model(examples)
    loss = attack.attack.loss if isinstance(attack, Targeted) else attack.loss
    return LOSSES[loss](logits, labels), ~correct(logits, labels)


# ---------------------------------------------------------------- what it returns


@each_threat
@each_attack
@pytest.mark.parametrize("count", [24, 1, 0])
def test_examples_are_feasible_and_their_loss_is_that_of_a_fresh_pass(attack, threat, count):
    model = network()
    images, labels = (part[:count] for part in batch(model))
    before = images.clone()
    found = attack(model, images, labels, threat, generator=seeded())
    assert found.examples.shape == images.shape
    assert threat.allows(found.examples, images, slack=1e-9).all()
    loss, fooled = forward(attack, model, found.examples, labels)
    torch.testing.assert_close(found.loss.double(), loss, rtol=1e-6, atol=1e-6)
    assert torch.equal(found.fooled, fooled)
    assert torch.equal(images, before)


@each_threat
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_direction_raises_every_loss(threat, direction, loss):
    model = network()
    images, labels = batch(model, wrong=0)
    attack = PGD(steps=10, step_size=0.3, direction=direction, loss=loss, random_start=False)
    found = attack(model, images, labels, threat)
    at_first, _ = forward(attack, model, images, labels)
    assert threat.allows(found.examples, images, slack=1e-9).all()
    assert (found.fooled | (found.loss >= at_first - 1e-6)).all()
    assert found.fooled.any()


@pytest.mark.parametrize("norm", [n for n in NORMS if GEOMETRIES[n].radii[0] == 0])
@each_attack
def test_radius_zero_returns_the_images(attack, norm):
    model = network()
    images, labels = batch(model)
    found = attack(model, images, labels, ThreatModel(norm, 0.0), generator=seeded())
    assert torch.equal(found.examples, images)


@pytest.mark.parametrize("random_start", [True, False])
@pytest.mark.parametrize("loss", ["margin", "cross_entropy"])
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_on_a_linear_model_the_margin_falls_by_radius_times_dual_norm(
    norm, dual, loss, random_start, two_classes
):
    weight = torch.randn(SHAPE, generator=seeded(), dtype=torch.float64)
    model = two_classes(weight, bias=0.3)
    images = 0.5 + 0.1 * torch.randn(6, *SHAPE, generator=seeded(), dtype=torch.float64).clamp(
        -2, 2
    )
    labels = torch.tensor([0, 1]).repeat(3)
    eps = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.2, 0.25], dtype=torch.float64)
    attack = PGD(steps=12, step_size=30.0, loss=loss, random_start=random_start, keep="last")
    found = attack(model, images, labels, ThreatModel(norm, eps), generator=seeded())
    before, after = (LOSSES["margin"](model(x), labels) for x in (images, found.examples))
    expected = eps * torch.linalg.vector_norm(weight.flatten(), ord=dual)
    torch.testing.assert_close(after - before, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_example_steps_by_its_own_radius(norm, two_classes):
    """Else an example's perturbation would depend on the largest radius in its batch."""
    model = two_classes(torch.ones(SHAPE, dtype=torch.float64))
    images = torch.full((2, *SHAPE), 0.5, dtype=torch.float64)
    labels = torch.zeros(2, dtype=torch.int64)
    eps = torch.tensor([0.01, 0.4], dtype=torch.float64)
    attack = PGD(steps=10, random_start=False)
    together = attack(model, images, labels, ThreatModel(norm, eps))
    alone = attack(model, images[:1], labels[:1], ThreatModel(norm, 0.01))
    torch.testing.assert_close(together.examples[:1], alone.examples)


def by_hand(attack, model, threat, image, label, *, start):
    """PGD for one example, from the text of its docstring: (example, loss, forwards, backwards)."""
    seen, current = [], start
    for step in range(attack.steps + 1):
        point = current.clone().requires_grad_()
        logits = model(point)
        loss = LOSSES[attack.loss](logits, label)
        seen.append((current, loss.item()))
        if attack.keep == "worst" and not correct(logits, label):
            return *seen[-1], step + 1, min(step + 1, attack.steps)
        slope = torch.autograd.grad(loss.sum(), point)[0]
        moved = current + attack.step_size * DIRECTIONS[attack.direction](threat, slope)
        current = threat.project(moved, image)
    chosen = seen[-1] if attack.keep == "last" else max(seen, key=lambda one: one[1])
    return *chosen, attack.steps + 1, attack.steps


@each_threat
@pytest.mark.parametrize("keep", ["worst", "last"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_it_is_the_loop_of_its_docstring_and_costs_just_that(threat, keep, direction):
    model = network()
    images, labels = batch(model)
    attack = PGD(steps=5, step_size=0.08, direction=direction, keep=keep)
    counted = Counting(model)
    found = attack(counted, images, labels, threat, generator=generators(0, range(len(images))))
    starts = threat.sample(images, generators(0, range(len(images))))
    rows = [slice(i, i + 1) for i in range(len(images))]
    expected = [by_hand(attack, model, threat, images[i], labels[i], start=starts[i]) for i in rows]
    examples, losses, forwards, backwards = zip(*expected, strict=True)
    torch.testing.assert_close(found.examples, torch.cat(examples), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.loss, torch.tensor(losses), rtol=1e-6, atol=1e-6)
    assert (found.forwards, found.backwards) == (sum(forwards), sum(backwards))
    assert (counted.forwards, counted.backwards) == (sum(forwards), sum(backwards))


class Counting(nn.Module):
    """Counts the examples that pass through a model, forwards and backwards."""

    def __init__(self, model):
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, images):
        self.forwards += len(images)
        if images.requires_grad:
            images.register_hook(self._count)
        return self.model(images)

    def _count(self, gradient):
        self.backwards += len(gradient)


@each_threat
@each_attack
def test_reported_cost_is_what_the_model_saw(attack, threat):
    model = Counting(network())
    images, labels = batch(model.model)
    found = attack(model, images, labels, threat, generator=seeded())
    assert (model.forwards, model.backwards) == (found.forwards, found.backwards)
    assert found.backwards <= attack.cost * len(images)


@each_threat
@pytest.mark.parametrize("more", [{"restarts": 4}, {"steps": 12}])
def test_more_restarts_or_steps_are_never_worse(threat, more):
    model = network()
    images, labels = batch(model, count=60)
    few = PGD(steps=3, step_size=0.05)
    rows = range(len(images))
    found, stronger = (
        attack(model, images, labels, threat, generator=generators(0, rows))
        for attack in (few, replace(few, **more))
    )
    assert (stronger.fooled >= found.fooled).all()
    standing = ~stronger.fooled
    assert (stronger.loss[standing] >= found.loss[standing]).all()


@each_threat
def test_training_gets_the_last_iterate_evaluation_the_worst(threat):
    model = network()
    images, labels = batch(model, count=60)
    # steps far too long: the loss goes up and down
    last = PGD(steps=5, step_size=0.6, keep="last", random_start=False)
    final = last.perturb(model, images, labels, threat)
    assert not final.requires_grad
    torch.testing.assert_close(last(model, images, labels, threat).examples, final)
    assert torch.equal(
        replace(last, random_start=True).perturb(model, images, labels, threat, start=images), final
    )
    worst = replace(last, keep="worst")(model, images, labels, threat)
    loss, fooled = forward(last, model, final, labels)
    assert (worst.fooled >= fooled).all()
    assert (worst.loss[~worst.fooled] >= loss[~worst.fooled] - 1e-6).all()


def test_fgsm_is_the_exact_sign_step(digits, digits_net):
    images, labels = digits.images[:50], digits.labels[:50]
    point = images.clone().requires_grad_()
    loss = cross_entropy(digits_net(point), labels).sum()
    slope = torch.autograd.grad(loss, point)[0]
    found = fgsm()(digits_net, images, labels, ThreatModel("linf", 0.1))
    expected = (images + 0.1 * slope.sign()).clamp(0, 1)
    torch.testing.assert_close(found.examples, expected, rtol=0, atol=1e-6)
    assert (found.forwards, found.backwards) == (100, 50)


def test_without_bounds_nothing_stands(digits, digits_net):
    for attack in (PGD(steps=40, step_size=0.1), PGD(steps=40)):
        found = attack(digits_net, digits.images, digits.labels, Unbounded(), generator=seeded())
        assert found.fooled.all()


# ---------------------------------------------------------------- independence


@each_threat
@each_attack
def test_with_its_own_generator_an_example_does_not_see_its_companions(attack, threat):
    model = network()
    images, labels = batch(model)
    rows = range(len(images))
    together = attack(model, images, labels, threat, generator=generators(0, rows))
    for part in torch.tensor([5, 3, 17, 0]), torch.tensor([11]), torch.arange(10, 24):
        alone = attack(
            model, images[part], labels[part], threat, generator=generators(0, part.tolist())
        )
        torch.testing.assert_close(alone.examples, together.examples[part], rtol=0, atol=1e-9)
        assert torch.equal(alone.fooled, together.fooled[part])


@each_threat
def test_radii_may_differ_within_a_batch(threat):
    if GEOMETRIES[threat.norm].radii[0] == threat.eps:
        eps = torch.full((24,), float(threat.eps))
    else:
        eps = float(threat.eps) * torch.linspace(0, 1, 24)
    model = network()
    images, labels = batch(model)
    attack = PGD(steps=4, restarts=2)
    together = attack(model, images, labels, threat.at(eps), generator=generators(0, range(24)))
    for i in range(24):
        one = slice(i, i + 1)
        alone = attack(
            model,
            images[one],
            labels[one],
            threat.at(float(eps[i])),
            generator=generators(0, [i]),
        )
        torch.testing.assert_close(alone.examples, together.examples[one], rtol=0, atol=1e-6)


@each_threat
@each_attack
def test_a_batch_of_errors_stays_one(attack, threat):
    model = network()
    images, labels = batch(model, wrong=24)
    if isinstance(attack, PGD) and attack.keep == "worst":
        attack = replace(attack, random_start=False, restarts=1)
    found = attack(model, images, labels, threat, generator=seeded())
    assert found.examples.shape == images.shape
    if isinstance(attack, Targeted) or attack.keep == "worst":  # an error needs no attack
        assert torch.equal(found.examples, images)
        assert found.fooled.all()
        assert found.forwards == 24


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "dlr"])
@each_threat
def test_two_classes_are_enough(threat, loss):
    model = network(classes=2)
    images, labels = batch(model)
    for attack in (PGD(steps=8, loss=loss), Targeted(attack=PGD(steps=8, loss=loss))):
        found = attack(model, images, labels, threat, generator=seeded())
        _, fooled = forward(attack, model, found.examples, labels)
        assert torch.equal(found.fooled, fooled)
        assert fooled.sum() > 4


# ---------------------------------------------------------------- what it leaves alone


def busy_model():
    """Batch norm, dropout, a frozen layer, gradients left over, and modes set layer by layer."""
    model = nn.Sequential(
        nn.Conv2d(1, 6, 2), nn.BatchNorm2d(6), nn.Dropout(0.3), nn.Flatten(), nn.Linear(36, 4)
    )
    model.train()
    model[2].eval()
    model[0].requires_grad_(False)
    for parameter in model[4].parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


def snapshot(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    flags = [module.training for module in model.modules()]
    return state, gradients, flags, [p.requires_grad for p in model.parameters()]


def perturb(model, images, labels, threat):
    return PGD(steps=3).perturb(model, images, labels, threat, generator=seeded())


LEAVERS = {**ATTACKS, "training": perturb}


@pytest.mark.parametrize("attack", LEAVERS.values(), ids=LEAVERS)
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_the_model_and_the_global_random_state_are_as_before(attack, mode):
    torch.manual_seed(0)
    model = busy_model()
    if mode != "mixed":
        model.train(mode == "train")
    images, labels = torch.rand(8, *SHAPE), torch.arange(8) % 4
    before, buffers = snapshot(model), dict(model.named_buffers())
    random = torch.get_rng_state()
    # a training attack lets dropout draw from the step's own global state
    keeps_random_state = attack is not perturb or mode != "train"
    attack(model, images, labels, ThreatModel("linf", 0.2))
    for was, now in zip(before, snapshot(model), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=0)
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    assert not keeps_random_state or torch.equal(torch.get_rng_state(), random)


def test_a_model_that_fails_midway_is_left_as_before():
    model = busy_model().eval()
    model[1].train()
    before = snapshot(model)
    with pytest.raises(UserError, match="2 classes"):
        PGD(steps=2, loss="dlr")(
            nn.Sequential(model, nn.Linear(4, 2)),
            torch.rand(8, *SHAPE),
            torch.zeros(8, dtype=torch.int64),
            ThreatModel("linf", 0.2),
        )
    for was, now in zip(before, snapshot(model), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=0)


@each_attack
def test_gradients_asked_of_the_images_change_nothing(attack):
    model = network()
    images, labels = batch(model)
    expected = attack(model, images, labels, ThreatModel("linf", 0.2), generator=seeded())
    images.requires_grad_()
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            found = attack(model, images, labels, ThreatModel("linf", 0.2), generator=seeded())
        assert torch.equal(found.examples, expected.examples)
        assert not found.examples.requires_grad
        assert not found.loss.requires_grad
        assert images.grad is None


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("eps", "step_size", "steps"),
    [
        (0.18, 0.01, 45),
        (0.36, 0.01, 90),
        (0.3, 0.01, 75),
        (0.4, 0.005, 200),
        (8 / 255, 2 / 255, 10),
    ],
)
def test_papers_rule_for_the_number_of_steps(eps, step_size, steps):
    assert PGD(step_size=step_size).at(eps).steps == steps


@given(hundredths=st.integers(1, 100))
def test_papers_rule_never_loses_a_step_to_rounding(hundredths):
    steps = PGD(step_size=0.01).at(hundredths / 100).steps
    assert steps is not None
    assert abs(2 * steps - 5 * hundredths) <= 1


def test_a_radius_that_leaves_no_step_is_refused_except_on_a_ramp():
    attack = PGD(step_size=0.1)
    with pytest.raises(UserError, match=r"eps=0.01 .*step_size=0.1 .*no step.*≤ 0.025"):
        attack.at(0.01)
    assert attack.at(0.01, at_least_one=True).steps == 1
    assert PGD(step_size=0.025).at(0.01).steps == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "without steps and step_size; give one"),
        ({"steps": 0}, "steps=0; allowed is 1 or more"),
        ({"steps": -3}, "steps=-3; allowed is 1 or more"),
        ({"step_size": 0.0}, "step_size=0.0; allowed is a positive number"),
        ({"step_size": float("inf")}, "step_size=inf; allowed is a positive number"),
        ({"step_size": float("nan")}, "step_size=nan; allowed is a positive number"),
        ({"steps": 1, "restarts": 0}, "restarts=0; allowed is 1 or more"),
        ({"steps": 1, "restarts": 2, "random_start": False}, "restarts=2 without a random start"),
        ({"steps": 1, "loss": "hinge"}, f"'hinge'; there are: {', '.join(sorted(LOSSES))}"),
        ({"steps": 1, "direction": "up"}, f"'up'; there are: {', '.join(sorted(DIRECTIONS))}"),
        ({"steps": 1, "keep": "best"}, "'best'; there are: last, worst"),
    ],
)
def test_refused_settings_name_the_value_and_what_is_allowed(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        PGD(**settings)


GREY = torch.full((2, *SHAPE), 0.5)
CLASSES = torch.tensor([0, 1])
BAD_BATCHES = {
    "bytes": (GREY.mul(255).byte(), CLASSES, "uint8.*divide uint8 by 255"),
    "normalised": (GREY - 1, CLASSES, r"\[-0.5, -0.5\].*\[0, 1\].*Normalize"),
    "not a number": (GREY * torch.nan, CLASSES, "NaN.*clean"),
    "infinite": (GREY * torch.inf, CLASSES, r"\[inf, inf\].*\[0, 1\]"),
    "no batch": (GREY.flatten(), CLASSES, r"shape \[24\].*\[B"),
    "label below": (GREY, CLASSES - 1, "label -1; allowed is 0"),
    "one-hot labels": (GREY, torch.eye(2), r"float32.*argmax\(1\)"),
    "a label missing": (GREY, CLASSES[:1], "1 labels for 2 images"),
}


@each_attack
@pytest.mark.parametrize(("images", "labels", "message"), BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_bad_batches_are_refused(attack, images, labels, message, two_classes):
    with pytest.raises(UserError, match=message):
        attack(two_classes(torch.ones(SHAPE)), images, labels, ThreatModel("linf", 0.1))


BAD_MODELS = {
    "a tuple": (lambda x: (x.flatten(1), None), "returned tuple; allowed is a tensor"),
    "feature maps": (lambda x: x, r"shape \[2, 1, 3, 4\].*\[B, classes\]"),
    "one score": (lambda x: x.sum((1, 2, 3), keepdim=False)[:, None], r"shape \[2, 1\].*2 classes"),
    "a batch too small": (lambda x: x.flatten(1)[:1], r"shape \[1, 12\] for 2 images"),
}
NO_GRADIENT = {
    "rounded": lambda x: (x.flatten(1) > 0.1).float().cumsum(1),
    "detached": lambda x: x.detach().flatten(1).cumsum(1) * torch.ones(12, requires_grad=True),
}


@each_attack
@pytest.mark.parametrize(("model", "message"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_models_without_logits_are_refused(attack, model, message):
    with pytest.raises(UserError, match=message):
        attack(model, GREY, CLASSES, ThreatModel("linf", 0.1))


@each_attack
@pytest.mark.parametrize("model", NO_GRADIENT.values(), ids=NO_GRADIENT)
def test_models_without_a_gradient_are_refused(attack, model):
    with pytest.raises(UserError, match=r"no gradient flows.*remove"):
        attack(model, GREY, torch.tensor([11, 11]), ThreatModel("linf", 0.1))
