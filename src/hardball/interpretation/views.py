"""What a network looks at and what an attack does to it: saliency and perturbations of images.

Shapes: B examples; images, saliency and perturbations [B, C, H, W], labels int64 [B].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hardball.attacks import PGD, Classifier
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.interpretation.saliency import GRADIENT, example_seeds, method_named
from hardball.isolation import untouched
from hardball.perf import measuring
from hardball.threats import ThreatModel

SALIENCY, PERTURBATION = "saliency", "perturbation"


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """Which saliency and which perturbations."""

    norm: str
    eps: float
    """ε of the perturbations."""
    saliency_eps: float
    """ε of the signed attack before the second saliency."""
    methods: Sequence[str] = (GRADIENT,)
    """Keys of `saliency.METHODS`, or package.module:function."""
    steps: int = 100
    """Of both attacks."""
    raw_step_size: float = 5e4
    """Factor on the gradient in the raw attack, the paper's by default."""
    seed: int = 0
    """Of methods that draw random numbers."""
    batch_size: int = 250
    """Images at a time; changes the speed, not the answer."""

    def __post_init__(self) -> None:
        if not self.methods:
            raise UserError("`methods=[]`; name at least one, e.g. gradient")
        for name in ("eps", "saliency_eps"):
            if getattr(self, name) == 0:
                raise UserError(f"`{name}=0` leaves no perturbation to show; pass one above 0")
            ThreatModel(self.norm, getattr(self, name))
        _ = self.attacks  # refuses what no attack takes

    @property
    def attacks(self) -> Mapping[str, PGD]:
        """PGD by the sign of the gradient (in ℓ2 by its direction), and by the gradient itself. Both
        start at the image, not at a random point of the ball, which would be seen in the picture."""
        return {
            "signed": PGD(steps=self.steps, random_start=False, keep="last"),
            "raw": PGD(
                steps=self.steps,
                step_size=self.raw_step_size,
                direction="raw",
                random_start=False,
                keep="last",
            ),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One map for each image."""

    kind: str
    """SALIENCY or PERTURBATION."""
    name: str
    """The method, or the attack."""
    eps: float
    """Of the perturbation, or of the one that the saliency is taken at; 0 for the image itself."""
    values: Tensor
    """[B, C, H, W]"""

    @property
    def key(self) -> tuple[str, str, float]:
        return self.kind, self.name, self.eps


def views(
    model: nn.Module, data: Dataset, settings: ViewSettings, indices: Sequence[int]
) -> list[View]:
    """Per method the saliency at the image and at the perturbed image, then the perturbation of each
    attack. The loss is the cross entropy of the true label, whatever is predicted.

    Args:
        model: images → logits; left as it was.
        data: B images, on the model's device.
        indices: places [B] of the images in the whole data, for what is drawn by place.

    Raises:
        UserError: images that are no [C, H, W], a method that does not exist.
        MissingExtra: a method whose package is not installed.
        NoGradient: the model has none.
    """
    if data.images.dim() != 4:
        raise UserError(
            f"images of shape {list(data.shape)}; allowed is [C, H, W], which can be drawn"
        )
    methods = {name: method_named(name) for name in settings.methods}
    seeds = example_seeds(settings.seed, indices)
    found: dict[tuple[str, str, float], list[Tensor]] = {}
    with untouched(model), measuring(model, data.images):
        for first in range(0, len(data), settings.batch_size):
            part = slice(first, first + settings.batch_size)
            here = data.rows(part)
            before = perturbations(model, here, settings, settings.saliency_eps, ("signed",))
            points = {
                0.0: here.images,
                settings.saliency_eps: here.images + before["signed"],
            }
            for name, method in methods.items():
                for eps, images in points.items():
                    values = method(model, images, here.labels, seeds[part])
                    found.setdefault((SALIENCY, name, eps), []).append(
                        _checked(name, values, images)
                    )
            if settings.eps == settings.saliency_eps:
                rest = perturbations(model, here, settings, settings.eps, ("raw",))
                moved = {**before, **rest}
            else:
                moved = perturbations(model, here, settings, settings.eps, ("signed", "raw"))
            for name, values in moved.items():
                found.setdefault((PERTURBATION, name, settings.eps), []).append(values)
    return [
        View(kind=kind, name=name, eps=eps, values=torch.cat(values))
        for (kind, name, eps), values in found.items()
    ]


def perturbations(
    model: Classifier, data: Dataset, settings: ViewSettings, eps: float, names: Sequence[str]
) -> dict[str, Tensor]:
    """x' − x of the attacks of these names: their final iterates, the gradient followed to the end
    also where the network is wrong already."""
    threat = ThreatModel(settings.norm, eps)
    return {
        name: settings.attacks[name].perturb(model, data.images, data.labels, threat) - data.images
        for name in names
    }


def _checked(name: str, values: object, images: Tensor) -> Tensor:
    """Saliency as a method must return it."""
    if not isinstance(values, Tensor) or values.shape != images.shape:
        came = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise UserError(
            f"saliency method {name!r} returned {came} for images {list(images.shape)}; allowed is a "
            "tensor of the images' shape"
        )
    if not bool(values.isfinite().all()):
        raise UserError(
            f"saliency method {name!r} returned numbers that are not finite; check the weights"
        )
    return values.detach()
