"""Attacks of the libraries that hardball is compared with, in speed and in what they find.

For a network, images [B, C, H, W] and labels [B] of ten classes: adversarial images, from one random
start (ART: the worst of `restarts`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from foolbox.attacks import LinfPGD
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor, nn


def torchattacks_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, alpha: float, steps: int
) -> Tensor:
    import torchattacks

    attack = torchattacks.PGD(model, eps=eps, alpha=alpha, steps=steps)
    found: Tensor = attack(images, labels)
    return found


def foolbox_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, alpha: float, steps: int
) -> Tensor:
    attack = LinfPGD(abs_stepsize=alpha, steps=steps)
    wrapped = PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    found: Tensor = attack.run(wrapped, images, labels, epsilon=eps)
    return found


def art_classifier(model: nn.Module, images: Tensor) -> PyTorchClassifier:
    """The network as ART wants it."""
    return PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def art_pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    alpha: float,
    steps: int,
    restarts: int = 1,
) -> Tensor:
    attack = ProjectedGradientDescentPyTorch(
        art_classifier(model, images),
        eps=eps,
        eps_step=alpha,
        max_iter=steps,
        num_random_init=restarts,
        batch_size=len(images),
        verbose=False,
    )
    return torch.from_numpy(attack.generate(images.numpy(), y=labels.numpy()))


def art_apgd(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, steps: int) -> Tensor:
    """APGD on the cross entropy."""
    attack = AutoProjectedGradientDescent(
        art_classifier(model, images),
        eps=eps,
        eps_step=2 * eps,  # the first step of APGD's paper
        max_iter=steps,
        nb_random_init=1,
        batch_size=len(images),
        loss_type="cross_entropy",
        verbose=False,
    )
    return torch.from_numpy(attack.generate(images.numpy(), y=np.eye(10)[labels.numpy()]))


def torchattacks_apgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, steps: int
) -> Tensor:
    """APGD on the cross entropy."""
    import torchattacks

    attack = torchattacks.APGD(model, norm="Linf", eps=eps, steps=steps, seed=0, loss="ce")
    found: Tensor = attack(images, labels)
    return found.detach()


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    attacks: Sequence[str],
    restarts: int = 1,
) -> Tensor:
    """These of its attacks, one after another on what is left; APGD with so many starts of 100 steps."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, eps=eps, version="custom", attacks=[*attacks], device="cpu", seed=0)
    attack.verbose = False
    # as its standard version has them
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 9
    attack.apgd_targeted.n_restarts = attack.fab.n_restarts = 1
    attack.square.n_queries = 5000
    attack.apgd.n_restarts = restarts
    found: Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return found
