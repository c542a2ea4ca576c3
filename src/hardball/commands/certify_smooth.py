"""Certificates of a run's smoothed classifier: what `hardball certify-smooth` does.

Each image's counts are a function of weights, pixels, σ, N0, N, the seed and its place in the data. They
are kept in the result itself, so that a killed run goes on where it was, and a larger n reuses them.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hardball import environment, storage
from hardball._version import __version__
from hardball.certify.smoothing import (
    CAVEAT,
    SmoothCertificate,
    answers,
    certify_smooth,
    check_smoothing,
    largest_radius,
    slack_of,
)
from hardball.commands.pictures import (
    Show,
    compact_json,
    folder_for,
    refuse_without_weights,
    silent,
)
from hardball.commands.subject import LoadConfig, Split, Subject, config_of, subject
from hardball.commands.words import flags_of
from hardball.errors import Damaged, Unsupported, UserError
from hardball.evaluation.forward import accepting
from hardball.evaluation.results import Accuracy
from hardball.runs import noise_of

SECONDS_BETWEEN_SAVES = 30.0


@dataclass(frozen=True, kw_only=True)
class SmoothConfig(LoadConfig):
    """What to certify, and how."""

    run: Path = field(kw_only=False)
    """A run, or a weights file (then name data and model)."""
    sigma: float | None = None
    """σ of the noise, in pixel units; by default the one trained with."""
    n: int | None = None
    """Number of images, from the first (500 by default, or all if there are fewer)."""
    radii: float | list[float] | None = None
    """ℓ2 radii to report at, e.g. '[0, 0.5, 1]'; by default 0 to 3σ in steps of σ/2."""
    samples: list[int] | str = "100,10000"
    """N0,N: draws of each image to choose its class, and to bound that class's probability."""
    alpha: float = 0.001
    """Probability of a wrong certificate, for each image."""
    norm: str = "l2"
    """Gaussian noise certifies l2 only."""
    split: Split = "test"
    """The part of the data: test or train."""
    seed: int = 0
    """Of the noise."""
    batch_size: int = 1000
    """Draws at a time."""
    out: Path | None = None
    """Folder for smoothing-SIGMA.json; by default the run."""

    def __post_init__(self) -> None:
        if self.norm != "l2":
            raise Unsupported(
                f"`norm={self.norm}` for randomised smoothing with Gaussian noise; allowed is l2"
            )
        if self.n is not None and self.n < 1:
            raise UserError(f"`n={self.n}`; allowed is 1 or more")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"`seed={self.seed}`; allowed is 0 or more, below 2⁶³")
        check_smoothing(
            sigma=1.0 if self.sigma is None else self.sigma,
            samples=self.draws,
            alpha=self.alpha,
            batch_size=self.batch_size,
        )
        self.radii_at(1.0)

    @property
    def draws(self) -> tuple[int, ...]:
        """(N0, N), if these are two.

        Raises:
            UserError: no whole numbers.
        """
        given = self.samples.split(",") if isinstance(self.samples, str) else self.samples
        try:
            return tuple(int(one) for one in given)
        except ValueError:
            raise UserError(
                f"`samples={self.samples}`; allowed are two whole numbers N0,N, e.g. 100,10000"
            ) from None

    def radii_at(self, sigma: float) -> list[float]:
        """Those to report at, rising.

        Raises:
            UserError: none, or one that is no radius.
        """
        given = [sigma * k / 2 for k in range(7)] if self.radii is None else self.radii
        found = [float(r) for r in (given if isinstance(given, list) else [given])]
        if not found:
            raise UserError("`radii=[]`; name at least one ℓ2 radius, e.g. '[0, 0.5, 1]'")
        for radius in found:
            if not 0 <= radius < math.inf:
                raise UserError(
                    f"radius {radius} in `radii`; allowed is a finite number, 0 or more"
                )
        return sorted(set(found))

    def command(self, sigma: float) -> str:
        """What remakes the result, apart from where files are."""
        flags = flags_of(self, never=("run", "data_root", "device", "out", "sigma", "samples"))
        samples = ",".join(map(str, self.draws))
        return " ".join(
            [
                "hardball certify-smooth",
                str(self.run),
                f"--sigma {sigma:g} --samples {samples}",
                *flags,
            ]
        )


