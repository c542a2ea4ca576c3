"""Transfer: examples made on one model, judged on another."""

from dataclasses import dataclass, field

from torch import Tensor

from hardball.attacks.adapters import Guarded
from hardball.attacks.base import Around, Attack
from hardball.attacks.pgd import PGD
from hardball.attacks.result import Classifier
from hardball.errors import CannotRun
from hardball.isolation import evaluating, untouched
from hardball.threats import Generator, ThreatModel
from hardball.validation import validate_logits


@dataclass(frozen=True, kw_only=True)
class Transfer(Around):
    """Runs `attack` on `source` and judges what comes out on the model attacked.

    The source is a model of the same classes, put in evaluation mode meanwhile and left as it was. An
    attack that stops at the first example which fools the *source* transfers badly, so the default
    goes on to its last step. Cost and `loss` (the margin) are those of both models together and of the
    model attacked.

    Raises:
        CannotRun: a source with another number of classes than the model.

    Example:
        >>> other = hb.build("digits_cnn", test.shape, test.classes, {"width": 4})
        >>> attack = hb.Transfer(source=other, attack=hb.PGD(steps=5))
        >>> attack(model, test.images, test.labels, hb.LInf(0.1)).fooled.shape
        torch.Size([20])
    """

    source: Classifier
    """Where the examples are made."""
    attack: Attack = field(default_factory=lambda: PGD(steps=200, keep="last"))
    """Makes them."""

    @property
    def uses_gradients(self) -> bool:
        """Of the source alone."""
        return False

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        with untouched(self.source), evaluating(self.source):
            known = validate_logits(self.source(images[:1]), 1).shape[1]
            if known != model.classes:
                raise CannotRun(
                    f"the source has {known} classes and the model {model.classes}; a transfer needs a "
                    "source trained for the same classes"
                )
            made = self.attack(self.source, images, labels, threat, generator=generator)
        model.forwards += made.forwards
        model.backwards += made.backwards
        return made.examples
