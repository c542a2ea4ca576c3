"""An attack of your own: random moves, each kept where it raises the margin. No gradients.

Run it: python examples/custom_attack.py   (the embedded digits, seconds)
On the command line: hardball evaluate RUN --attacks '[pgd-20, custom_attack:Climb]'
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

import hardball as hb
from hardball.losses import margin


@dataclass(frozen=True, kw_only=True)
class Climb(hb.Attack):
    """`steps` moves of `share` of the way to a random point of the ball."""

    steps: int = 200
    share: float = 0.3

    uses_gradients = False

    @property
    def cost(self) -> int:
        return max(1, self.steps // 3)  # in sample-steps: cheaper attacks run first

    def cheapest(self) -> Self:
        return replace(self, steps=1)

    @torch.no_grad()
    def search(
        self,
        model: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        threat: hb.ThreatModel,
        generator: torch.Generator | Sequence[torch.Generator],
    ) -> Tensor:
        best = threat.sample(images, generator)
        highest = margin(model(best), labels)
        for _ in range(self.steps):
            moved = best + self.share * (threat.sample(images, generator) - best)
            moved = threat.project(moved, images)
            value = margin(model(moved), labels)
            better = value > highest
            best[better], highest[better] = moved[better], value[better]
        return best


def compare(steps: int = 200, n: int = 100, epochs: int = 5) -> hb.Evaluation:
    """PGD, then this attack on the images that PGD has not broken."""
    train, test = hb.load_dataset("digits"), hb.load_dataset("digits", split="test").rows(slice(n))
    model = hb.build("digits_cnn", train.shape, train.classes, {"width": 8})
    run = hb.fit(model, train, curriculum=hb.Constant(0.05, epochs=epochs), attack=hb.PGD(steps=3))
    attacks = {"pgd": hb.PGD(steps=20), "climb": Climb(steps=steps)}
    return hb.evaluate(run.model, test, eps=[0.05, 0.1], attacks=attacks)


if __name__ == "__main__":
    for score in compare().scores:
        print(f"ε={score.eps:g} {score.attack}: {score.broken} of {score.attacked} broken")