def certify_run(config: SmoothConfig, show: Show = silent) -> dict[str, Any]:
    """Certify the first n images, write smoothing-SIGMA.json and return it.

    Raises:
        UserError: values that are refused, a run without σ or weights, results of other settings there.
        CannotRun: the network ends in an error, or a batch does not fit into memory.
    """
    sigma = _sigma(config)
    refuse_without_weights(config.run)
    place = folder_for(config.out, config.run) / f"smoothing-{sigma:g}.json"
    found = subject(config.of(config.run, config.split))
    whole = len(found.data)
    config = replace(config, n=min(500, whole) if config.n is None else config.n)
    if (config.n or 0) > whole:
        raise UserError(
            f"`n={config.n}` of the {whole} {config.split} images; allowed is 1 … {whole}"
        )
    asked = _asked(config, sigma, found)
    found = replace(found, data=found.data.rows(slice(0, config.n)))
    known = _known(place, asked, found)
    _try_out(config, found)
    busy = f"another process certifies into {place}; wait for it, or choose another `out`"
    with storage.locked(place.with_suffix(".lock"), busy):
        record = _record(config, asked, found, known, show, place)
    place.with_suffix(".lock").unlink(missing_ok=True)
    return record


def _sigma(config: SmoothConfig) -> float:
    """σ asked for, or trained with.

    Raises:
        UserError: neither.
    """
    if config.sigma is not None:
        return config.sigma
    trained = noise_of(config_of(config.run))
    if trained is None:
        raise UserError(
            f"{config.run} was not trained with noise; pass the σ to smooth with, e.g. `sigma=0.5` (a "
            "network that never saw noise is seldom right under it)"
        )
    return trained


def _asked(config: SmoothConfig, sigma: float, found: Subject) -> dict[str, Any]:
    """What the counts depend on, beside the images."""
    return {
        "data": found.data.name,
        "split": config.split,
        "weights_sha256": found.weights_sha256,
        "sigma": sigma,
        "samples": list(config.draws),
        "seed": config.seed,
    }


def _known(place: Path, asked: Mapping[str, Any], found: Subject) -> dict[int, dict[str, Any]]:
    """Counts that are there already, by image.

    Raises:
        UserError: those of other settings, weights or images.
        Damaged: no result of this command, or changed since.
    """
    if not place.exists():
        return {}
    try:
        there = json.loads(storage.read_sealed(place, "certificates"))
        rows = {row["index"]: row for row in there["images"]}
        before = {name: there[name] for name in asked}
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged(f"{place} holds no certificates; move it away") from error
    for name, value in asked.items():
        if before[name] != value:
            raise UserError(
                f"{place} has {name} {before[name]}, and {value} is asked for; move it away, or choose "
                "another `out`"
            )
    for index, row in rows.items():
        if index < len(found.data) and row["sha256"] != _pixels(found.data.images[index]):
            raise UserError(
                f"{place} is about other images: number {index} differs; move it away, or pass the "
                "`data` it was made with"
            )
    return rows


def _pixels(image: Tensor) -> str:
    return storage.digest(image.float().contiguous().cpu().numpy().tobytes())[:16]


@torch.no_grad()
def _try_out(config: SmoothConfig, found: Subject) -> None:
    """One whole batch: that it fits into memory is seen before any work.

    Raises:
        CannotRun: it does not.
    """
    count = min(config.batch_size, config.draws[1])
    image = found.data.images[:1]
    try:
        batch = image.expand(count, *image.shape[1:]).contiguous()
    except RuntimeError as error:
        raise UserError(
            f"no memory for `batch_size={config.batch_size}` images; use a smaller one"
        ) from error
    answers(accepting(found.network, image.dtype), batch)


