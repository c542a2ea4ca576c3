"""The theory's closed forms and constructions in numbers: what `hardball theory …` does.

Each function computes one topic from its config. It returns the numbers, after writing them to `out`
and drawing them in `figure` where these are given.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hardball import extras
from hardball.commands.words import flags_of
from hardball.errors import UserError
from hardball.report import theory_figures
from hardball.storage import write_atomically
from hardball.theory import Gaussian, graph_distribution, optimal_robust
from hardball.theory import bernoulli as formulas
from hardball.theory.arguments import positive_int
from hardball.theory.gaussian import rule_error
from hardball.theory.hardness import l0_radius

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = dict[str, Any]

LARGEST_SURFACE = 1000
"""Beyond this k the error of every threshold at every ε is neither written nor drawn."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where a topic's numbers go."""

    out: Path | None = None
    """JSON file for the numbers."""
    figure: Path | None = None
    """Picture of them; the suffix chooses the format."""

    def __post_init__(self) -> None:
        if self.figure is not None:
            extras.require(f"a picture (`figure={self.figure}`) needs", "matplotlib")

    def command(self, topic: str) -> str:
        """What remakes the numbers."""
        return " ".join(["hardball theory", topic, *flags_of(self, never=("out", "figure"))])

    def save(self, found: Found, draw: Callable[[], "Figure"]) -> None:
        """Write and draw what is asked for."""
        if self.out is not None:
            write_atomically(self.out, (json.dumps(found) + "\n").encode())
        if self.figure is not None:
            theory_figures.save(draw(), self.figure)


@dataclass(frozen=True, kw_only=True)
class GaussianConfig(Outputs):
    """Two Gaussian classes."""

    gap: float = 2.0
    """Distance (ℓ2) of the class means, spread evenly over the features."""
    sigma: float = 1.0
    """Standard deviation of every feature."""
    dimension: int = 1
    """Number of features."""
    norm: Literal["l2", "linf"] = "l2"
    """Of the adversary: l2 or linf."""
    eps: list[float] | None = None
    """Radii; by default eleven up to ε_max, from which on guessing is optimal."""


def gaussian(config: GaussianConfig) -> Found:
    """Robust error of the optimal classifier and of the Bayes rule, by ε."""
    dimension = positive_int(config.dimension, "dimension")
    mean = np.full(dimension, config.gap / 2 / math.sqrt(dimension))
    model = Gaussian(mean, -mean, config.sigma)
    limit = model.largest_eps(config.norm)
    radii = config.eps if config.eps is not None else np.linspace(0, limit, 11).tolist()
    optimum = [model.robust_error(e, config.norm) for e in radii]
    naive = [rule_error(model.rule(), model, e, config.norm) for e in radii]
    found = {
        "gap": config.gap,
        "sigma": config.sigma,
        "dimension": dimension,
        "norm": config.norm,
        "eps_max": limit,
        "eps": radii,
        "optimal": optimum,
        "log_optimal": [model.log_robust_error(e, config.norm) for e in radii],
        "bayes_rule": naive,
        "command": config.command("gaussian"),
    }
    lines = {"optimal classifier": optimum, "Bayes rule": naive}
    config.save(found, lambda: theory_figures.gaussian_errors(radii, lines))
    return found


@dataclass(frozen=True, kw_only=True)
class BernoulliConfig(Outputs):
    """Two Bernoulli classes."""

    k: int = 50
    """Features in which the classes differ."""
    t: float = 0.3
    """A feature agrees with its class with probability ½ + t."""
    eps: list[int] | None = None
    """Numbers of flips; by default up to one past the largest that beats guessing."""


