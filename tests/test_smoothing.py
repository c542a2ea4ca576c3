"""Randomised smoothing: certificates against closed forms and an independent CERTIFY; the command."""

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest, kstest
from torch import Tensor, nn

from commands import Signal, run
from hardball import SmoothCertificate, UserError, certify_smooth
from hardball.certify import smoothing
from hardball.certify.smoothing import (
    ABSTAIN,
    grid_step,
    largest_radius,
    lower_bound,
    on_grid,
    slack_of,
)
from hardball.commands.certify_smooth import SmoothConfig, certify_run
from hardball.errors import CannotRun, Damaged

Linear = Callable[..., nn.Module]


def images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


class Constant(nn.Module):
    """Class 2 of 3, whatever it is given; keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.seen.append(batch)
        return torch.tensor([0.0, 0.0, 1.0]).expand(len(batch), 3)


# --- the bound


@pytest.mark.parametrize("n", [1, 7, 100, 10_000])
@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.001])
def test_the_lower_bound_is_that_of_scipys_binomial_test(n: int, alpha: float) -> None:
    hits = torch.tensor(sorted({0, 1, n // 3, n // 2, n - 1, n}))
    expected = [
        binomtest(k, n, alternative="greater").proportion_ci(1 - alpha, method="exact").low
        for k in hits.tolist()
    ]
    assert lower_bound(hits, n, alpha).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.77, 0.999])
def test_the_lower_bound_is_above_the_truth_with_probability_alpha_at_most(p: float) -> None:
    n, alpha = 60, 0.05
    too_high = (lower_bound(torch.arange(n + 1), n, alpha) > p).numpy()
    wrong = binom.pmf(np.arange(n + 1), n, p)[too_high].sum()
    assert wrong <= alpha


# --- CERTIFY


def tail(hits: int, n: int, p: float) -> float:
    """P[Binomial(n, p) ≥ hits], term by term."""
    return math.fsum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits, n + 1))


def certify(
    selection: list[int], counts: list[int], sigma: float, alpha: float
) -> tuple[int, float]:
    """Cohen et al.'s pseudocode: (class or abstain, radius), the bound by bisection."""
    chosen = int(np.argmax(selection))
    hits, n = counts[chosen], sum(counts)
    low, high = 0.0, 1.0
    while high - low > 1e-13:
        middle = (low + high) / 2
        low, high = (middle, high) if tail(hits, n, middle) < alpha else (low, middle)
    return (chosen, sigma * NormalDist().inv_cdf(low)) if low > 0.5 else (ABSTAIN, 0.0)


def test_it_agrees_with_an_independent_certify(two_classes: Linear) -> None:
    weight = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1))
    model = two_classes(weight, float(-(weight * 0.5).sum()))
    found = certify_smooth(model, images(40), sigma=0.4, samples=(20, 300), alpha=0.01)
    assert found.selection.sum(1).tolist() == [20] * 40
    assert found.counts.sum(1).tolist() == [300] * 40
    expected = [
        certify(a, b, 0.4, 0.01)
        for a, b in zip(found.selection.tolist(), found.counts.tolist(), strict=True)
    ]
    assert found.prediction.tolist() == [one for one, _ in expected]
    assert ABSTAIN in found.prediction.tolist()
    # the slack of the grid is all that is missing
    radii = torch.tensor([radius for _, radius in expected], dtype=torch.float64)
    missing = radii - found.radius
    assert found.slack < 1e-5
    assert torch.allclose(missing[radii > 0], torch.tensor(found.slack).double(), atol=1e-8)


def linear_case(two_classes: Linear, count: int) -> tuple[SmoothCertificate, Tensor]:
    """Certificates of a linear classifier at α = 0.02, and the true margins, in units of length."""
    weight = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    weight /= weight.norm()
    model = two_classes(weight.float(), float(-(weight * 0.5).sum()))
    batch = images(count)
    margins = ((batch.double() - 0.5) * weight).flatten(1).sum(1)
    found = certify_smooth(model, batch, sigma=0.5, samples=(20, 200), alpha=0.02)
    return found, margins


