"""The adversarial loss of a network on a fixed batch, by one attack from fixed random starts.

Shapes: B examples, K classes; images [B, ...], labels int64 [B], losses [B].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hardball.attacks import PGD, Attack, BehindFront, Classifier
from hardball.data import Dataset
from hardball.fronts import bent_front_of
from hardball.losses import cross_entropy
from hardball.seeding import generators
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_logits


@dataclass(frozen=True, kw_only=True)
class AdversarialLoss:
    """ℓ(f) = mean over a batch of the cross entropy at the adversarial examples made for f.

    Of PGD the final iterate counts, as in training, not the first one that is misclassified: the
    loss there would end just beyond the decision boundary. Of several restarts the one of highest
    loss counts. Behind a model's front it runs in the box that is
    reachable there. Any other attack gives what it gives in an evaluation; most attack only images that
    are classified correctly. At ε = 0 the examples are the images: the standard loss.

    The random numbers of an example depend on `seed` and its place in the batch alone, so two values
    differ by the network, the attack or ε and by nothing else.
    """

    threat: ThreatModel
    """Norm and ε."""
    attack: Attack
    seed: int = 0
    """Of the attack's random starts."""
    batch_size: int = 256
    """Examples at a time; changes the speed, not the value."""

    def examples(self, model: Classifier, data: Dataset) -> tuple[Tensor, Tensor]:
        """The adversarial examples [B, ...] and the cross entropy at each [B]."""
        found = []
        for first in range(0, len(data), self.batch_size):
            part = data.rows(slice(first, first + self.batch_size))
            sources = generators(self.seed, range(first, first + len(part)))
            found.append(self._batch(model, part.images, part.labels, sources))
        examples, losses = zip(*found, strict=True)
        return torch.cat(examples), torch.cat(losses)

    def mean(self, model: Classifier, data: Dataset) -> float:
        """ℓ(f), summed in double precision."""
        _, losses = self.examples(model, data)
        return float(losses.cpu().double().mean())

    def _batch(
        self, model: Classifier, images: Tensor, labels: Tensor, sources: Generator
    ) -> tuple[Tensor, Tensor]:
        eps = float(self.threat.eps)
        if eps == 0:
            return images, losses_at(model, images, labels)
        if not isinstance(self.attack, PGD):
            found = self.attack(model, images, labels, self.threat, generator=sources).examples
            return found, losses_at(model, found, labels)
        attack = self.attack.at(eps)
        behind = self.threat.norm == "linf" and bent_front_of(model) is not None
        perturb = BehindFront(attack=attack).perturb if behind else attack.perturb
        worst, highest = images, torch.full(labels.shape, -torch.inf, device=labels.device)
        for _ in range(attack.restarts):
            # the sources go on from one restart to the next
            found = perturb(model, images, labels, self.threat, generator=sources)
            losses = losses_at(model, found, labels)
            higher = (losses > highest).view(-1, *(1,) * (images.dim() - 1))
            worst, highest = torch.where(higher, found, worst), torch.maximum(highest, losses)
        return worst, highest


@torch.no_grad()
def losses_at(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy [B] at these images."""
    return cross_entropy(validate_logits(model(images), len(images)), labels)
