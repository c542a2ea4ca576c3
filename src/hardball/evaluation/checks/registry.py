"""The list: the twelve checks of arXiv 2003.13370, Appendix C, the stronger attacks of its section 3.3
(numbered 3.3), and hardball's own detectors (lettered)."""

from collections.abc import Callable
from dataclasses import dataclass

from hardball.evaluation.checks import (
    blackbox,
    consistency,
    detectors,
    distortion,
    memory,
    planted,
    whitebox,
)
from hardball.evaluation.checks.context import Context
from hardball.evaluation.checks.result import Finding, Kind


@dataclass(frozen=True, kw_only=True)
class CheckSpec:
    """One check, before it has run."""

    number: str
    name: str
    run: Callable[[Context], Finding]
    kind: Kind
    meaning: str
    """What a failure means, as part of a sentence."""
    essential: bool = True
    """Without it there is no verdict. Not so for what needs another network."""


TABLE: tuple[CheckSpec, ...] = (
    CheckSpec(
        number="1",
        name="FGSM not stronger",
        run=whitebox.one_step,
        kind="masking",
        meaning="one large step finds what 200 steps do not",
    ),
    CheckSpec(
        number="2",
        name="unbounded attack",
        run=whitebox.unbounded,
        kind="masking",
        meaning="images remain unbroken even without a bound, so the attack cannot find what exists",
    ),
    CheckSpec(
        number="3",
        name="random start",
        run=whitebox.random_start,
        kind="strength",
        meaning="it matters whether PGD starts at random",
    ),
    CheckSpec(
        number="4",
        name="ten restarts",
        run=whitebox.restarts,
        kind="strength",
        meaning="more restarts break more",
    ),
    CheckSpec(
        number="5",
        name="2000 steps",
        run=whitebox.many_steps,
        kind="strength",
        meaning="more steps break more",
    ),
    CheckSpec(
        number="6",
        name="falls with ε",
        run=whitebox.monotone,
        kind="masking",
        meaning="the accuracy rises with ε",
    ),
    CheckSpec(
        number="7",
        name="targeted, all classes",
        run=whitebox.targeted,
        kind="strength",
        meaning="aiming at every class breaks more",
    ),
    CheckSpec(
        number="3.3",
        name="many small steps",
        run=whitebox.small_steps,
        kind="strength",
        meaning="many small steps break more",
    ),
    CheckSpec(
        number="3.3",
        name="raw gradient",
        run=whitebox.raw_gradient,
        kind="strength",
        meaning="steps along the raw gradient break more",
    ),
    CheckSpec(
        number="3.3",
        name="ℓ2 steps",
        run=whitebox.euclidean,
        kind="strength",
        meaning="steps in another norm break more",
    ),
    CheckSpec(
        number="8",
        name="brute force",
        run=blackbox.brute_force,
        kind="strength",
        meaning="random noise breaks what gradients do not",
    ),
    CheckSpec(
        number="9",
        name="smallest distortion",
        run=distortion.smallest_distortion,
        kind="strength",
        meaning="images break at no larger distortion than the base's",
        essential=False,
    ),
    CheckSpec(
        number="10",
        name="ZOO",
        run=blackbox.zoo,
        kind="strength",
        meaning="finite differences break what gradients do not",
    ),
    CheckSpec(
        number="10",
        name="HopSkipJump",
        run=blackbox.decisions,
        kind="strength",
        meaning="an attack on decisions alone breaks what gradients do not",
    ),
    CheckSpec(
        number="11",
        name="transfer",
        run=blackbox.transfer,
        kind="strength",
        meaning="examples of another network break what gradients do not",
        essential=False,
    ),
    CheckSpec(
        number="12",
        name="transfer from origin",
        run=blackbox.semi_black_box,
        kind="strength",
        meaning="examples of the network it started from break what gradients do not",
        essential=False,
    ),
    CheckSpec(
        number="A",
        name="zero gradients",
        run=detectors.vanishing_gradients,
        kind="masking",
        meaning="the loss has no gradient to climb",
    ),
    CheckSpec(
        number="B",
        name="false gradients",
        run=detectors.disagreement,
        kind="masking",
        meaning="the gradient is not the slope of the loss",
    ),
    CheckSpec(
        number="C",
        name="saturated outputs",
        run=detectors.saturated_outputs,
        kind="masking",
        meaning="the outputs are saturated and blind the loss",
    ),
    CheckSpec(
        number="D",
        name="stochastic outputs",
        run=detectors.stochastic_outputs,
        kind="masking",
        meaning="the model answers at random",
    ),
    CheckSpec(
        number="E",
        name="loss rises",
        run=detectors.loss_rises,
        kind="masking",
        meaning="the loss does not rise along the attack",
    ),
    CheckSpec(
        number="F",
        name="no way back",
        run=detectors.turns_back,
        kind="masking",
        meaning="images are broken on the way of a step and right again at its end",
    ),
    CheckSpec(
        number="G",
        name="step size",
        run=detectors.step_size,
        kind="masking",
        meaning="another step size breaks much more",
    ),
    CheckSpec(
        number="H",
        name="planted example",
        run=planted.planted,
        kind="masking",
        meaning="the attack misses an adversarial example that was planted",
    ),
    CheckSpec(
        number="K",
        name="companions",
        run=consistency.companions,
        kind="masking",
        meaning="the answer to an image depends on the others in its batch",
    ),
    CheckSpec(
        number="L",
        name="gradient mode",
        run=consistency.gradient_mode,
        kind="masking",
        meaning="the model answers differently when gradients are taken",
    ),
    CheckSpec(
        number="M",
        name="fresh copy",
        run=memory.fresh_copy,
        kind="masking",
        meaning="a copy of the model that has seen nothing answers otherwise",
    ),
    CheckSpec(
        number="N",
        name="unchanged",
        run=memory.unchanged,
        kind="masking",
        meaning="the model changes when it is asked",
    ),
    # these three look at what all others have found
    CheckSpec(
        number="O",
        name="finds confirmed",
        run=consistency.confirmed,
        kind="masking",
        meaning="what breaks an image for an attack does not in the pass that counts",
    ),
    CheckSpec(
        number="I",
        name="claim holds",
        run=detectors.claim_falls,
        kind="masking",
        meaning="stronger attacks break more than half of what the claim leaves",
    ),
    CheckSpec(
        number="J",
        name="no black box wins",
        run=blackbox.black_box_wins,
        kind="masking",
        meaning="black boxes break much that no gradient attack does",
    ),
)
