"""Sample-steps per second of adversarial training, against the libraries people use and the machine.

    pip install --no-deps torchattacks; python benchmarks/throughput.py [--note "what else ran"]

One network, one batch, one attack (signed PGD, ε=0.3, α=0.05, 15 steps, random start), all in turn:

* peers: torchattacks, foolbox, ART and a plain loop (the authors' form: the loss's whole gradient,
  parameters included), each with Adam's update behind it, on all cores, in PyTorch's default layout;
* torchattacks once more with the network and the images in channels_last, hardball's memory layout;
* hardball's own training step, in one process on all cores, and in one process per core (none of
  them the peers' process, whose memory allocator stays as it is);
* the limit: the fastest of several kernels (kernels.py: matrix products, convolutions, and this
  network's layers), each in one process on all cores and in one process per core.

A training step is the attack and the update. Its arithmetic is 15 sample-steps (forward pass and
input gradient) and one pass with all gradients; multiplications and additions of convolutions and
linear layers are counted, nothing else. `share_of_limit` is that arithmetic per second divided by the
fastest kernel's. `ratio_to_best_peer` compares training steps with the fastest library as it comes,
`ratio_to_best_peer_channels_last` with torchattacks in channels_last. Then the same by batch size,
and for a ResNet-18 on 32×32 images. Writes benchmarks/results/throughput.json;
`python benchmarks/tables.py throughput` prints it as the tables of the README.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from kernels import CORES, Crew, Kernel, kernels_for
from peers import art_pgd, foolbox_pgd, torchattacks_pgd
from record import RESULTS, command, parser, write
from timing import forward_flops, interleaved, ratio, seconds, summary
from torch import Tensor, nn
from training_step import TrainingStep
from worker import Worker

from hardball import environment, models
from hardball.threats import LInf
from hardball.training import Machine, Settings, TrainingAttack

EPS, ALPHA = 0.3, 0.05
SHAPES = {"mnist_cnn": (1, 28, 28), "resnet18": (3, 32, 32)}
CHANNELS_LAST = "torchattacks, channels_last"


@dataclass(frozen=True)
class Case:
    """What everyone is asked to do."""

    network: str = "mnist_cnn"
    batch: int = 128
    steps: int = 15

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return models.build(self.network, SHAPES[self.network], 10)

    def data(self) -> tuple[Tensor, Tensor]:
        source = torch.Generator().manual_seed(0)
        images = torch.rand(self.batch, *SHAPES[self.network], generator=source)
        return images, torch.randint(10, (self.batch,), generator=source)

    @property
    def forward_flops(self) -> int:
        """Multiplications and additions of one example's forward pass."""
        return forward_flops(self.model(), self.data()[0][:1])

    @property
    def sample_steps(self) -> int:
        return self.batch * self.steps

    @property
    def step_flops(self) -> int:
        """Of a training step: each sample-step is two passes, the update three."""
        return self.forward_flops * self.batch * (2 * self.steps + 3)


def plain_loop(
    model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, alpha: float, steps: int
) -> Tensor:
    """As papers' code has it: `backward` fills the parameters' gradients too."""
    point = (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        point = point.detach().requires_grad_(True)
        F.cross_entropy(model(point), labels).backward()
        assert point.grad is not None
        moved = point.detach() + alpha * point.grad.sign()
        point = torch.min(torch.max(moved, images - eps), images + eps).clamp(0, 1)
    return point.detach()


PEERS = {
    "torchattacks": torchattacks_pgd,
    "foolbox": foolbox_pgd,
    "ART": art_pgd,
    "plain loop": plain_loop,
}


@dataclass
class Peer:
    """A library's attack and Adam's update."""

    attack: Callable[..., Tensor]
    case: Case
    channels_last: bool = False
    model: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.model = self.case.model()
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3)
        self.images, self.labels = self.case.data()
        if self.channels_last:
            self.images = self.images.contiguous(memory_format=torch.channels_last)

    def attack_once(self) -> Tensor:
        steps = self.case.steps
        return self.attack(self.model, self.images, self.labels, eps=EPS, alpha=ALPHA, steps=steps)

    def train_once(self) -> None:
        moved = self.attack_once()
        self.model.train()
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(moved), self.labels).backward()
        self.optimizer.step()

    def timed(self, what: str) -> float:
        return seconds(self.train_once if what == "train" else self.attack_once)


class Ours:
    """hardball's training step, on this process and its companions."""

    def __init__(self, case: Case, devices: int) -> None:
        settings = Settings(
            attack=TrainingAttack(steps=case.steps, step_size=ALPHA),
            machine=Machine(accelerator="cpu", devices=devices),
            batch_size=case.batch,
        )
        self.step = TrainingStep(case.model(), settings)
        self.fabric = self.step.fabric
        self.images, self.labels = case.data()

    def attack_once(self) -> None:
        update, threat = self.step.update, LInf(EPS)
        mine = slice(self.fabric.global_rank, None, self.fabric.world_size)
        images = self.images[mine].contiguous(memory_format=torch.channels_last)
        attack = update.attack_at(threat)
        assert attack is not None
        start = threat.sample(images, update.generator)
        update.perturb(attack, images, self.labels[mine], threat, start)
        self.fabric.barrier()

    def train_once(self) -> None:
        self.step.train(self.images, self.labels, EPS)

    def timed(self, what: str) -> float:
        return seconds(self.train_once if what == "train" else self.attack_once)


