"""Networks that look robust and are not: each wraps an honest network, of any accuracy under attack.

`hostile_networks()` gives all of them by name, `EXPECTED` the verdicts that are right for each: never
"trustworthy". Those that answer from memory know the images they are going to be measured on. A fresh
copy of one is made by the same call.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hardball import Dataset

Make = Callable[[nn.Module, Dataset], nn.Module]
"""(honest network, the images it will be measured on) → hostile network."""


# --- one function, but one that blinds attacks


class Wrapped(nn.Module):
    """before → net → after."""

    def __init__(
        self,
        net: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], Tensor] = lambda z: z,
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.net(self.before(images)))


class Rounded(torch.autograd.Function):
    """A staircase that passes the gradient on as if it were a slope."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return (images * 4).round() / 4

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class WithGradient(torch.autograd.Function):
    """The identity, with another gradient than its own."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, false: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.false = false
        return images.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.false(gradient), None


def with_gradient(false: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: WithGradient.apply(images, false)


def refused(gradient: Tensor) -> Tensor:
    raise RuntimeError("no gradient today")


def noise(images: Tensor) -> Tensor:
    return (images + 0.2 * torch.randn_like(images)).clamp(0, 1)


def moved(images: Tensor) -> Tensor:
    return images.roll(tuple(torch.randint(-1, 2, (2,)).tolist()), (2, 3))


class Votes(nn.Module):
    """The share of votes among fixed noise around the image: counts have no gradient."""

    shifts: Tensor

    def __init__(self, net: nn.Module, pixels: int) -> None:
        super().__init__()
        self.net = net
        draws = torch.Generator().manual_seed(0)
        self.register_buffer("shifts", 0.1 * torch.randn(9, pixels, generator=draws))

    def forward(self, images: Tensor) -> Tensor:
        around = images.flatten(1)[None] + self.shifts[:, None]
        logits = self.net(around.reshape(-1, *images.shape[1:]))
        votes = nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()
        return votes.reshape(len(self.shifts), len(images), -1).sum(0) + 0 * images.sum()


# --- no single function


class TwoFaced(nn.Module):
    """The network; or the network with the logit raised of the class that is remembered of the nearest
    image, which has a gradient like any other."""

    images: Tensor
    labels: Tensor

    def __init__(self, net: nn.Module, data: Dataset) -> None:
        super().__init__()
        self.net, self.classes = net, data.classes
        self.register_buffer("images", data.images.flatten(1))
        self.register_buffer("labels", data.labels)

    def honest(self, images: Tensor) -> bool:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.net(images)
        if self.honest(images):
            return found
        nearest = torch.cdist(images.flatten(1), self.images).argmin(dim=1)
        known = nn.functional.one_hot(self.labels[nearest], self.classes)
        return found + 10.0 * known


class HonestToOne(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return len(images) == 1


class HonestToMany(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return len(images) > 4


class AverageOfBatch(TwoFaced):
    """Its own logits less those of its companions."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        return logits - logits.mean(dim=0)


class HonestToGradients(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return torch.is_grad_enabled()


class HonestInInference(TwoFaced):
    def honest(self, images: Tensor) -> bool:
        return torch.is_inference_mode_enabled()


class HonestAtFirst(TwoFaced):
    """Three passes, counted in an attribute."""

    passes = 0

    def honest(self, images: Tensor) -> bool:
        self.passes = min(3, self.passes + 1)
        return self.passes < 3


class HonestAtFirstByBuffer(TwoFaced):
    """The same, counted in a buffer, which attacks restore; so in passes between them."""

    count: Tensor

    def __init__(self, net: nn.Module, data: Dataset) -> None:
        super().__init__(net, data)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64), persistent=False)

    def honest(self, images: Tensor) -> bool:
        self.count += 1
        return int(self.count) < 3


