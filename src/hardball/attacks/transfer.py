"""Transfer: examples made on one model, judged on another."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hardball.attacks.guarded import judged, unattacked
from hardball.attacks.pgd import PGD
from hardball.attacks.result import Attack, AttackResult, Classifier, take
from hardball.checks import check_images, check_labels, check_logits
from hardball.errors import UserError
from hardball.modes import evaluating, untouched
from hardball.threats import Generator, ThreatModel


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Runs `attack` on `source` and judges what comes out on the model attacked.

    The source is a model of the same classes, put in evaluation mode meanwhile and left as it was. An
    attack that stops at the first example which fools the *source* transfers badly, so the default
    goes on to its last step. Cost and `loss` (the margin) are those of both models together and of the
    model attacked.

    Raises:
        UserError: a source with another number of classes than the model.
    """

    source: Classifier
    """Where the examples are made."""
    attack: Attack = field(default_factory=lambda: PGD(steps=200, keep="last"))
    """Makes them."""

    @property
    def cost(self) -> int:
        return self.attack.cost

    @property
    def chunk(self) -> int | None:
        """That of the inner attack, if its random numbers depend on an example's companions."""
        found: int | None = getattr(self.attack, "chunk", None)
        return found

    def __call__(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        generator: Generator = None,
    ) -> AttackResult:
        """Attack a batch of any size, also an empty one. See `PGD` for the arguments."""
        check_images(images)
        check_labels(labels, len(images))
        with untouched(model), untouched(self.source), evaluating(self.source), torch.no_grad():
            result, classes = unattacked(model, images, labels)
            rows = (~result.fooled).nonzero().squeeze(1)
            if not len(rows):
                return result
            self._check(images[rows[:1]], classes)
            made = self.attack(
                self.source,
                images[rows],
                labels[rows],
                threat.rows(rows),
                generator=take(generator, rows),
            )
            found = judged(
                model,
                images[rows],
                labels[rows],
                threat.rows(rows),
                made.examples,
                forwards=made.forwards,
                backwards=made.backwards,
            )
            return result.worst(rows, found)

    def _check(self, image: Tensor, classes: int) -> None:
        known = check_logits(self.source(image), 1).shape[1]
        if known != classes:
            raise UserError(
                f"the source has {known} classes and the model {classes}; a transfer needs a source "
                "trained for the same classes"
            )
