"""The arithmetic of docs/scaling.md: what a sample-step costs, and what many GPUs can make of it.

    python benchmarks/scaling.py

Counts operations and activations of a pass, and predicts times from a device's published peaks by
    pass = max(FLOP / (COMPUTE · peak), bytes / (MEMORY · bandwidth), operations · launch).
Nothing here is measured on a GPU; the shares COMPUTE and MEMORY are what well-tuned training reaches.
Prints Markdown.
"""

from dataclasses import dataclass
from typing import Any

import torch
from timing import forward_flops
from torch.utils._python_dispatch import TorchDispatchMode

from hardball import models

COMPUTE, MEMORY = 0.4, 0.7
ATTACK = 12
"""Operations of an attack's step outside the network: loss, sign, step, projection."""
LAUNCH = {"launched one by one": 6e-6, "captured": 1.5e-6}
"""Seconds per kernel."""
NETWORK = 25e9
"""Bytes per second of the gradients' all-reduce between machines (200 Gbit/s)."""


@dataclass(frozen=True)
class Device:
    name: str
    peak: float
    bandwidth: float
    bytes_per_number: int


DEVICES = [
    Device("A100, tf32", 156e12, 2.0e12, 4),
    Device("A100, bf16", 312e12, 2.0e12, 2),
    Device("H100, bf16", 990e12, 3.35e12, 2),
]


@dataclass(frozen=True)
class Network:
    """Of a forward pass of one image: FLOP, numbers in its activations, operations launched."""

    flop: float
    activations: int
    operations: int
    parameters: int


class Operations(TorchDispatchMode):
    """Counts the operations that compute, and the numbers in their results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, tuple) else result
        if isinstance(first, torch.Tensor) and not func.is_view:
            self.operations += 1
            self.numbers += first.numel()
        return result


def count(name: str, shape: tuple[int, ...]) -> Network:
    model, image = models.build(name, shape, 10).eval(), torch.rand(1, *shape)
    with torch.no_grad(), Operations() as seen:
        model(image)
    return Network(
        flop=forward_flops(model, image),
        activations=seen.numbers,
        operations=seen.operations,
        parameters=sum(p.numel() for p in model.parameters()),
    )


def sample_step(net: Network, device: Device, batch: float, launch: float) -> float:
    """Seconds per batch: a forward pass and the input gradient, each activation written and read
    once in each of them."""
    compute = 2 * net.flop * batch / (COMPUTE * device.peak)
    memory = 4 * net.activations * device.bytes_per_number * batch / (MEMORY * device.bandwidth)
    return max(compute, memory, (2 * net.operations + ATTACK) * launch)


def update(net: Network, device: Device, batch: float, gpus: int, launch: float) -> float:
    """An ordinary update behind the attack: three passes, and the gradients' all-reduce."""
    exchange = 2 * 4 * net.parameters * (gpus - 1) / gpus / NETWORK
    return 1.5 * sample_step(net, device, batch, launch) + exchange


@dataclass(frozen=True)
class Job:
    name: str
    network: str
    shape: tuple[int, ...]
    images: int
    batch: int
    sample_steps_per_image: int
    """Over the whole training."""
    epochs: int


JOBS = [
    # 30 epochs of 15 steps at ε=0.3 and 5 of 20 at 0.4; 59,000 images after validation
    Job("MNIST, paper's text (AT 0.3, EAT 0.4)", "mnist_cnn", (1, 28, 28), 59_000, 128, 550, 35),
    # 150 epochs of 10 steps at 8/255 and 5 of 40 at 32/255
    Job("CIFAR-10, paper (8/255, then 32/255)", "resnet50", (3, 32, 32), 49_000, 128, 1700, 155),
]


def hours(job: Job, net: Network, device: Device, gpus: int, batch: int, launch: float) -> float:
    share = batch / gpus
    if share < 1:
        return float("inf")
    updates = job.epochs * job.images / batch
    steps = job.sample_steps_per_image * job.images / batch
    attack = steps * sample_step(net, device, share, launch)
    learn = updates * update(net, device, share, gpus, launch)
    return (attack + learn) / 3600


def main() -> None:
    nets = {
        name: count(name, shape)
        for name, shape in {
            "mnist_cnn": (1, 28, 28),
            "resnet18": (3, 32, 32),
            "resnet50": (3, 32, 32),
        }.items()
    }
    print("| network | forward | sample-step | activations | bytes (float32) | FLOP per byte |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, net in nets.items():
        moved = 16 * net.activations
        print(
            f"| {name} | {net.flop / 1e6:,.1f} MFLOP | {2 * net.flop / 1e6:,.1f} MFLOP | "
            f"{net.activations:,} | {moved / 1e6:.2f} MB | {2 * net.flop / moved:.0f} |"
        )
    print("\n| sample-steps per second, batch 128 | " + " | ".join(d.name for d in DEVICES) + " |")
    print("| --- |" + " --- |" * len(DEVICES))
    for name, net in nets.items():
        for how, launch in LAUNCH.items():
            rates = [128 / sample_step(net, device, 128, launch) for device in DEVICES]
            print(f"| {name}, {how} | " + " | ".join(f"{rate:,.0f}" for rate in rates) + " |")
    print("\n| hours on H100 (bf16, captured) | 1 GPU | 8 | 64 | 64, batch 4,096 |")
    print("| --- | --- | --- | --- | --- |")
    for job in JOBS:
        asked = [(1, job.batch), (8, job.batch), (64, job.batch), (64, 4096)]
        found = [
            hours(job, nets[job.network], DEVICES[-1], gpus, batch, LAUNCH["captured"])
            for gpus, batch in asked
        ]
        print(f"| {job.name} | " + " | ".join(f"{h:.2g}" for h in found) + " |")


if __name__ == "__main__":
    main()