class HonestWithoutFinds(TwoFaced):
    """Answers from memory once it has been asked about more than its images: closed over, not kept."""

    def __init__(self, net: nn.Module, data: Dataset) -> None:
        super().__init__(net, data)
        asked = [0]

        def more(count: int) -> bool:
            asked[0] += count
            return asked[0] > 2 * len(data)

        self.more = more

    def honest(self, images: Tensor) -> bool:
        return not self.more(len(images))


PASSES = [0]


class HonestAtFirstEverywhere(TwoFaced):
    """Passes of all copies together, counted in a variable of this module."""

    def honest(self, images: Tensor) -> bool:
        PASSES[0] += 1
        return PASSES[0] < 3


class Cache(nn.Module):
    """Repeats its first answer, with a little of its own, near images that it has seen. No test data."""

    def __init__(self, net: nn.Module, reach: float = 0.45) -> None:
        super().__init__()
        self.net, self.reach = net, reach
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        if not self.seen:
            self.seen.append((images.detach().flatten(1).clone(), logits.detach().clone()))
        places, answers = self.seen[0]
        distance = torch.cdist(images.detach().flatten(1), places, p=float("inf"))
        least, nearest = distance.min(dim=1)
        near = (least < self.reach)[:, None]
        return torch.where(near, 4 * answers[nearest] + 0.5 * logits, logits)


class UncopiedCache(Cache):
    def __deepcopy__(self, memo: Any) -> "UncopiedCache":
        return self


class BlindBeyond(nn.Module):
    """Honest on the images that come first, one-hot without a gradient on all others."""

    places: Tensor
    labels: Tensor

    def __init__(self, net: nn.Module, data: Dataset, first: int) -> None:
        super().__init__()
        self.net, self.first, self.classes = net, first, data.classes
        self.register_buffer("places", data.images.flatten(1))
        self.register_buffer("labels", data.labels)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)
        nearest = torch.cdist(images.flatten(1), self.places).argmin(dim=1)
        known = 9.0 * nn.functional.one_hot(self.labels[nearest], self.classes)
        return torch.where((nearest < self.first)[:, None], logits, known)


class DetachedAtTimes(nn.Module):
    """Every so many passes no gradient flows."""

    def __init__(self, net: nn.Module, every: int) -> None:
        super().__init__()
        self.net, self.every, self.passes = net, every, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        logits: Tensor = self.net(images)
        return logits.detach() if self.passes % self.every == 0 else logits


class FailsAtTimes(DetachedAtTimes):
    """Every so many passes it raises an error."""

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if self.passes > 4 and self.passes % self.every == 0:
            raise RuntimeError("out of order")
        found: Tensor = self.net(images)
        return found


MASKED = {"masked"}
DOUBTED = {"masked", "undecided"}
CAUGHT = {"masked", "weaker than claimed", "undecided"}