def test_a_linear_classifiers_radius_is_below_the_true_distance_except_with_probability_alpha(
    two_classes: Linear,
) -> None:
    found, margins = linear_case(two_classes, 500)
    # P[class 1] = Φ(margin/σ): all counts together, and each alone
    p = torch.special.ndtr(margins / 0.5)
    ones = found.counts[:, 1].double()
    away = (ones - 200 * p) / (200 * p * (1 - p)).sqrt()
    assert away.abs().max() < 5
    assert abs(away.mean()) < 5 / math.sqrt(500)
    sure = found.prediction != ABSTAIN
    right = found.prediction[sure] == (margins[sure] > 0).long()
    false = ~right | (found.radius[sure] > margins[sure].abs())
    # 10 expected at most of 500
    assert false.sum() <= 22
    # and the certificates are no empty ones: most of the distance is certified
    far = sure & (margins.abs() > 0.3)
    assert (found.radius[far] / margins[far].abs()).median() > 0.6


def test_the_same_check_finds_certificates_without_confidence(
    two_classes: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoothing, "lower_bound", lambda hits, n, alpha: hits.double() / n)
    found, margins = linear_case(two_classes, 200)
    assert (found.radius > margins.abs()).sum() > 40  # 4 expected at most


def test_a_constant_classifier_has_the_largest_radius() -> None:
    found = certify_smooth(Constant(), images(2), sigma=2.0, samples=(10, 1000), alpha=0.001)
    assert found.prediction.tolist() == [2, 2]
    largest = 2 * NormalDist().inv_cdf(0.001 ** (1 / 1000))
    assert largest_radius(2.0, 1000, 0.001) == pytest.approx(largest)
    assert found.radius.tolist() == pytest.approx([largest - found.slack] * 2)
    assert found.certified(torch.tensor([2, 1]), 1.0).tolist() == [True, False]
    assert not found.certified(torch.tensor([2, 2]), largest).any()


def test_it_abstains_on_ties(two_classes: Linear) -> None:
    model = two_classes(torch.ones(1, 4, 4), -8.0)
    grey = torch.full((20, 1, 4, 4), 0.5)
    found = certify_smooth(model, grey, sigma=1.0, samples=(10, 400), alpha=0.001)
    assert found.prediction.tolist() == [ABSTAIN] * 20
    assert found.abstained.all()
    assert not found.radius.any()
    assert not found.certified(found.chosen, 0.0).any()


def test_no_images_give_none() -> None:
    found = certify_smooth(Constant(), images(0), sigma=1.0)
    assert found.radius.shape == (0,)


# --- the noise


def test_the_noise_is_gaussian_unclipped_and_added_exactly() -> None:
    model, batch, sigma = Constant(), images(1), 0.7
    certify_smooth(model, batch, sigma=sigma, samples=(1, 2000), batch_size=2000)
    drawn = model.seen[-1].double()
    step = grid_step(sigma)
    assert drawn.min() < -1
    assert drawn.max() > 2
    noise = drawn - on_grid(batch, step).double()
    # exact: the difference is a multiple of the step, as it was drawn
    assert torch.equal((noise / step).round() * step, noise)
    assert kstest((noise / sigma).flatten().numpy(), "norm").pvalue > 1e-3
    # rounding commutes with adding a point of the grid
    real = torch.randn(1000, dtype=torch.float64)
    point = on_grid(torch.rand(1000), step)
    assert torch.equal(on_grid(point + real, step), point + on_grid(real, step))


@pytest.mark.parametrize("sigma", [0.01, 0.25, 1.0, 8.0])
def test_the_slack_is_more_than_two_images_move_to_the_grid(sigma: float) -> None:
    step, batch = grid_step(sigma), images(100)
    moved = (on_grid(batch, step).double() - batch.double()).flatten(1).norm(dim=1)
    assert 2 * float(moved.max()) <= slack_of(16, sigma) < 1e-5 * max(1, 10 * sigma)