def bernoulli(config: BernoulliConfig) -> Found:
    """Bayes error, and the optimal ℓ0 threshold and error by ε; with `out`, and k up to
    `LARGEST_SURFACE`, the whole surface error(s, ε) as well, which `figure` draws.

    Raises:
        UserError: a k or t outside the model, or a k too large to draw.
    """
    k, t = config.k, config.t
    limit = formulas.l0_largest_eps(k, t)
    if k > LARGEST_SURFACE and config.figure is not None:
        raise UserError(f"`k={k}` is too large for `figure`; give at most {LARGEST_SURFACE}")
    radii = config.eps
    if radii is None:
        radii = sorted({*range(0, limit + 2, max(1, limit // 15)), limit})
    best = [formulas.l0_error(k, t, e) for e in radii]
    found: Found = {
        "k": k,
        "t": t,
        "bayes_error": formulas.bayes_error(k, t),
        "log_bayes_error": formulas.log_bayes_error(k, t),
        "l0_largest_eps": limit,
        "eps": radii,
        "threshold": [s for s, _ in best],
        "error": [e for _, e in best],
        "command": config.command("bernoulli"),
    }
    if k <= LARGEST_SURFACE and config.out is not None:
        found["surface"] = formulas.l0_surface(k, t).tolist()
    config.save(found, lambda: theory_figures.l0_surface(formulas.l0_surface(k, t), k, t))
    return found


@dataclass(frozen=True, kw_only=True)
class LimitsConfig(Outputs):
    """Many pairs of Bernoulli classes."""

    k: list[int] | None = None
    """Features in which the classes differ; 10, 20, … 100 by default."""
    t: list[float] | None = None
    """A feature agrees with its class with probability ½ + t; 0.1, 0.2, … 0.5 by default."""


def limits(config: LimitsConfig) -> Found:
    """The largest number of flips with an ℓ0 error below ½: a row for each t, a column for each k."""
    sizes = config.k if config.k is not None else list(range(10, 101, 10))
    chances = config.t if config.t is not None else [0.1, 0.2, 0.3, 0.4, 0.5]
    grid = {c: {n: formulas.l0_largest_eps(n, c) for n in sizes} for c in chances}
    found = {
        "k": sizes,
        "t": chances,
        "largest_eps": [list(row.values()) for row in grid.values()],
        "command": config.command("limits"),
    }
    config.save(found, lambda: theory_figures.largest_l0_eps(grid))
    return found


@dataclass(frozen=True, kw_only=True)
class HardnessConfig(Outputs):
    """A random graph, and the adversary of the points made of it."""

    vertices: int = 8
    """Of the graph, one point and one label each."""
    density: float = 0.3
    """Chance of an edge."""
    p: float | Literal["inf"] = 2.0
    """Norm of the adversary: 0, a number of at least 1, or inf."""
    eps: float = 1.0
    """Radius; for p = 0 the construction sets it."""
    domain: Literal["support", "space"] = "support"
    """support (the adversary moves to points only: distance-3 sets) or space (anywhere: independent
    sets)."""
    seed: int = 0
    """Of the graph."""
    seconds: float = 60.0
    """Time for the integer program."""


def hardness(config: HardnessConfig) -> Found:
    """The instance made of a random graph, and the best that a classifier can do on it.

    Raises:
        MissingExtra: networkx is not installed.
        UserError: no such graph or adversary, or a graph too large for the time.
    """
    extras.require("the graph of the construction needs", "networkx")
    import networkx as nx

    vertices, domain = positive_int(config.vertices, "vertices"), config.domain
    if not 0 <= config.density <= 1:
        raise UserError(f"`density={config.density}`; give a probability, from 0 to 1")
    power = math.inf if config.p == "inf" else float(config.p)
    graph = nx.gnp_random_graph(vertices, config.density, seed=config.seed)
    radius = l0_radius(vertices, domain) if power == 0 else config.eps
    problem = graph_distribution(graph, eps=radius, p=power, domain=domain)
    best = optimal_robust(problem, eps=radius, p=power, domain=domain, seconds=config.seconds)
    edges = np.array(graph.edges, dtype=np.int64).reshape(-1, 2)
    found = {
        "vertices": vertices,
        "features": problem.points.shape[1],
        "edges": edges.tolist(),
        "p": str(config.p),
        "eps": radius,
        "domain": domain,
        "right": best.right.tolist(),
        "accuracy": best.accuracy,
        "bound": best.bound,
        "command": config.command("hardness"),
    }
    kind = "distance-3 independent set" if domain == "support" else "independent set"
    title = f"best robust accuracy {len(best.right)}/{vertices}: a maximum {kind}"
    angles = 2 * np.pi * np.arange(vertices) / vertices
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    config.save(
        found, lambda: theory_figures.hardness_instance(places, edges, found["right"], title)
    )
    return found