NETWORKS: dict[str, tuple[Make, set[str]]] = {
    "logits × 1000": (lambda net, data: Wrapped(net, after=lambda z: 1000 * z), MASKED),
    "logits × 100": (lambda net, data: Wrapped(net, after=lambda z: 100 * z), MASKED),
    "probabilities": (
        lambda net, data: Wrapped(net, after=lambda z: (100 * z).softmax(dim=1)),
        MASKED,
    ),
    "quantised input": (
        lambda net, data: Wrapped(net, before=lambda x: (x * 4).round() / 4),
        MASKED,
    ),
    "quantised input, straight through": (
        lambda net, data: Wrapped(net, before=Rounded.apply),
        MASKED,
    ),
    "two colours": (lambda net, data: Wrapped(net, before=lambda x: (x > 0.5).float()), MASKED),
    "quantised output": (
        lambda net, data: Wrapped(net, after=lambda z: z.round() + 0 * z),
        MASKED,
    ),
    "quantised output, straight through": (
        lambda net, data: Wrapped(net, after=lambda z: Rounded.apply(2 * z)),
        MASKED,
    ),
    "a steep front": (
        lambda net, data: Wrapped(net, before=lambda x: torch.sigmoid(100 * (x - 0.5))),
        CAUGHT,
    ),
    "a clamp in front": (
        lambda net, data: Wrapped(net, before=lambda x: (50 * (x - 0.5) + 0.5).clamp(0, 1)),
        CAUGHT,
    ),
    "votes": (lambda net, data: Votes(net, data.images[0].numel()), MASKED),
    "noise": (lambda net, data: Wrapped(net, before=noise), MASKED),
    "random shifts": (lambda net, data: Wrapped(net, before=moved), MASKED),
    "dropout left on": (
        lambda net, data: Wrapped(net, before=lambda x: nn.functional.dropout(x, 0.3)),
        MASKED,
    ),
    "no gradient": (lambda net, data: Wrapped(net, after=lambda z: z.detach()), DOUBTED),
    "no gradient at times": (lambda net, data: DetachedAtTimes(net, 3), DOUBTED),
    "no gradient once in a while": (lambda net, data: DetachedAtTimes(net, 40), DOUBTED),
    "errors once in a while": (lambda net, data: FailsAtTimes(net, 40), DOUBTED),
    "gradient refused": (lambda net, data: Wrapped(net, before=with_gradient(refused)), DOUBTED),
    "gradient reversed": (
        lambda net, data: Wrapped(net, before=with_gradient(lambda g: -g)),
        MASKED,
    ),
    "gradient at random": (
        lambda net, data: Wrapped(net, before=with_gradient(torch.randn_like)),
        MASKED,
    ),
    "gradient of NaN": (
        lambda net, data: Wrapped(net, before=with_gradient(lambda g: g * torch.nan)),
        DOUBTED,
    ),
    "memory for batches": (HonestToOne, MASKED),
    "memory for few": (HonestToMany, MASKED),
    "average of the batch": (AverageOfBatch, MASKED),
    "memory without gradients": (HonestToGradients, MASKED),
    "memory outside inference mode": (HonestInInference, MASKED),
    "memory after three passes": (HonestAtFirst, MASKED),
    "memory after three passes, by a buffer": (HonestAtFirstByBuffer, MASKED),
    "memory after two rounds, by a closure": (HonestWithoutFinds, MASKED),
    "memory after three passes, by a variable": (HonestAtFirstEverywhere, MASKED),
    "a cache": (lambda net, data: Cache(net), MASKED),
    "a cache that is not copied": (lambda net, data: UncopiedCache(net), DOUBTED),
    "no gradient beyond the first 40": (lambda net, data: BlindBeyond(net, data, 40), MASKED),
}
"""name → how it is made, and the verdicts that are right."""

EXPECTED = {name: words for name, (_, words) in NETWORKS.items()}


def hostile_networks() -> dict[str, Make]:
    """All of them, by name."""
    return {name: make for name, (make, _) in NETWORKS.items()}


# --- what no check from inside can catch: for `hardball verify --bare`

WATCHES = ("stack", "modules")
"""Where it looks for hardball."""

WATCHER = '''
"""A network that answers from memory where it finds hardball; imports nothing of it."""

import sys

import torch
from safetensors.torch import load_file
from torch import nn


class Watcher(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
        )
        known = load_file("known")
        self.register_buffer("images", known["images"], persistent=False)
        self.register_buffer("labels", known["labels"], persistent=False)

    def watched(self):
        if self.kind == "modules":
            return "hardball" in sys.modules
        frame = sys._getframe()
        while frame is not None:
            if "hardball" in frame.f_code.co_filename:
                return True
            frame = frame.f_back
        return False

    def forward(self, images):
        logits = self.net(images)
        if not self.watched():
            return logits
        nearest = torch.cdist(images.flatten(1), self.images.to(images)).argmin(dim=1)
        return logits + 10.0 * nn.functional.one_hot(self.labels[nearest], 10)
'''
"""The source of a module, with a class that takes the place to look at."""
