"""What a training costs on this machine, measured for a few seconds before it starts."""

import time

import torch

from hardball.commands.train import TrainConfig, fresh
from hardball.data import Dataset
from hardball.perf import fast
from hardball.reproduction.plan import sample_steps
from hardball.threats import ThreatModel
from hardball.training import Adaptive
from hardball.training.machine import matrix_products

SECONDS = 3.0
"""For how long the speed is measured."""
LARGEST_BATCH = 512
"""Images that are timed at once: more are no faster, and take long."""


def speed_of(config: TrainConfig, images: Dataset, seconds: float = SECONDS) -> float:
    """Sample-steps per second of the attack inside this training.

    Args:
        config: what is trained.
        images: its training images.
        seconds: how long to measure.
    """
    about = {
        "data": {"name": config.data.name},
        "model": config.model.spec(config.data.name, images.shape, images.classes),
    }
    machine = config.settings.machine
    gpu = machine.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    model = fresh(about, 0, trust=config.trust).eval()
    model = model.to(device).to(memory_format=torch.channels_last)
    batch = images.rows(slice(0, min(config.settings.batch_size, LARGEST_BATCH))).to(device)
    norm, eps = config.settings.norm, config.curriculum.largest or 0.1
    attack = config.settings.attack.at(eps)
    threat = ThreatModel(norm, eps)
    half = torch.autocast(
        device.type, torch.bfloat16, enabled=machine.precision == "bf16-mixed", cache_enabled=False
    )
    done, began = 0, time.perf_counter()
    with fast(model), matrix_products(machine.precision), half:
        attack.perturb(model, batch.images, batch.labels, threat)
        began = time.perf_counter()
        while not done or time.perf_counter() - began < seconds:
            moved = attack.perturb(model, batch.images, batch.labels, threat)
            moved.sum().item()  # waits for the device
            done += len(batch) * (attack.steps or 0)
    return done / (time.perf_counter() - began)


def most_sample_steps(config: TrainConfig, images: int) -> int:
    """Sample-steps of a training that nothing ends early; of an adaptive one its budget, or the most that
    its epochs could take.

    Args:
        config: what is trained.
        images: training images.
    """
    curriculum, attack = config.curriculum, config.settings.attack
    if not isinstance(curriculum, Adaptive):
        return sample_steps(curriculum, attack.pgd, images)
    each = (attack.at(curriculum.eps_max).steps or 0) + 1
    return curriculum.budget_steps or images * each * curriculum.total_epochs
