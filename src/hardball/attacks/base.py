"""The call that all attacks share, and what an attack says of itself.

Shapes: B examples, K classes; images [B, ...], labels int64 [B], logits [B, K].
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from hardball.attacks.adapters import Guarded
from hardball.attacks.result import AttackResult, Classifier, judged, take, unattacked
from hardball.fingerprint import described
from hardball.isolation import untouched
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_images, validate_labels


class Attack:
    """max ℓ(f(x'), y) over x' in ball ∩ box: derive from this class and write `search`.

    Everything around the search is here: images and labels are validated; the model is left as it
    was (parameters, gradients, modes, buffers, global random states); what is misclassified already
    is not attacked; what the search proposes is brought into ball and box and believed only after a
    forward pass of its own; and every pass is counted.

    What others must know of an attack it says itself, by the properties below; override those whose
    default is not true of it. A frozen dataclass describes itself by its fields.

    Example:
        >>> class Darker(hb.Attack):
        ...     def search(self, model, images, labels, threat, generator):
        ...         return threat.project(torch.zeros_like(images), images)
        >>> result = Darker()(model, test.images, test.labels, hb.LInf(0.3))
        >>> bool(hb.LInf(0.3).allows(result.examples, test.images).all())
        True
    """

    @property
    def uses_gradients(self) -> bool:
        """It climbs a gradient of the model attacked (True), or sees answers alone."""
        return True

    @property
    def cost(self) -> int:
        """Sample-steps per example if nothing falls early (a forward pass alone is a third of one):
        what "cheapest first" sorts by."""
        return 1000

    @property
    def chunk(self) -> int | None:
        """Examples attacked together, if the random numbers of one depend on its companions; an
        evaluation then hands over exactly so many at a time. None: each example has its own."""
        return None

    def cheapest(self) -> Self:
        """The variant of least effort, tried on one image before hours are spent."""
        return self

    def description(self) -> Any:
        """Parameters as JSON. Two attacks with the same description do the same."""
        return described(self)

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        """Refuse what this attack cannot do.

        Raises:
            Unsupported: a norm, or images of a shape, that it does not know.
            MissingExtra: a package that it needs.
        """

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        """Adversarial examples for images that the model gets right. The one method to write.

        Args:
            model: images [B, ...] → logits float32 [B, K], with `model.classes` = K. A gradient
                flows to the images and nowhere else; passes are counted in `model.forwards` and
                `model.backwards` (add what passes of other models cost).
            images: [B, ...] in [0, 1], B ≥ 1; not to be modified.
            labels: the true classes, int64 [B].
            threat: norm and ε (one number, or one per example).
            generator: source of all random numbers: see `hardball.threats.uniform`.

        Returns:
            [B, ...], anywhere: they are projected. The image itself where nothing was found.
        """
        raise TypeError(f"{type(self).__name__} is an attack without a method `search`; write one")

    def run(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> AttackResult:
        """The whole attack on validated input. Only an attack that classifies its own iterates on
        the way (PGD) overrides this instead of `search`."""
        result, classes = unattacked(model, images, labels)
        rows = (~result.fooled).nonzero().squeeze(1)
        if not len(rows):
            return result
        guarded = Guarded(model, images, what=type(self).__name__)
        guarded.classes = classes
        here = images[rows], labels[rows], threat.rows(rows)
        with torch.set_grad_enabled(self.uses_gradients):
            found = self.search(guarded, *here, take(generator, rows))
        proposed = judged(
            model,
            *here,
            found.detach(),
            forwards=guarded.forwards,
            backwards=guarded.backwards,
        )
        return result.worst(rows, proposed)

    def __call__(
        self,
        model: Classifier,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        generator: Generator = None,
        **options: Any,
    ) -> AttackResult:
        """Attack a batch of any size, also an empty one.

        Args:
            model: images [B, ...] → logits [B, K]; called in the mode it is in.
            images: [B, ...] in [0, 1], never modified.
            labels: the true classes, int64 [B].
            threat: norm and ε.
            generator: source of the random numbers; one per example makes each example's result
                independent of its companions in the batch.
            options: what `run` takes besides, such as the `targets` of PGD.

        Returns:
            AttackResult with the examples detached.

        Raises:
            UserError: images or labels that are not as described.
            CannotRun: the attack cannot run on this model, norm or machine.
        """
        validate_images(images)
        validate_labels(labels, len(images))
        self.validate(images, threat)
        with untouched(model), torch.no_grad():
            return self.run(model, images, labels, threat, generator, **options)


@dataclass(frozen=True, kw_only=True)
class Around(Attack):
    """An attack that runs another one, and costs what that one does."""

    attack: Attack
    """What runs."""

    @property
    def cost(self) -> int:
        return self.attack.cost

    @property
    def chunk(self) -> int | None:
        return self.attack.chunk

    def cheapest(self) -> Self:
        return replace(self, attack=self.attack.cheapest())
