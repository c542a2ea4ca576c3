"""Black-box attacks through the adversarial-robustness-toolbox (ART).

Shapes: B batch, K classes; images [B, ...], labels int64 [B]; Q queries, images of one example.
"""

import logging
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardball.attacks.adapters import (
    Guarded,
    by_eps,
    extra,
    four,
    seed_of,
)
from hardball.attacks.base import Attack
from hardball.attacks.result import take
from hardball.errors import Unsupported, UserError, unknown
from hardball.losses import correct
from hardball.threats import Generator, ThreatModel

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What this module must know about one attack of ART."""

    iterations: int
    """ART's default."""
    queries: Callable[[int], int]
    """iterations → passes forward per example, roughly."""
    norms: dict[str, float]
    """Our name → ART's, of the norms that it can attack in."""


KINDS = {
    "zoo": Kind(
        iterations=10,
        queries=lambda iterations: (2 * ZOO_PARALLEL + 1) * iterations,
        # it minimises the ℓ2 distance, whatever the ball it is judged in
        norms={"linf": 2, "l2": 2, "l0": 2, "unbounded": 2},
    ),
    "hopskipjump": Kind(
        iterations=50,
        # Σ 100·√i
        queries=lambda iterations: round(100 * iterations**1.5 / 1.5),
        norms={"linf": math.inf, "l2": 2, "unbounded": math.inf},
    ),
    "square": Kind(
        iterations=100,
        queries=lambda iterations: 3 * iterations,
        norms={"linf": math.inf, "l2": 2},
    ),
}
"""name → what it is. ZOO (Chen et al. 2017) estimates the gradient by finite differences of the logits,
HopSkipJump (Chen et al. 2019) sees decisions only, Square (Andriushchenko et al. 2019) tries squares."""

STARTS = 100
"""Random images of each sort in which HopSkipJump looks for a start; ART takes 100 of one sort."""

BLOB = 4
"""Side of the squares of a start."""

ZOO_SIDE = 32
"""The side on which ART's ZOO starts to work."""

ZOO_PARALLEL = 128
"""Coordinates that it changes in an iteration, by default."""

STUCK = 50
"""The same query so many times in a row: a loop of ART's that does not end."""


