"""Agreement with foolbox, torchattacks and the adversarial-robustness-toolbox on one trained model.

Without a random start the searches are the same computation, so the examples must agree. With it,
the means over several seeds must agree within the spread of those starts: the images are the same for
all, so how these were sampled plays no part.
"""

import foolbox
import numpy as np
import pytest
import torch
import torchattacks
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    FastGradientMethod,
    ProjectedGradientDescentPyTorch,
)
from art.estimators.classification import PyTorchClassifier
from torch import nn

from hardball import PGD, ThreatModel, fgsm
from hardball.attacks import AutoAttackPart
from hardball.losses import correct

STEPS = 20
SEEDS = 4
RADII = (0.05, 0.1)
SETTINGS = [("linf", 0.05, 1.0), ("linf", 0.1, 1.0), ("l2", 0.1, 0.5), ("l2", 0.2, 0.5)]
"""(norm, ε, contrast): in ℓ2 ART clips to the box before the ball, foolbox and hardball after it,
so there the images keep clear of the box."""


def ours(model, images, labels, norm, eps, *, random_start, seed=0):
    attack = PGD(steps=STEPS, step_size=2.5 * eps / STEPS, random_start=random_start, keep="last")
    generator = torch.Generator().manual_seed(seed)
    return attack(model, images, labels, ThreatModel(norm, eps), generator=generator).examples


def with_foolbox(model, images, labels, norm, eps, *, random_start, seed=0):
    kinds = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}
    attack = kinds[norm](rel_stepsize=2.5 / STEPS, steps=STEPS, random_start=random_start)
    torch.manual_seed(seed)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(wrapped, images, labels, epsilons=eps)[1]


def with_art(model, images, labels, norm, eps, *, random_start, seed=0):
    attack = ProjectedGradientDescentPyTorch(
        art_classifier(model, images),
        norm={"linf": np.inf, "l2": 2}[norm],
        eps=eps,
        eps_step=2.5 * eps / STEPS,
        max_iter=STEPS,
        num_random_init=int(random_start),
        batch_size=len(images),
        verbose=False,
    )
    np.random.seed(seed)  # noqa: NPY002 - the source of randomness that ART uses
    return torch.from_numpy(attack.generate(images.numpy(), y=labels.numpy()))


def with_torchattacks(model, images, labels, norm, eps, *, random_start, seed=0):
    kinds = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}
    attack = kinds[norm](
        model, eps=eps, alpha=2.5 * eps / STEPS, steps=STEPS, random_start=random_start
    )
    torch.manual_seed(seed)
    return attack(images, labels).detach()


def art_classifier(model, images):
    return PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def accuracy(model, examples, labels):
    with torch.no_grad():
        return correct(model(examples), labels).double().mean().item()


PEERS = {"foolbox": with_foolbox, "art": with_art, "torchattacks": with_torchattacks}
each_peer = pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)


@pytest.fixture(autouse=True)
def _global_random_states():
    """The peers draw from the global states; later tests must not notice."""
    before = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        yield
    np.random.set_state(before)  # noqa: NPY002


class Restored(nn.Module):
    """A network for images whose contrast was reduced about grey."""

    def __init__(self, model, contrast):
        super().__init__()
        self.model, self.contrast = model, contrast

    def forward(self, images):
        return self.model((images - 0.5) / self.contrast + 0.5)


@each_peer
@pytest.mark.parametrize("setting", SETTINGS)
def test_without_a_random_start_the_examples_agree(peer, setting, digits, digits_net):
    norm, eps, contrast = setting
    model, images = Restored(digits_net, contrast).eval(), 0.5 + contrast * (digits.images - 0.5)
    problem = model, images, digits.labels, norm, eps
    expected = peer(*problem, random_start=False)
    found = ours(*problem, random_start=False)
    # a pixel whose gradient is zero up to rounding may step either way, and the search then parts
    same = (found - expected).abs().flatten(1).amax(dim=1) < 1e-4
    assert same.double().mean() > 0.98
    one_example = 1 / len(digits)
    ours_left, peers_left = (accuracy(model, x, digits.labels) for x in (found, expected))
    assert abs(ours_left - peers_left) <= one_example