def test_counts_depend_neither_on_the_batch_nor_on_other_images(two_classes: Linear) -> None:
    model, batch = two_classes(torch.ones(1, 4, 4), -8.0), images(6)

    def counts(rows: list[int], size: int, seed: int = 0) -> list[object]:
        found = certify_smooth(
            model,
            batch[rows],
            sigma=0.5,
            samples=(30, 333),
            seed=seed,
            indices=rows,
            batch_size=size,
        )
        return [*zip(found.selection.tolist(), found.counts.tolist(), strict=True)]

    whole = counts([0, 1, 2, 3, 4, 5], 1000)
    assert [counts([row], size)[0] for row, size in enumerate((1, 50, 77, 100, 333, 400))] == whole
    assert counts([5, 2], 100) == [whole[5], whole[2]]
    assert counts([0, 1, 2, 3, 4, 5], 1000, seed=1) != whole


def test_the_model_is_called_in_evaluation_mode_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    first = certify_smooth(model, images(2), sigma=0.5, samples=(10, 100))
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    again = certify_smooth(model, images(2), sigma=0.5, samples=(10, 100))
    assert torch.equal(first.counts, again.counts)


# --- bad input


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"sigma": math.nan}, "sigma=nan"),
        ({"samples": (100, 50)}, "samples=100,50"),
        ({"samples": (0, 50)}, "samples=0,50"),
        ({"samples": (50,)}, "two numbers"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": 1.0}, "alpha=1.0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"indices": [1]}, "1 indices for 2 images"),
    ],
)
def test_bad_values_are_refused(values: dict[str, object], said: str) -> None:
    given: dict[str, object] = {"sigma": 1.0} | values
    with pytest.raises(UserError, match=said):
        certify_smooth(Constant(), images(2), **given)  # type: ignore[arg-type]


def test_images_outside_the_box_are_refused() -> None:
    with pytest.raises(UserError, match="lie in"):
        certify_smooth(Constant(), images(2) + 1, sigma=1.0)


class NoMemory(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        if len(batch) > 100:
            raise torch.OutOfMemoryError("out of memory")
        return torch.zeros(len(batch), 2)


def test_a_batch_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(CannotRun, match="no memory for 200 images at a time; use a smaller"):
        certify_smooth(NoMemory(), images(1), sigma=1.0, samples=(10, 200))
    certify_smooth(NoMemory(), images(1), sigma=1.0, samples=(10, 200), batch_size=100)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"norm": "linf"}, "norm=linf"),
        ({"radii": []}, "radii="),
        ({"radii": [0.5, -1.0]}, "radius -1"),
        ({"radii": math.inf}, "radius inf"),
        ({"n": 0}, "n=0"),
        ({"seed": -1}, "seed=-1"),
        ({"samples": "many"}, "samples=many"),
        ({"samples": "100,10"}, "samples=100,10"),
        ({"alpha": 2.0}, "alpha=2.0"),
    ],
)
def test_bad_settings_of_the_command_are_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        SmoothConfig(Path("nowhere"), **values)  # type: ignore[arg-type]


# --- the command

