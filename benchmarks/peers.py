"""Attacks of the libraries the speed benchmarks compare with.

For a network, images [B, C, H, W] and labels [B] of ten classes: adversarial images, from one random
start (ART: the worst of `restarts`).
"""

import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from foolbox import PyTorchModel
from foolbox.attacks import LinfPGD
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
    return attack.run(wrapped, images, labels, epsilon=eps)


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
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = ProjectedGradientDescentPyTorch(
        classifier,
        eps=eps,
        eps_step=alpha,
        max_iter=steps,
        num_random_init=restarts,
        batch_size=len(images),
        verbose=False,
    )
    return torch.from_numpy(attack.generate(images.numpy(), y=labels.numpy()))


def autoattack_apgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, restarts: int
) -> Tensor:
    """Its APGD-CE, 100 steps a restart."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, eps=eps, version="custom", attacks=["apgd-ce"], device="cpu", seed=0)
    attack.verbose = False
    attack.apgd.n_restarts = restarts
    found: Tensor = attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    return found