@each_peer
@pytest.mark.parametrize("eps", RADII)
def test_with_random_starts_the_accuracies_agree_within_their_spread(peer, eps, digits, digits_net):
    problem = digits_net, digits.images, digits.labels, "linf", eps

    def accuracies(attack):
        examples = [attack(*problem, random_start=True, seed=seed) for seed in range(SEEDS)]
        return np.array([accuracy(digits_net, x, digits.labels) for x in examples])

    assert_close(accuracies(ours), accuracies(peer), one_example=1 / len(digits))


def assert_close(found, expected, *, one_example):
    """Accuracies over several seeds: the means differ by at most three standard errors, as the random
    starts spread, and one image more (a seed or two may leave no spread at all)."""
    assert 0.2 < expected.mean() < 0.8
    standard_error = ((found.var(ddof=1) + expected.var(ddof=1)) / SEEDS) ** 0.5
    assert abs(found.mean() - expected.mean()) <= 3 * standard_error + one_example
    assert max(found.max(), expected.max()) - min(found.min(), expected.min()) < 0.03


def apgd(model, images, labels, eps, seed):
    attack = AutoAttackPart(name="apgd-ce", iterations=STEPS, chunk=len(images))
    generator = torch.Generator().manual_seed(seed)
    return attack(model, images, labels, ThreatModel("linf", eps), generator=generator).examples


def apgd_of_torchattacks(model, images, labels, eps, seed):
    attack = torchattacks.APGD(model, norm="Linf", eps=eps, steps=STEPS, seed=seed, loss="ce")
    return attack(images, labels).detach()


def apgd_of_art(model, images, labels, eps, seed):
    attack = AutoProjectedGradientDescent(
        art_classifier(model, images),
        norm=np.inf,
        eps=eps,
        # the first step of the paper
        eps_step=2 * eps,
        max_iter=STEPS,
        nb_random_init=1,
        batch_size=len(images),
        loss_type="cross_entropy",
        verbose=False,
    )
    np.random.seed(seed)  # noqa: NPY002
    return torch.from_numpy(attack.generate(images.numpy(), y=np.eye(10)[labels.numpy()]))


@pytest.mark.parametrize("peer", [apgd_of_torchattacks, apgd_of_art])
@pytest.mark.parametrize("eps", RADII)
def test_apgd_leaves_the_accuracy_that_two_other_libraries_leave(peer, eps, digits, digits_net):
    """Three implementations of one paper: each draws other random starts, and ART rounds the times of
    its checkpoints up, the others down, so only accuracies are compared."""

    def accuracies(attack):
        examples = [
            attack(digits_net, digits.images, digits.labels, eps, seed) for seed in range(SEEDS)
        ]
        return np.array([accuracy(digits_net, x, digits.labels) for x in examples])

    assert_close(accuracies(apgd), accuracies(peer), one_example=1 / len(digits))


@pytest.mark.parametrize("eps", RADII)
def test_fgsm_is_that_of_both(eps, digits, digits_net):
    images, labels = digits.images, digits.labels
    found = fgsm()(digits_net, images, labels, ThreatModel("linf", eps)).examples
    wrapped = foolbox.PyTorchModel(digits_net, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfFastGradientAttack()
    in_foolbox = attack(wrapped, images, labels, epsilons=eps)[1]
    classifier = art_classifier(digits_net, images)
    in_art = FastGradientMethod(classifier, eps=eps, batch_size=len(images)).generate(
        images.numpy(), y=labels.numpy()
    )
    torch.testing.assert_close(found, in_foolbox, rtol=0, atol=1e-6)
    torch.testing.assert_close(found, torch.from_numpy(in_art), rtol=0, atol=1e-6)
