"""The checks that look at gradients, for a model with a front: they look behind it.

A steep or stepped front has no gradient to look at, whatever the network behind it is. So these checks
get the network itself, on the box that is reachable, and their attacks run there (see
`hardball.attacks.BehindFront`). What they find is pulled back to images in the ball, and the whole model
judges it, as always. Checks that see answers alone get the whole model.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hardball.attacks import PGD, Attack, BehindFront, Targeted
from hardball.attacks.box import NORMS
from hardball.errors import CannotRun
from hardball.evaluation.behind import PREFIX
from hardball.evaluation.checks import detectors, planted, whitebox
from hardball.evaluation.checks.context import Context, Tried
from hardball.evaluation.protocols import CLAIM
from hardball.fronts import Front, InBox, Reach, bent_front_of
from hardball.threats import ThreatModel

BEHIND: tuple[Callable[[Context], Any], ...] = (
    whitebox.one_step,
    whitebox.unbounded,
    whitebox.random_start,
    whitebox.restarts,
    whitebox.many_steps,
    whitebox.monotone,
    whitebox.targeted,
    whitebox.small_steps,
    whitebox.raw_gradient,
    whitebox.euclidean,
    detectors.vanishing_gradients,
    detectors.disagreement,
    detectors.loss_rises,
    detectors.turns_back,
    detectors.step_size,
    planted.planted,
)
"""The checks that climb or look at a gradient."""


def claim_behind(attacks: Mapping[str, Attack]) -> str | None:
    """The name of the attack behind a front whose accuracy is claimed, if there is one."""
    if PREFIX + CLAIM in attacks:
        return PREFIX + CLAIM
    return next((name for name, attack in attacks.items() if _climbs(attack)), None)


def _climbs(attack: Attack) -> bool:
    return isinstance(attack, BehindFront) and isinstance(attack.attack, PGD)


def in_view(check: Callable[[Context], Any], context: Context) -> Context:
    """What a check is to look at: the context, or the view behind the model's front."""
    if check not in BEHIND or context.threat.norm not in NORMS:
        return context
    found = bent_front_of(context.model)
    return context if found is None else Behind(context, *found)


class Behind(Context):
    """A context whose model is the network behind the front, and whose images are points of the box
    (see `hardball.fronts.Reach`). State and finds are the context's own."""

    def __init__(self, context: Context, front: Front, body: nn.Module) -> None:
        vars(self).update(vars(context))
        self._outside, self._front = context, front
        blank = context.data.images[:1]
        self.model = Reach(front, blank, context.threat).network(body, relaxed=True)
        self.threat = InBox()

    @property
    def claim(self) -> PGD:
        found = self.evaluation.attacks.get(self.claim_name or "")
        if not isinstance(found, BehindFront) or not isinstance(found.attack, PGD):
            raise CannotRun("there is no PGD behind the front to compare with: it could not run")
        return found.attack

    def tensors(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = super().tensors(rows)
        return Reach(self._front, images, self._outside.threat).points, labels

    def attempt(
        self, name: str, attack: Attack, rows: Tensor, threat: ThreatModel | None = None
    ) -> Tried:
        if isinstance(attack, PGD | Targeted):
            name, attack = f"{PREFIX}{name.removeprefix(PREFIX)}", BehindFront(attack=attack)
        return self._outside.attempt(name, attack, rows, threat)
