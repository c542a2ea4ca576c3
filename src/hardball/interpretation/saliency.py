"""Saliency: how the loss changes with each pixel, by methods with names.

Shapes: B examples, K classes; images and saliency [B, ...], labels int64 [B].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hardball.attacks import Classifier
from hardball.errors import NoGradient, UserError
from hardball.extras import missing
from hardball.losses import cross_entropy
from hardball.names import find
from hardball.seeding import derive
from hardball.threats import per_example
from hardball.validation import validate_logits

Method = Callable[[Classifier, Tensor, Tensor, Sequence[int]], Tensor]
"""(model, images, labels, one seed per example) → saliency of the shape of the images, with its
sign: positive where more of the pixel raises the loss."""


def loss_gradient(
    model: Classifier, images: Tensor, labels: Tensor, seeds: Sequence[int] = ()
) -> Tensor:
    """∇ₓ ℓ(f(x), y), the gradient of the cross entropy of each example in its pixels.

    It is the gradient of Σ_k c_k·z_k with c = softmax(z) − onehot(y). c is computed in double
    precision and c_y as −Σ_{k≠y} c_k: in single precision softmax(z)_y − 1 is rounded to 0 for a
    confident network, and what is left of the gradient then points elsewhere.
    """
    with torch.enable_grad():
        point = images.detach().clone().requires_grad_(True)
        logits = validate_logits(model(point), len(images))
        share = logits.detach().double().softmax(dim=1).scatter(1, labels[:, None], 0.0)
        weight = share.scatter(1, labels[:, None], -share.sum(dim=1, keepdim=True))
        # backwards at size 1, so that nothing on the way underflows
        size = weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        found: Tensor | None = None
        if logits.requires_grad:
            (found,) = torch.autograd.grad(
                logits, point, grad_outputs=(weight / size).to(logits), allow_unused=True
            )
    if found is None:
        raise NoGradient(
            "no gradient flows from the model's logits to its images; saliency needs one: remove "
            "no_grad, detach, argmax or rounding from the model"
        )
    return found * per_example(size.squeeze(1), found).to(found)


BASELINE = 0.0
"""Where the path of integrated gradients begins: a black image."""

PATH_STEPS = 32
"""Points on that path."""

NOISY_COPIES = 32
"""Images that SmoothGrad averages over."""

NOISE = 0.15
"""Their standard deviation, in pixel units (Smilkov et al. 2017 use 10% to 20% of the range)."""


def integrated_gradients(
    model: Classifier, images: Tensor, labels: Tensor, seeds: Sequence[int]
) -> Tensor:
    """(x − x₀)·∫ ∇ℓ(x₀ + t(x − x₀)) dt from a black image x₀ (Sundararajan et al. 2017), by captum:
    sums to ℓ(x) − ℓ(x₀)."""
    method = require_captum().IntegratedGradients(_loss_of(model))
    return _one_by_one(
        images,
        labels,
        lambda one, label, _: method.attribute(
            one, baselines=BASELINE, additional_forward_args=(label,), n_steps=PATH_STEPS
        ),
        seeds,
    )


def smoothgrad(model: Classifier, images: Tensor, labels: Tensor, seeds: Sequence[int]) -> Tensor:
    """The mean loss gradient over copies of the image with Gaussian noise, not clipped to the box
    (Smilkov et al. 2017), by captum."""
    captum = require_captum()
    method = captum.NoiseTunnel(captum.Saliency(_loss_of(model)))

    def attribute(one: Tensor, label: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)  # captum draws from the global state, which the caller restores
        found: Tensor = method.attribute(
            one,
            nt_type="smoothgrad",
            nt_samples=NOISY_COPIES,
            stdevs=NOISE,
            additional_forward_args=(label,),
            abs=False,
        )
        return found

    return _one_by_one(images, labels, attribute, seeds)


GRADIENT = "gradient"

METHODS: Mapping[str, Method] = {
    GRADIENT: loss_gradient,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
}
"""name → method; all but the gradient need captum (extra `explain`)."""


def method_named(name: str) -> Method:
    """A method of the table, or package.module:function of your own.

    Raises:
        UserError: no such method.
        MissingExtra: one of captum's, which is not installed.
    """
    found = find("saliency method", name, METHODS)
    if not callable(found):
        raise UserError(f"saliency method {name!r} is a {type(found).__name__}; name a function")
    if found in (integrated_gradients, smoothgrad):
        require_captum()
    method: Method = found
    return method


def require_captum() -> Any:
    """captum's attributions; asked for before anything long is done.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from captum import attr
    except ImportError as error:
        raise missing("integrated-gradients and smoothgrad need", "captum") from error
    return attr


def example_seeds(seed: int, indices: Sequence[int]) -> list[int]:
    """What a method draws for an image depends on its index alone."""
    return [derive(seed, index) for index in indices]


def _loss_of(model: Classifier) -> Callable[[Tensor, Tensor], Tensor]:
    """images, labels → cross entropy [B]. captum repeats the labels as it repeats the images."""
    return lambda images, labels: cross_entropy(model(images), labels)


def _one_by_one(
    images: Tensor,
    labels: Tensor,
    attribute: Callable[[Tensor, Tensor, int], Tensor],
    seeds: Sequence[int],
) -> Tensor:
    """Each image alone, so that its saliency depends on no companion; captum's copies of it are the
    batch."""
    with torch.enable_grad():
        found = [
            attribute(images[i : i + 1], labels[i : i + 1], seed).detach()
            for i, seed in enumerate(seeds)
        ]
    return torch.cat(found).to(images.dtype) if found else images.clone()
