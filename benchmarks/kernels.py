"""How fast this machine computes: the limit that the throughput benchmark compares with.

No single kernel is the limit on every machine: on some, convolutions are faster than matrix products.
So several are timed, in float32: matrix products of several shapes, convolutions with many channels,
and the layers of the network that is trained, as convolutions and as the products that they amount to.
Each runs in one process on all cores, and in one process per core at the same time. The fastest is the
limit.
"""

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import astuple, dataclass

import torch
import torch.nn.functional as F
from timing import outputs, seconds
from torch import Tensor, nn
from worker import Worker

from hardball.perf import keep_memory

CORES = os.cpu_count() or 1
LEAST_GFLOP = 4.0
"""Arithmetic of one turn: a short kernel is repeated, so that starting together does not matter."""
HEAVIEST = 3
"""Layers of the network that are timed."""


@dataclass(frozen=True)
class Product:
    """A matrix product [rows, inner] · [inner, columns]."""

    rows: int
    inner: int
    columns: int

    @property
    def name(self) -> str:
        return f"product {self.rows}×{self.inner}×{self.columns}"

    @property
    def gflop(self) -> float:
        return 2 * self.rows * self.inner * self.columns / 1e9

    def prepare(self) -> Callable[[], Tensor]:
        left, right = torch.rand(self.rows, self.inner), torch.rand(self.inner, self.columns)
        result = torch.empty(self.rows, self.columns)
        return lambda: torch.mm(left, right, out=result)


@dataclass(frozen=True)
class Convolution:
    """A convolution of images [batch, channels, side, side] in channels_last."""

    batch: int
    channels: int
    side: int
    outputs: int
    size: int
    stride: int = 1
    padding: int = 0

    @property
    def name(self) -> str:
        image = f"{self.batch}×{self.channels}×{self.side}×{self.side}"
        return f"convolution {self.size}×{self.size} of {image} to {self.outputs}"

    @property
    def out_side(self) -> int:
        return (self.side + 2 * self.padding - self.size) // self.stride + 1

    @property
    def gflop(self) -> float:
        return self.as_product().gflop

    def as_product(self) -> Product:
        """Over the unfolded image (im2col)."""
        rows = self.batch * self.out_side**2
        return Product(rows, self.channels * self.size**2, self.outputs)

    def prepare(self) -> Callable[[], Tensor]:
        images = torch.rand(self.batch, self.channels, self.side, self.side)
        weight = torch.rand(self.outputs, self.channels, self.size, self.size)
        images = images.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        return lambda: F.conv2d(images, weight, stride=self.stride, padding=self.padding)


Kernel = Product | Convolution
KINDS: dict[str, type[Product] | type[Convolution]] = {
    kind.__name__: kind for kind in (Product, Convolution)
}
ANY_NETWORK: list[Kernel] = [
    Product(1024, 1024, 1024),
    Product(2048, 2048, 2048),
    Convolution(32, 128, 16, 128, 3, padding=1),
    Convolution(32, 256, 8, 256, 3, padding=1),
    Convolution(32, 64, 16, 64, 5, padding=2),
    Convolution(32, 128, 16, 128, 5, padding=2),
]


def kernels_for(model: nn.Module, images: Tensor) -> list[Kernel]:
    """Those of any network, and the heaviest layers of this one at this batch [B, C, H, W]."""
    layers: dict[Kernel, None] = {}
    for layer, (taken, _) in outputs(model, images[:1]):
        if isinstance(layer, nn.Conv2d):
            convolution = Convolution(
                batch=len(images),
                channels=layer.in_channels,
                side=taken.shape[-1],
                outputs=layer.out_channels,
                size=layer.kernel_size[0],
                stride=layer.stride[0],
                padding=int(layer.padding[0]),
            )
            layers[convolution] = None
        elif isinstance(layer, nn.Linear):
            layers[Product(len(images), layer.in_features, layer.out_features)] = None
    heaviest = sorted(layers, key=lambda kernel: -kernel.gflop)[:HEAVIEST]
    unfolded = [kernel.as_product() for kernel in heaviest if isinstance(kernel, Convolution)]
    return list(dict.fromkeys([*ANY_NETWORK, *heaviest, *unfolded]))


def turns(kernel: Kernel) -> int:
    """How often it is computed in one turn."""
    return max(1, math.ceil(LEAST_GFLOP / kernel.gflop))


class Crew:
    """Processes that compute the same kernel at the same time, on an equal share of the cores."""

    def __init__(self, kernels: list[Kernel], processes: int) -> None:
        self.kernels = kernels
        listed = json.dumps([[type(kernel).__name__, *astuple(kernel)] for kernel in kernels])
        threads = max(1, CORES // processes)
        self.workers = [Worker([__file__, listed], threads=threads) for _ in range(processes)]

    def timed(self, kernel: Kernel) -> float:
        """Seconds per kernel at their summed rate."""
        for worker in self.workers:
            worker.ask(str(self.kernels.index(kernel)))
        taken = [worker.answer() / turns(kernel) for worker in self.workers]
        return 1 / sum(1 / each for each in taken)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


def serve(listed: str) -> None:
    """A worker: computes the kernels whose numbers it reads, and answers with the seconds."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    keep_memory()
    kernels = [KINDS[kind](*sizes) for kind, *sizes in json.loads(listed)]
    ready = {str(i): (kernel.prepare(), turns(kernel)) for i, kernel in enumerate(kernels)}
    for line in sys.stdin:
        compute, count = ready[line.strip()]

        def turn(compute: Callable[[], Tensor] = compute, count: int = count) -> None:
            for _ in range(count):
                compute()

        print(seconds(turn), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