@dataclass(frozen=True, kw_only=True)
class ARTAttack(Attack):
    """An attack of ART with ART's defaults unless set otherwise.

    ZOO and HopSkipJump look for a near example, not for one inside the ball. So every query is watched,
    and the first that is misclassified inside ball and box ends the search for that image; else what
    the attack returns is brought into ball and box and judged there. The random numbers of an image are
    its own. Square attacks `chunk` images together and its random numbers depend on them.

    Three things are done differently from ART. ZOO's changes may darken a pixel too: ART clips the
    *change* to the limits given for the pixels, and these are given to the model instead. ZOO works on
    32×32 pixels where a square image is larger, as its authors do, but does not enlarge a smaller one,
    which blurs it and takes a hundred times as long (and ART's code fails where height and width
    differ). HopSkipJump's start comes from the generator (ART's own cannot be seeded): uniform noise as
    there, else black, white, the inverted image, sparse noise, or black and white squares; an image for
    which none is misclassified is not broken.

    `loss` is the margin max_{j≠y} z_j − z_y.

    Raises:
        UserError: unknown kind, a number below 1; when called: the package is missing, a norm that the
            attack does not know, images too small for `square`.

    Example:
        >>> attack = hb.ARTAttack(kind="hopskipjump", iterations=2)
        >>> attack.uses_gradients
        False
    """

    kind: str = "square"
    """A key of `KINDS`."""
    iterations: int | None = None
    """ART's `max_iter`; None: its default."""
    searches: int = 1
    """Of ZOO, for the weight of its attack term against the distance (×10 after a failure)."""
    weight: float = 1e-3
    """The first of these weights. ART's default keeps so near to the image that hardly anything falls:
    where only the ball matters, 1000 is far stronger."""
    queries: int | None = None
    """At most so many passes forward for an image (ZOO and HopSkipJump); the search then ends."""
    chunk: int = 50
    """Examples at a time."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind", self.kind, KINDS)
        for field in ("iterations", "searches", "queries", "chunk"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise UserError(f"{field}={value}; allowed is 1 or more")
        if not 0 < self.weight < math.inf:
            raise UserError(f"weight={self.weight}; allowed is a positive number")
        if self.kind == "square" and self.queries is not None:
            raise UserError(
                f"queries={self.queries} for square, which makes 3 in an iteration; use "
                "iterations instead"
            )

    @property
    def cost(self) -> int:
        """Sample-steps per example if nothing falls early; a pass forward alone is a third of one."""
        kind = KINDS[self.kind]
        expected = self.searches * kind.queries(self.iterations or kind.iterations)
        return max(1, min(expected, self.queries or expected) // 3)

    @property
    def uses_gradients(self) -> bool:
        return False

    def cheapest(self) -> "ARTAttack":
        queries = self.queries if self.queries is None else 1
        iterations = self.iterations if self.iterations is None else 1
        return replace(self, iterations=iterations, queries=queries)

    def validate(self, images: Tensor, threat: ThreatModel) -> None:
        self._packages()
        norms = KINDS[self.kind].norms
        if threat.norm not in norms:
            raise Unsupported(
                f"{self.kind} in the norm {threat.norm}; allowed are {', '.join(norms)}: use PGD"
            )
        if self.kind != "square":
            return
        _, height, width = four(images.shape[1:])
        # ART draws a place for its first square, which must be smaller than the image
        side = round(math.sqrt(0.8 * height * width))
        if threat.norm == "l2":
            side = max(side, 3) + (max(side, 3) % 2 == 0)
        if side >= min(height, width) or (threat.norm == "l2" and height < 10):
            raise Unsupported(
                f"square in {threat.norm} on images of {height}×{width}, which is too small or too far "
                "from square for ART's; use AutoAttackPart(name='square')"
            )

    def _packages(self) -> tuple[Any, Any]:
        with _silent():
            evasion = extra("art.attacks.evasion", self.kind)
            return evasion, extra("art.estimators.classification", self.kind)

    def search(
        self,
        model: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: Generator,
    ) -> Tensor:
        evasion, estimators = self._packages()
        model.what = self.kind
        proposed = images.clone()
        with _silent():
            for eps, rows in by_eps(threat, torch.arange(len(images), device=images.device)):
                for part in torch.split(rows, self.chunk if self.kind == "square" else 1):
                    seed = seed_of(take(generator, part))
                    ball = threat.rows(part)
                    seen = _Seen(model, images[part], labels[part], ball, self.queries)
                    proposed[part] = self._found(
                        evasion, estimators, seen, model.classes, eps, seed
                    )
        return proposed

    def _found(
        self, evasion: Any, estimators: Any, seen: "_Seen", classes: int, eps: float, seed: int
    ) -> Tensor:
        """What the attack proposes for the images that `seen` watches, [R, ...]."""
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what ART draws from
        images = seen.guarded.images(seen.images)
        ask = seen.classified if self.kind == "square" else seen.watched
        # ART would ask in batches of its own, ZOO one image at a time
        asked = {"predict": lambda _, queries, *args, **kwargs: ask(queries)}
        estimator = type("Asked", (estimators.BlackBoxClassifierNeuralNetwork,), asked)(
            ask,
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=None if self.kind == "zoo" else (0.0, 1.0),
        )
        truth = np.eye(classes, dtype=np.float32)[seen.labels.cpu().numpy()]
        try:
            found = self._run(evasion, estimator, seen, images, truth, eps, seed)
        except _Over as over:
            return seen.images if over.found is None else over.found
        return seen.guarded.original(torch.from_numpy(np.asarray(found, dtype=np.float32)))

    def _run(
        self,
        evasion: Any,
        estimator: Any,
        seen: "_Seen",
        images: Tensor,
        truth: Array,
        eps: float,
        seed: int,
    ) -> Array:
        """What ART returns, [R, C, H, W]."""
        settings: dict[str, Any] = {"verbose": False}
        if self.iterations is not None:
            settings["max_iter"] = self.iterations
        plain: Array = images.cpu().numpy()
        found: Array
        if self.kind == "zoo":
            attack = evasion.ZooAttack(
                estimator,
                binary_search_steps=self.searches,
                initial_const=self.weight,
                use_resize=plain.shape[2] == plain.shape[3] > ZOO_SIDE,
                nb_parallel=min(ZOO_PARALLEL, plain[0].size),
                **settings,
            )
            # a black image would stop it: it asserts that some pixel is not 0
            found = attack.generate(np.maximum(plain, np.float32(1e-6)), truth)
            return found
        settings["norm"] = KINDS[self.kind].norms[seen.threat.norm]
        if self.kind == "square":
            found = evasion.SquareAttack(estimator, eps=eps, **settings).generate(plain, truth)
            return found
        start = seen.start(images, seed)
        attack = evasion.HopSkipJump(estimator, **settings)
        found = plain if start is None else attack.generate(plain, truth, x_adv_init=start)
        return found


class _Over(Exception):
    """The search for one image has ended before the attack was through."""

    def __init__(self, found: Tensor | None) -> None:
        self.found = found


class _Seen:
    """The images under attack, and the model as ART queries it."""

    def __init__(
        self,
        guarded: Guarded,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        limit: int | None,
    ) -> None:
        self.guarded, self.images, self.labels, self.threat = guarded, images, labels, threat
        self.limit = math.inf if limit is None else guarded.forwards + limit
        """Of `guarded.forwards`."""
        self.last: Array | None = None
        self.repeats = 0

    def classified(self, queries: Array) -> Array:
        """Logits [Q, K] of the queries, clipped to the box."""
        points = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)).clamp(0, 1)
        logits: Array = self.guarded(points).cpu().numpy()
        return logits

    def watched(self, queries: Array) -> Array:
        """The same for the one image under attack.

        Raises:
            _Over: one of the queries is what is looked for, or there were too many.
        """
        if self.guarded.forwards + len(queries) > self.limit or self._stuck(queries):
            raise _Over(None)
        logits = self.classified(queries)
        device = self.labels.device
        wrong = ~correct(torch.from_numpy(logits).to(device), self.labels.expand(len(queries)))
        if wrong.any():
            points = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32)).clamp(0, 1)
            points = self.guarded.original(points)[wrong]
            rows = torch.zeros(len(points), dtype=torch.int64, device=device)
            inside = self.threat.rows(rows).allows(points, self.images[rows], slack=0.0)
            if inside.any():
                raise _Over(points[inside][:1])
        return logits

    def _stuck(self, queries: Array) -> bool:
        same = self.last is not None and np.array_equal(self.last, queries)
        self.repeats = self.repeats + 1 if same else 0
        self.last = queries.copy()
        return self.repeats >= STUCK

    def start(self, images: Tensor, seed: int) -> Array | None:
        """A misclassified image [1, C, H, W] from which HopSkipJump walks to the boundary.

        Raises:
            _Over: one lies inside the ball already.
        """
        source = torch.Generator().manual_seed(seed)
        shape = (STARTS, *images.shape[1:])
        noise = torch.rand(shape, generator=source)
        sparse = (torch.rand(shape, generator=source) < 0.1).float()
        small = (*shape[:2], *(-(-side // BLOB) for side in shape[2:]))
        blobs = torch.rand(small, generator=source).round()
        blobs = blobs.repeat_interleave(BLOB, 2).repeat_interleave(BLOB, 3)
        image = images.cpu()
        flat = torch.cat([torch.zeros_like(image), torch.ones_like(image), 1 - image])
        starts: Array = torch.cat(
            [noise, flat, sparse, blobs[:, :, : shape[2], : shape[3]]]
        ).numpy()
        wrong = ~correct(
            torch.from_numpy(self.watched(starts)), self.labels.cpu().expand(len(starts))
        )
        first = int(wrong.int().argmax())
        return starts[first : first + 1] if wrong.any() else None


@contextmanager
def _silent() -> Iterator[None]:
    """ART logs through children of one logger; it divides by zero and then drops the result, and so
    do we (see `judged`)."""
    logger = logging.getLogger("art")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logger.setLevel(before)