def _record(
    config: SmoothConfig,
    asked: Mapping[str, Any],
    found: Subject,
    rows: dict[int, dict[str, Any]],
    show: Show,
    place: Path,
) -> dict[str, Any]:
    """Count what is missing, saving now and then, and at last write what follows from the counts."""
    began = time.monotonic()
    left = [index for index in range(len(found.data)) if index not in rows]
    model, tick = accepting(found.network, torch.float32), show("images", len(left))
    draws = (config.draws[0], config.draws[1])
    with _saved_at_last(place, asked, rows):
        for index in left:
            one = certify_smooth(
                model,
                found.data.images[index : index + 1],
                sigma=asked["sigma"],
                samples=draws,
                alpha=config.alpha,
                seed=config.seed,
                indices=[index],
                batch_size=config.batch_size,
            )
            rows[index] = {
                "index": index,
                "label": int(found.data.labels[index]),
                "sha256": _pixels(found.data.images[index]),
                "selection": one.selection[0].tolist(),
                "counts": one.counts[0].tolist(),
            }
            tick()
            if time.monotonic() - began > SECONDS_BETWEEN_SAVES:
                began = time.monotonic()
                _write(place, asked, rows, {"complete": False})
    record = _summary(config, asked, found, rows)
    return _write(place, asked, rows, record)


@contextmanager
def _saved_at_last(
    place: Path, asked: Mapping[str, Any], rows: dict[int, dict[str, Any]]
) -> Iterator[None]:
    """What was counted is kept, whatever ends the counting."""
    try:
        yield
    except BaseException:
        if rows:
            _write(place, asked, rows, {"complete": False})
        raise


def _write(
    place: Path,
    asked: Mapping[str, Any],
    rows: Mapping[int, Mapping[str, Any]],
    record: Mapping[str, Any],
) -> dict[str, Any]:
    images = [rows[index] for index in sorted(rows)]
    content = {storage.SEAL: storage.UNSEALED, **asked, **record, "images": images}
    storage.write_atomically(place, storage.sealed(compact_json(content)))
    return content


def _summary(
    config: SmoothConfig,
    asked: Mapping[str, Any],
    found: Subject,
    rows: Mapping[int, dict[str, Any]],
) -> dict[str, Any]:
    """What follows from the counts of the first n images; their predictions and radii go into `rows`."""
    n = len(found.data)
    first = [rows[index] for index in range(n)]
    sigma, (few, many) = asked["sigma"], asked["samples"]
    proof = SmoothCertificate(
        sigma=sigma,
        alpha=config.alpha,
        samples=(few, many),
        selection=torch.tensor([row["selection"] for row in first]),
        counts=torch.tensor([row["counts"] for row in first]),
        slack=slack_of(found.data.images[0].numel(), sigma),
    )
    labels = torch.tensor([row["label"] for row in first])
    predictions, radii = proof.prediction.tolist(), proof.radius.tolist()
    for row, prediction, radius in zip(first, predictions, radii, strict=True):
        row |= {"prediction": prediction, "radius": radius}
    right = int((proof.prediction == labels).sum())
    abstained = int(proof.abstained.sum())
    certified = []
    for radius in config.radii_at(sigma):
        share = Accuracy(right=int(proof.certified(labels, radius).sum()), n=n)
        certified.append({"radius": radius, **share.as_json()})
    return {
        "complete": True,
        "hardball": __version__,
        "kind": "smoothing",
        "command": config.command(sigma),
        "norm": "l2",
        "alpha": config.alpha,
        "n": n,
        "batch_size": config.batch_size,
        "smoothed": {"right": right, "wrong": n - right - abstained, "abstained": abstained},
        "certified": certified,
        "largest_radius": largest_radius(sigma, many, config.alpha),
        "caveat": CAVEAT,
        "environment": environment.facts(found.data.images.device),
    }