SMALL = ("--validation", "800", "--model-args", "{width: 8}", "--out", "r")
CERTIFY = ("certify-smooth", "r", "--samples", "20,120", "--radii", "[0, 0.25, 0.5]")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run r, trained at σ = 0.5, and its certificates of 12 images."""
    folder = tmp_path_factory.mktemp("noisy")
    train = ("train", "--noise", 0.5, "--epochs", 6, "--lr", 0.01, "--batch-size", 16, *SMALL)
    assert run(train, folder)[0] == 0
    code, out, err = run([*CERTIFY, "--n", 12], folder)
    assert code == 0, err
    assert "certified" in out
    assert "pseudo-random" in out
    return folder


def copied(noisy: Path, to: Path) -> Path:
    (to / "r").mkdir()
    for name in ("config.yaml", "weights.safetensors", "outcome.json"):
        (to / "r" / name).write_bytes((noisy / "r" / name).read_bytes())
    return to


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "r" / "smoothing-0.5.json").read_text())
    return found


def test_the_command_writes_what_follows_from_the_counts(noisy: Path) -> None:
    found = record(noisy)
    rows = found["images"]
    assert isinstance(rows, list)
    assert len(rows) == 12
    assert found["complete"]
    for row in rows:
        chosen, radius = certify(row["selection"], row["counts"], 0.5, 0.001)
        assert row["prediction"] == chosen
        assert row["radius"] == pytest.approx(radius, abs=1e-5)
    points = found["certified"]
    assert isinstance(points, list)
    for point in points:
        right = sum(
            row["prediction"] == row["label"] and row["radius"] > point["radius"] for row in rows
        )
        assert (point["right"], point["n"]) == (right, 12)
        assert point["low"] <= right / 12
    assert points[0]["right"] > 3  # of ten classes: it has learned something
    smoothed = found["smoothed"]
    assert isinstance(smoothed, dict)
    assert smoothed["right"] == points[0]["right"]
    assert sum(smoothed.values()) == 12


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_command_goes_on_to_the_same_bytes(
    how: signal.Signals, noisy: Path, tmp_path: Path
) -> None:
    folder = copied(noisy, tmp_path)
    module = "hardball.commands.certify_smooth"
    often = {f"{module}:SECONDS_BETWEEN_SAVES": -1.0}
    planned = Signal(at=f"{module}:certify_smooth", count=6, number=how)
    code, _, _ = run([*CERTIFY, "--n", 12], folder, planned=planned, instead=often)
    assert code in (-signal.SIGKILL, 130)
    assert not record(folder)["complete"]
    assert len(record(folder)["images"]) == 5
    planned = Signal(at=f"{module}:certify_smooth", count=8)
    assert run([*CERTIFY, "--n", 12], folder, planned=planned)[0] == 0  # only 7 are left
    assert (folder / "r/smoothing-0.5.json").read_bytes() == (
        noisy / "r/smoothing-0.5.json"
    ).read_bytes()


def test_more_images_are_added_and_other_settings_refused(noisy: Path, tmp_path: Path) -> None:
    folder = copied(noisy, tmp_path)
    for n in (4, 12):
        assert run([*CERTIFY, "--n", n], folder)[0] == 0
    assert record(folder) == record(noisy)
    place = folder / "r" / "smoothing-0.5.json"
    config = SmoothConfig(folder / "r", n=4, samples="20,120")
    for other, said in (
        ({"samples": "20,100"}, "samples"),
        ({"seed": 3}, "seed"),
        ({"split": "train"}, "split"),
    ):
        with pytest.raises(UserError, match=f"has {said} .* is asked for"):
            certify_run(SmoothConfig(folder / "r", **({"n": 4, "samples": "20,120"} | other)))  # type: ignore[arg-type]
    place.write_bytes(place.read_bytes().replace(b'"alpha": 0.001', b'"alpha": 0.002'))
    with pytest.raises(Damaged, match="changed"):
        certify_run(config)


def test_a_run_without_noise_needs_a_sigma(noisy: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes((noisy / "r" / "weights.safetensors").read_bytes())
    with pytest.raises(UserError, match="not trained with noise; pass the σ"):
        certify_run(SmoothConfig(tmp_path / "w.safetensors", data="digits"))


def test_memory_is_seen_to_suffice_before_anything_is_written(
    noisy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(noisy, tmp_path)
    module = "hardball.commands.certify_smooth.accepting"
    monkeypatch.setattr(module, lambda model, dtype: NoMemory())
    with pytest.raises(CannotRun, match="no memory for 120 images"):
        certify_run(SmoothConfig(folder / "r", samples="20,120"))
    assert not (folder / "r" / "smoothing-0.5.json").exists()
