"""Randomised smoothing (Cohen, Rosenfeld & Kolter 2019, arXiv 1902.02918): certificates in ℓ2 for the
classifier g(x) = argmax_c P[f(x + δ) = c], δ ~ N(0, σ²I), by Monte Carlo.

Shapes: B images, K classes; images [B, ...], counts int64 [B, K], labels and predictions int64 [B].

Floating point: x + δ in floats tells f more than the real number x + δ would, which can make a radius
too large (Voráček & Hein 2023, arXiv 2207.07209). Here, as they propose, x and δ are rounded to one
grid, on which float32 adds exactly. Rounding commutes with adding a point of the grid, so what is
sampled is f ∘ round under the true Gaussian, and the theorem holds for that. What two images may move
to the grid is taken off the radius.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hardball.errors import CannotRun, UserError
from hardball.isolation import evaluating, untouched
from hardball.seeding import derive
from hardball.validation import logits_of_copy, validate_images

Model = Callable[[Tensor], Tensor]

ABSTAIN = -1
"""The prediction where no class is certain enough."""

BLOCK = 50
"""Samples of an image that are drawn from one seed: the noise does not depend on the batch size."""

FURTHEST = 10.0
"""No draw of double precision lies so many σ from the mean."""

MANTISSA = 24
"""Bits of a float32."""

CAVEAT = (
    "Images and noise lie on one grid of float32, where their sums are exact (Voráček & Hein 2023). The "
    "certificates still rest on pseudo-random numbers, and on a network that answers the same input alike."
)
"""What a certificate still rests on."""


def lower_bound(hits: Tensor, n: int, alpha: float) -> Tensor:
    """The one-sided Clopper–Pearson bound: the p [B] at which `hits` [B] of `n` or more have the
    probability α. A Binomial(n, p) exceeds it with probability 1 − α at least.

    Args:
        hits: int64 [B], each in 0 … n.
        n: draws, 1 or more.
        alpha: in (0, 1).
    """
    from scipy.stats import beta

    counted = hits.cpu().double().numpy()
    # the quantile of Beta(0, ·) is undefined; the bound is 0 there
    bound = beta.ppf(alpha, counted.clip(min=1), n - counted + 1)
    return torch.as_tensor(bound).masked_fill(hits.cpu() == 0, 0.0)


def gaussian_quantile(p: Tensor) -> Tensor:
    """Φ⁻¹, in double precision."""
    found: Tensor = torch.special.ndtri(p.double())
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothCertificate:
    """What `certify_smooth` found of B images.

    Example:
        >>> found = hb.certify_smooth(model, test.images[:2], sigma=0.5, samples=(10, 100))
        >>> print((found.radius >= 0).all())
        tensor(True)
    """

    sigma: float
    alpha: float
    samples: tuple[int, int]
    """(n₀, n): draws to choose the class, and to bound its probability."""
    selection: Tensor
    """Of n₀ draws, how many f put in each class, int64 [B, K] on the CPU."""
    counts: Tensor
    """Of n further draws, int64 [B, K]."""
    slack: float
    """ℓ2 distance that rounding to the grid may move two images, together."""

    @property
    def chosen(self) -> Tensor:
        """ĉ [B]: the class of most of the n₀ draws (the first of those that tie)."""
        return self.selection.argmax(dim=1)

    @property
    def p_lower(self) -> Tensor:
        """Lower bound on P[f(x + δ) = ĉ], float64 [B], wrong with probability α at most."""
        hits = self.counts.gather(1, self.chosen[:, None]).squeeze(1)
        return lower_bound(hits, self.samples[1], self.alpha)

    @property
    def prediction(self) -> Tensor:
        """ĉ, or `ABSTAIN` where the bound is not above ½, int64 [B]."""
        return self.chosen.where(self.radius > 0, ABSTAIN)

    @property
    def radius(self) -> Tensor:
        """g is ĉ within this ℓ2 distance of the image, float64 [B]: σ·Φ⁻¹(p), less `slack`; 0 where it
        abstains."""
        p = self.p_lower.clamp(min=0.5)
        return (self.sigma * gaussian_quantile(p) - self.slack).clamp(min=0)

    @property
    def abstained(self) -> Tensor:
        """bool [B]: no class is certain enough."""
        return self.prediction == ABSTAIN

    def certified(self, labels: Tensor, radius: float) -> Tensor:
        """bool [B]: the prediction is `labels` [B], and certainly so for all images within `radius`."""
        return (self.prediction == labels.cpu()) & (self.radius > radius)


def certify_smooth(
    model: Model,
    images: Tensor,
    *,
    sigma: float,
    samples: tuple[int, int] = (100, 10_000),
    alpha: float = 0.001,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    batch_size: int = 1000,
    after: Callable[[], object] = lambda: None,
) -> SmoothCertificate:
    """CERTIFY of Cohen et al.: a class for each image and the ℓ2 radius within which the smoothed
    classifier g cannot leave it.

    For each image: (1) n₀ draws of f(x + δ), δ ~ N(0, σ²I), not clipped, choose the class ĉ; (2) n
    further draws give a lower bound p on P[f(x + δ) = ĉ] (Clopper–Pearson, one-sided, level α);
    (3) if p > ½, g is ĉ on the ball of radius σ·Φ⁻¹(p); else it abstains. Each image's certificate is
    wrong with probability α at most. f should be trained with this noise (`GaussianNoise`).

    The certificate is of g, not of f: to answer as certified, an image must be classified by g, with
    draws of its own. It allows x' outside [0, 1], too.

    Args:
        model: f, images [B, ...] → logits [B, K]; it is called in evaluation mode and left as it was.
        images: [B, ...] in [0, 1], on the model's device.
        sigma: σ of the noise, in pixel units.
        samples: (n₀, n) draws of each image, n ≥ n₀ ≥ 1. No radius exceeds σ·Φ⁻¹(α^(1/n)).
        alpha: probability of a wrong certificate, in (0, 1), for each image.
        seed: of the noise; that of an image depends on `seed` and its index alone.
        indices: the images' places in their data; by default 0 … B − 1.
        batch_size: draws at a time (whole blocks of one image); changes speed and memory.
        after: called after each image.

    Returns:
        The counts, and what follows from them.

    Raises:
        UserError: a value outside its range, images that are not as described.
        CannotRun: the model ends in an error, or a batch does not fit into memory.

    Source: Cohen, Rosenfeld & Kolter, ICML 2019, arXiv 1902.02918. The arithmetic is that of Voráček &
    Hein, ICLR 2023, arXiv 2207.07209: images and noise on a grid of float32, where sums are exact.
    What remains: the random numbers are pseudo-random, and f must answer the same input alike.

    Example:
        >>> found = hb.certify_smooth(model, test.images[:2], sigma=0.5, samples=(10, 100))
        >>> found.counts.shape[0]
        2
    """
    check_smoothing(sigma=sigma, samples=samples, alpha=alpha, batch_size=batch_size)
    validate_images(images)
    places = range(len(images)) if indices is None else indices
    if len(places) != len(images):
        raise UserError(f"{len(places)} indices for {len(images)} images; pass one for each")
    step = grid_step(sigma)
    found: list[tuple[Tensor, Tensor]] = []
    with evaluating(model), untouched(model), torch.no_grad():
        for place, image in zip(places, images, strict=True):
            noisy = _Noisy(
                model, on_grid(image.cpu(), step).to(image.device), sigma, step, derive(seed, place)
            )
            found.append(
                (noisy.counts(samples[0], 0, batch_size), noisy.counts(samples[1], 1, batch_size))
            )
            after()
    none = torch.zeros(0, 1, dtype=torch.int64)
    return SmoothCertificate(
        sigma=sigma,
        alpha=alpha,
        samples=samples,
        selection=torch.stack([one for one, _ in found]) if found else none,
        counts=torch.stack([two for _, two in found]) if found else none,
        slack=slack_of(images[0:1].numel(), sigma),
    )


def check_smoothing(
    *, sigma: float, samples: Sequence[int], alpha: float, batch_size: int = 1
) -> None:
    """See that these can be the settings of a certificate.

    Raises:
        UserError: naming the one that cannot.
    """
    if not 0 < sigma < math.inf:
        raise UserError(f"`sigma={sigma}`; allowed is a finite number above 0, in pixel units")
    if not 0 < alpha < 1:
        raise UserError(f"`alpha={alpha}`; allowed is a probability between 0 and 1, e.g. 0.001")
    if len(samples) != 2:
        raise UserError(
            f"`samples={list(samples)}`; allowed are two numbers, to choose the class and to bound its "
            "probability, e.g. 100 and 10000"
        )
    first, second = samples
    if not 1 <= first <= second:
        raise UserError(
            f"`samples={first},{second}`; allowed are N0,N with 1 ≤ N0 ≤ N, e.g. 100,10000"
        )
    if batch_size < 1:
        raise UserError(f"`batch_size={batch_size}`; allowed is 1 or more")


def largest_radius(sigma: float, n: int, alpha: float) -> float:
    """What is certified where all n draws agree: σ·Φ⁻¹(α^(1/n))."""
    best = lower_bound(torch.tensor([n]), n, alpha)
    return max(0.0, float(sigma * gaussian_quantile(best)))


def grid_step(sigma: float) -> float:
    """A power of two on whose multiples float32 adds image and noise exactly."""
    reach = 1 + FURTHEST * sigma
    return 2.0 ** (math.ceil(math.log2(reach)) - MANTISSA)


def slack_of(pixels: int, sigma: float) -> float:
    """Each pixel of two images moves by half a step at most: √d·step."""
    return math.sqrt(pixels) * grid_step(sigma)


def on_grid(values: Tensor, step: float) -> Tensor:
    """The nearest multiples of `step`, in float32."""
    return ((values.double() / step).round() * step).float()


@dataclass(frozen=True, eq=False)
class _Noisy:
    """Draws of one image."""

    model: Model
    image: Tensor  # on the grid
    sigma: float
    step: float
    seed: int

    def counts(self, n: int, stage: int, batch_size: int) -> Tensor:
        """How many of n draws f puts in each class, int64 [K]."""
        blocks = math.ceil(n / BLOCK)
        at_once = max(1, batch_size // BLOCK)
        found: Tensor | None = None
        for first in range(0, blocks, at_once):
            last = min(blocks, first + at_once)
            noise = torch.cat([self._block(stage, place) for place in range(first, last)])
            noise = noise[: n - first * BLOCK].to(self.image.device)
            logits = answers(self.model, self.image + noise)
            here = logits.argmax(dim=1).bincount(minlength=logits.shape[1]).cpu()
            found = here if found is None else found + here
        assert found is not None
        return found

    def _block(self, stage: int, place: int) -> Tensor:
        # drawn on the CPU: the same on every device
        generator = torch.Generator().manual_seed(derive(self.seed, stage, place))
        shape = (BLOCK, *self.image.shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        return on_grid(self.sigma * noise, self.step)


def answers(model: Model, batch: Tensor) -> Tensor:
    """Logits [B, K].

    Raises:
        CannotRun: the model ends in an error, or the batch does not fit into memory.
    """
    try:
        return logits_of_copy(model, batch)
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in reason:
            raise CannotRun(
                f"no memory for {len(batch)} images at a time; use a smaller `batch_size`"
            ) from error
        raise CannotRun(f"the model ends in an error on {len(batch)} images: {reason}") from error
