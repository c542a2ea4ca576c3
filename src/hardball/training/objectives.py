"""Training objectives: the loss that the parameters descend, and the loss that the attack climbs.

Shapes: B examples, K classes; logits [B, K], labels int64 [B], losses [B].
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hardball import names
from hardball.certify.crown import relaxed
from hardball.certify.ibp import propagated
from hardball.certify.intervals import Box, Propagation
from hardball.errors import UserError
from hardball.losses import cross_entropy, kl
from hardball.training.regularisers import balance, tightness

EXACT = Propagation(rounding=False)
"""Training bounds the network of exact arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """min_θ Σ loss(f_θ(x'), y, f_θ(x)), where x' maximises `climbed` inside ball ∩ box.

    To add one, derive a frozen dataclass from this class and write `loss`; its fields become flags.
    Whatever the objective, training is watched by the adversarial cross entropy: the detectors of
    collapse and of a sudden increase, and the validation part, know nothing else.

    Example:
        >>> class Squared(hb.Objective):
        ...     def loss(self, adversarial, labels, clean):
        ...         return self.smoothed(adversarial, labels) ** 2
        >>> Squared().loss(torch.zeros(2, 2), torch.tensor([0, 1]), None)
        tensor([0.4805, 0.4805])
    """

    needs_clean: ClassVar[bool] = False
    """`loss` and `climbed` are given the logits of the clean images too, for one more pass each."""
    needs_attack: ClassVar[bool] = True
    """The training attack runs; without it the adversarial examples are the images themselves."""
    needs_bounds: ClassVar[bool] = False
    """`loss` is given the worst logits that interval bounds allow in `box` (ℓ∞ only)."""
    noisy: ClassVar[bool] = False
    """The examples are x + N(0, σ²I) in place of adversarial ones, and the curriculum's ε is σ."""

    label_smoothing: float = 0.0
    """Share of the label's weight that is spread evenly over all classes (cross entropy terms)."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"label_smoothing={self.label_smoothing}; allowed is a number in [0, 1)"
            )

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """What the parameters descend, [B].

        Args:
            adversarial: logits [B, K] of the adversarial examples.
            labels: int64 [B].
            clean: logits [B, K] of the images themselves, if `needs_clean`; else None.
        """
        # an objective with `needs_bounds` writes `bounded` instead
        raise TypeError(f"{type(self).__name__} is an objective without a method `loss`; write one")

    def bounded(self, adversarial: Tensor, labels: Tensor, worst: Tensor) -> Tensor:
        """What the parameters descend, [B], if `needs_bounds`.

        Args:
            adversarial: logits [B, K] of the adversarial examples.
            labels: int64 [B].
            worst: upper bounds on z_j − z_y [B, K] over the box, as logits: their cross entropy is an
                upper bound of that of every image in the box.
        """
        raise TypeError(
            f"{type(self).__name__} needs bounds and has no method `bounded`; write one"
        )

    def box(self, images: Tensor, adversarial: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The pixels between which bounds are wanted, if `needs_bounds`: ball ∩ [0, 1]."""
        return (images - eps).clamp(min=0), (images + eps).clamp(max=1)

    def bounds(
        self, graph: fx.GraphModule, box: Box, labels: Tensor, left: float
    ) -> tuple[Tensor, Sequence[Box]]:
        """Lower bounds on z_y − z_j [B, K], 0 at j = y, and the boxes before the ReLUs, if
        `needs_bounds`.

        Args:
            graph: of the model (`hardball.certify.intervals.traced`).
            box: of the pixels.
            labels: int64 [B].
            left: 1 − ε ÷ the largest ε.
        """
        return propagated(graph, box, labels, EXACT)

    def penalty(self, box: Box, hidden: Sequence[Box]) -> Tensor:
        """What is added to the loss of each example, times 1 − ε ÷ the largest ε: a scalar, if
        `needs_bounds`.

        Args:
            box: of the pixels [B, ...].
            hidden: before each ReLU.
        """
        return box.low.new_zeros(())

    def prepare(self, model: nn.Module) -> None:
        """Change random initial weights as the objective wants them, before training from scratch."""

    def climbed(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        """What the training attack climbs, [B]: the cross entropy unless an objective says otherwise.

        Args:
            logits: [B, K] of the attack's present iterate.
            labels: int64 [B].
            clean: logits [B, K] of the images, without gradient, if `needs_clean`; else None.
        """
        return cross_entropy(logits, labels)

    def smoothed(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy [B] with the label smoothing of this objective."""
        if not self.label_smoothing:
            return cross_entropy(logits, labels)
        smoothing = self.label_smoothing
        return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)


@dataclass(frozen=True, kw_only=True)
class Adversarial(Objective):
    """Adversarial cross entropy (Madry et al. 2018): ℓ(f(x'), y).

    Example:
        >>> hb.Adversarial().loss(torch.zeros(2, 10), test.labels[:2], None)
        tensor([2.3026, 2.3026])
    """

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        return self.smoothed(adversarial, labels)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Objective):
    """E ℓ(f(x + δ), y) over δ ~ N(0, σ²I), one δ for each example and epoch (Cohen et al. 2019).

    The curriculum moves σ where it moves ε elsewhere. x + δ is not clipped to [0, 1]: certificates by
    randomised smoothing (`certify_smooth`) are for the unclipped Gaussian. No attack runs; a noisy
    example counts as one sample-step.

    Example:
        >>> hb.GaussianNoise().needs_attack
        False
    """

    needs_attack: ClassVar[bool] = False
    noisy: ClassVar[bool] = True

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        return self.smoothed(adversarial, labels)


@dataclass(frozen=True, kw_only=True)
class TRADES(Objective):
    """ℓ(f(x), y) + β·KL(f(x) ‖ f(x')), where x' maximises the KL term (Zhang et al. 2019).

    The attack climbs from a random start: at the image itself the KL term has no gradient.

    Example:
        >>> hb.TRADES(beta=6.0).loss(torch.zeros(2, 10), test.labels[:2], torch.zeros(2, 10))
        tensor([2.3026, 2.3026])
    """

    needs_clean: ClassVar[bool] = True

    beta: float = 6.0
    """Weight β of the robustness term (1/λ in the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weight(self.beta)

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        return self.smoothed(clean, labels) + self.beta * kl(adversarial, clean)

    def climbed(self, logits: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        return kl(logits, clean)


@dataclass(frozen=True, kw_only=True)
class MART(Objective):
    """ℓ(f(x'), y) − log(1 − max_{k≠y} p_k(x')) + β·KL(f(x) ‖ f(x'))·(1 − p_y(x)) (Wang et al. 2020).

    The KL term counts most where the clean image is misclassified.

    Example:
        >>> hb.MART(beta=5.0).needs_clean
        True
    """

    needs_clean: ClassVar[bool] = True

    beta: float = 5.0
    """Weight of the KL term (λ in the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_weight(self.beta)

    def loss(self, adversarial: Tensor, labels: Tensor, clean: Tensor | None) -> Tensor:
        assert clean is not None
        probability = F.softmax(clean, dim=1).gather(1, labels[:, None]).squeeze(1)
        boosted = self.smoothed(adversarial, labels) - _log_of_the_rest(adversarial, labels)
        return boosted + self.beta * kl(adversarial, clean) * (1 - probability)


@dataclass(frozen=True, kw_only=True)
class IBPLoss(Objective):
    """Cross entropy of the worst logits that interval bounds allow: certified training (Gowal et al.
    2018), with initialisation and regularisers of Shi et al. 2021 where asked for. No attack runs.

    The loss bounds the adversarial one from above. Raise ε slowly from 0 (an iterative curriculum by
    step): at a large ε bounds of random weights say nothing. With both, Shi et al. ramp within 20
    epochs where others took hundreds.

    Example:
        >>> hb.IBPLoss().needs_attack, hb.IBPLoss().needs_bounds
        (False, True)
    """

    needs_attack: ClassVar[bool] = False
    needs_bounds: ClassVar[bool] = True

    init: bool = False
    """Draw initial weights from N(0, 2π/n²), n inputs each: then bounds neither grow nor shrink from
    layer to layer. For deep networks; those of a few layers learn better without."""
    regularise: float = 0.0
    """λ of the regularisers (0.5 in the paper): λ·(1 − ε ÷ largest ε)·(tightness + ReLU balance) is
    added to the loss (see `hardball.training.regularisers`)."""
    tolerance: float = 0.5
    """τ of the regularisers: ratios above it are well enough."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.regularise < float("inf"):
            raise UserError(
                f"regularise={self.regularise}; allowed is a finite number, 0 or more (0.5 is usual)"
            )
        if not 0 < self.tolerance <= 1:
            raise UserError(f"tolerance={self.tolerance}; allowed is above 0, up to 1")

    def bounded(self, adversarial: Tensor, labels: Tensor, worst: Tensor) -> Tensor:
        return self.smoothed(worst, labels)

    def penalty(self, box: Box, hidden: Sequence[Box]) -> Tensor:
        """λ·(tightness + ReLU balance); without ReLUs, or for a box without width, 0."""
        if not self.regularise or not hidden:
            return super().penalty(box, hidden)
        tight = tightness(box, hidden, self.tolerance)
        found = self.regularise * (tight + balance(hidden, self.tolerance))
        return torch.where(box.radius.mean() > 0, found, 0.0)

    def prepare(self, model: nn.Module) -> None:
        """Shi et al. 2021, equation 5."""
        if not self.init:
            return
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                inputs = layer.weight[0].numel()
                nn.init.normal_(layer.weight, std=math.sqrt(2 * math.pi) / inputs)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


@dataclass(frozen=True, kw_only=True)
class MTLIBP(IBPLoss):
    """(1 − α)·ℓ(f(x'), y) + α·ℓ(worst, y): a mixture of adversarial training and interval bounds (De
    Palma et al. 2024).

    Example:
        >>> hb.MTLIBP(alpha=0.1).needs_bounds
        True
    """

    needs_attack: ClassVar[bool] = True

    alpha: float = 0.5
    """Share α of the bounds: 0 is adversarial training, 1 is `IBPLoss`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise UserError(f"alpha={self.alpha}; allowed is a share, 0 to 1")

    def bounded(self, adversarial: Tensor, labels: Tensor, worst: Tensor) -> Tensor:
        attacked = self.smoothed(adversarial, labels)
        return (1 - self.alpha) * attacked + self.alpha * self.smoothed(worst, labels)


@dataclass(frozen=True, kw_only=True)
class SABR(IBPLoss):
    """Cross entropy of the worst logits in a small box around the adversarial example (Müller et al.
    2023): less is proved than by `IBPLoss`, and more is learned.

    Example:
        >>> hb.SABR(share=0.4).needs_bounds
        True
    """

    needs_attack: ClassVar[bool] = True

    share: float = 0.4
    """Radius of the box ÷ ε. Its centre is the adversarial example, moved so that the box stays in the
    ball."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise UserError(f"share={self.share}; allowed is 0 to 1")

    def box(self, images: Tensor, adversarial: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        small = self.share * eps
        room = eps - small
        centre = images + (adversarial - images).clamp(-room, room)
        return (centre - small).clamp(min=0), (centre + small).clamp(max=1)


@dataclass(frozen=True, kw_only=True)
class CROWNIBPLoss(IBPLoss):
    """`IBPLoss` on (1 − β)·(interval bounds) + β·(linear relaxation) of the margins, β from `beta` to
    `beta_end` as ε grows (Zhang et al. 2020, without their clean loss).

    Linear bounds are tighter for weights that know nothing of intervals, so the ramp begins with them;
    interval bounds leave the network more freedom at a large ε, so it ends with these. Each is a bound,
    and so is their mean. An update costs some K passes more where β > 0.

    Example:
        >>> hb.CROWNIBPLoss().needs_bounds
        True
    """

    beta: float = 1.0
    """β at ε = 0."""
    beta_end: float = 0.0
    """β at the largest ε."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta", "beta_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)}; allowed is a share, 0 to 1")

    def bounds(
        self, graph: fx.GraphModule, box: Box, labels: Tensor, left: float
    ) -> tuple[Tensor, Sequence[Box]]:
        """The mean, with weights 1 − β and β = beta_end + (beta − beta_end)·left."""
        intervals, hidden = super().bounds(graph, box, labels, left)
        beta = self.beta_end + (self.beta - self.beta_end) * left
        if not beta:
            return intervals, hidden
        linear, _ = relaxed(graph, box, labels, EXACT)
        return (1 - beta) * intervals + beta * linear, hidden


def _log_of_the_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 − max_{k≠y} p_k) [B], as the sum of all other probabilities: exact where 1 − p is not."""
    log_p = F.log_softmax(logits.float(), dim=1)
    wrong = log_p.scatter(1, labels[:, None], -torch.inf).argmax(dim=1, keepdim=True)
    return log_p.scatter(1, wrong, -torch.inf).logsumexp(dim=1)


def _check_weight(beta: float) -> None:
    if not 0 <= beta < float("inf"):
        raise UserError(f"beta={beta}; allowed is a finite number, 0 or more")


OBJECTIVES: dict[str, type[Objective]] = {
    "adversarial": Adversarial,
    "trades": TRADES,
    "mart": MART,
    "ibp": IBPLoss,
    "mtl-ibp": MTLIBP,
    "sabr": SABR,
    "crown-ibp": CROWNIBPLoss,
    "noise": GaussianNoise,
}
"""name → class."""


def objective_class(name: str, *, trusted: bool = True) -> type[Objective]:
    """The class of an objective: a key of `OBJECTIVES`, or "package.module:Class".

    Raises:
        UserError: no such name, or no subclass of `Objective`.
        Untrusted: see `names.find`.
    """
    found = names.find("objective", name, OBJECTIVES, trusted=trusted)
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise UserError(f"objective {name!r} is no class derived from hardball.Objective; name one")
    return found


def objective_from(spec: Mapping[str, Any], *, trusted: bool = True) -> Objective:
    """The objective that `objective_spec` describes.

    Raises:
        UserError: no such objective, or values that it refuses.
        Untrusted: see `names.find`.
    """
    values = {key: value for key, value in spec.items() if key != "name"}
    name = str(spec.get("name"))
    maker = objective_class(name, trusted=trusted)
    found: Objective = names.made("objective", name, maker, **values)
    return found


def objective_spec(objective: Objective) -> dict[str, Any]:
    """Name and fields: what config.yaml says of an objective."""
    values = {field.name: getattr(objective, field.name) for field in fields(objective)}
    return {"name": names.name_of(type(objective), OBJECTIVES), **values}