def serve(case: Case, devices: int) -> None:
    """A worker: does what process 0 reads on its standard input, and answers with the seconds."""
    ours = Ours(case, devices)
    while True:
        asked = sys.stdin.readline().strip() if ours.fabric.is_global_zero else ""
        asked = ours.fabric.broadcast(asked)
        if not asked:
            return
        spent = ours.timed(asked)
        if ours.fabric.is_global_zero:
            print(spent, flush=True)


def hardball(case: Case, devices: int) -> Worker:
    """hardball in processes of its own, waiting idle between its turns; they share the cores."""
    words = [__file__, "--serve", json.dumps(vars(case)), str(devices)]
    return Worker(words, threads=max(1, CORES // devices))


def limit(kernels: dict[str, Kernel], taken: dict[str, list[float]]) -> dict[str, Any]:
    """The rate of each kernel, and which was the fastest."""
    rates = {name: summary(taken[name], kernel.gflop) for name, kernel in kernels.items()}
    fastest = max(rates, key=lambda name: float(rates[name]["median"]))
    return {
        "limit_kernel": fastest,
        "limit_gflops": rates[fastest]["median"],
        "kernel_gflops": {
            name: {part: rate[part] for part in ("median", "slowest", "fastest")}
            for name, rate in rates.items()
        },
    }


def compare(case: Case, what: str, repeats: int, peers: list[str]) -> dict[str, Any]:
    """One interleaved comparison."""
    model, (images, _) = case.model(), case.data()
    shapes = kernels_for(model, images)
    crews = {"one process": Crew(shapes, 1), "one process per core": Crew(shapes, CORES)}
    workers = {
        "hardball, one process": hardball(case, 1),
        f"hardball, {CORES} processes": hardball(case, CORES),
    }
    others = {name: Peer(PEERS[name], case) for name in peers}
    others[CHANNELS_LAST] = Peer(torchattacks_pgd, case, channels_last=True)
    kernels = {f"{kernel.name}, {how}": kernel for kernel in shapes for how in crews}
    ways: dict[str, Callable[[], float]] = {
        **{
            f"{kernel.name}, {how}": partial(crew.timed, kernel)
            for kernel in shapes
            for how, crew in crews.items()
        },
        **{name: partial(peer.timed, what) for name, peer in others.items()},
        **{name: partial(worker.timed, what) for name, worker in workers.items()},
    }
    taken = interleaved(ways, repeats)
    for crew in crews.values():
        crew.stop()
    for worker in workers.values():
        worker.stop()
    found = limit(kernels, taken)
    flops = case.step_flops if what == "train" else 2 * case.forward_flops * case.sample_steps
    ours = min(workers, key=lambda name: median(taken[name]))
    best = min(peers, key=lambda name: median(taken[name]))
    rows = {name: summary(taken[name], case.sample_steps) for name in (*others, *workers)}
    for name, row in rows.items():
        achieved = summary(taken[name], flops / 1e9)["median"]
        row["share_of_limit"] = round(achieved / found["limit_gflops"], 3)
    return {
        **vars(case),
        "what": "attack and update" if what == "train" else "attack alone",
        "unit": "sample-steps per second",
        **found,
        "limit": round(found["limit_gflops"] * 1e9 / (2 * case.forward_flops)),
        "rows": rows,
        "ours": ours,
        "best_peer": best,
        "ratio_to_best_peer": ratio(taken[ours], taken[best]),
        "ratio_to_best_peer_channels_last": ratio(taken[ours], taken[CHANNELS_LAST]),
        "share_of_limit": rows[ours]["share_of_limit"],
    }


HEADLINE = (
    "ratio_to_best_peer",
    "ratio_to_best_peer_channels_last",
    "share_of_limit",
    "limit_kernel",
)


def main() -> None:
    made = parser(__doc__, RESULTS / "throughput.json")
    made.add_argument("--repeats", type=int, default=9)
    made.add_argument("--batches", type=int, nargs="*", default=[32, 64, 256, 512])
    made.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.serve:
        case, devices = arguments.serve
        serve(Case(**json.loads(case)), int(devices))
        return
    everyone, repeats = list(PEERS), arguments.repeats
    step = compare(Case(), "train", repeats, everyone)
    result = {
        "command": command(),
        **{name: step[name] for name in HEADLINE},
        "forward_mflop": round(Case().forward_flops / 1e6, 2),
        "training_step": step,
        "attack": compare(Case(), "attack", repeats, everyone),
        "by_batch": [
            compare(Case(batch=batch), "train", max(3, repeats // 2), ["torchattacks"])
            for batch in arguments.batches
        ],
        "resnet18": compare(
            Case("resnet18", batch=32, steps=3), "train", 3, ["torchattacks", "plain loop"]
        ),
        "note": arguments.note,
        "machine": environment.facts(),
    }
    write(result, arguments.out)
    print(
        f"{step['ratio_to_best_peer']}× {step['best_peer']} as it comes, "
        f"{step['ratio_to_best_peer_channels_last']}× {CHANNELS_LAST}, "
        f"{step['share_of_limit']:.0%} of the limit ({step['limit_kernel']})"
    )


if __name__ == "__main__":
    main()
