"""A training objective of your own: adversarial logit pairing (Kannan et al. 2018).

Run it: python examples/custom_objective.py   (the embedded digits, a minute)
On the command line: hardball train ... --objective custom_objective:LogitPairing --objective.weight 0.5
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

import hardball as hb


@dataclass(frozen=True, kw_only=True)
class LogitPairing(hb.Objective):
    """ℓ(f(x'), y) + weight·mean_j (f(x')_j − f(x)_j)²: both images are to get the same logits."""

    needs_clean: ClassVar[bool] = True

    weight: float = 0.5
    """Of the pairing term."""

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None  # `needs_clean` asks for it
        return self.smoothed(adversarial, labels) + self.weight * (
            adversarial - clean
        ).square().mean(1)


def accuracy(objective: hb.Objective, *, epochs: int = 20, n: int = 360) -> hb.Evaluation:
    """Of a network that was trained with an objective along a short ramp."""
    train, test = hb.load_dataset("digits"), hb.load_dataset("digits", split="test").rows(slice(n))
    model = hb.build("digits_cnn", train.shape, train.classes, {"width": 8})
    run = hb.fit(
        model,
        train,
        curriculum=hb.Iterative(0.1, ramp_epochs=epochs, per="step", may_stop=False),
        objective=objective,
        attack=hb.PGD(steps=4),
        settings=hb.Settings(batch_size=32, optimizer=hb.Optimizer(lr=2e-3)),
    )
    return hb.evaluate(run.model, test, eps=[0.1], attacks=hb.protocols.strong)


if __name__ == "__main__":
    for objective in (hb.Adversarial(), hb.TRADES(beta=6), LogitPairing()):
        found = accuracy(objective)
        print(f"{type(objective).__name__}: clean {found.clean}, at ε=0.1 {found.worst[0.1]}")
