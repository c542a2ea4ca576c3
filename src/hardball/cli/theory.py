"""`hardball theory gaussian | bernoulli | hardness`: closed forms as tables, JSON and pictures."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
from rich.console import Console
from rich.table import Table

from hardball.errors import UserError
from hardball.report import theory_figures
from hardball.storage import write_atomically
from hardball.theory import Gaussian, graph_distribution, optimal_robust
from hardball.theory import bernoulli as formulas
from hardball.theory.arguments import positive_int
from hardball.theory.gaussian import rule_error
from hardball.theory.hardness import l0_radius


def gaussian(
    *,
    gap: float = 2.0,
    sigma: float = 1.0,
    dimension: int = 1,
    norm: Literal["l2", "linf"] = "l2",
    eps: list[float] | None = None,
    out: Path | None = None,
    figure: Path | None = None,
) -> int:
    """Optimal robust error of two Gaussian classes, and of the Bayes rule under the same attack.

    Args:
        gap: distance (ℓ2) of the class means, spread evenly over the features.
        sigma: standard deviation of every feature.
        dimension: number of features.
        norm: of the adversary: l2 or linf.
        eps: radii; by default eleven up to ε_max, from which on guessing is optimal.
        out: JSON file for the numbers.
        figure: picture of both errors over ε.
    """
    mean = np.full(positive_int(dimension, "dimension"), gap / 2 / math.sqrt(dimension))
    model = Gaussian(mean, -mean, sigma)
    limit = model.largest_eps(norm)
    radii = eps if eps is not None else np.linspace(0, limit, 11).tolist()
    optimum = [model.robust_error(e, norm) for e in radii]
    naive = [rule_error(model.rule(), model, e, norm) for e in radii]
    table = _table(
        f"Gaussian: gap {gap:g}, σ = {sigma:g}, d = {dimension}, {norm}; ε_max = {limit:.4g}",
        ["ε", "optimal robust error", "its log", "Bayes rule's"],
        [
            [f"{e:.4g}", f"{o:.4g}", f"{model.log_robust_error(e, norm):.4g}", f"{n:.4g}"]
            for e, o, n in zip(radii, optimum, naive, strict=True)
        ],
    )
    found: dict[str, Any] = {
        "gap": gap,
        "sigma": sigma,
        "dimension": dimension,
        "norm": norm,
        "eps_max": limit,
    }
    found |= {"eps": radii, "optimal": optimum, "bayes_rule": naive}
    lines = {"optimal classifier": optimum, "Bayes rule": naive}
    _finish(table, found, out, figure, lambda: theory_figures.gaussian_errors(radii, lines))
    return 0


def bernoulli(
    *,
    k: int = 50,
    t: float = 0.3,
    eps: list[int] | None = None,
    out: Path | None = None,
    figure: Path | None = None,
) -> int:
    """Bayes and optimal ℓ0 error of two Bernoulli classes; the defaults give the paper's Figure 12.

    Args:
        k: features in which the classes differ.
        t: a feature agrees with its class with probability ½ + t.
        eps: numbers of flips; by default up to one past the largest that beats guessing.
        out: JSON file for the numbers, with the whole surface error(s, ε) for k up to 1000.
        figure: picture of that surface.
    """
    limit = formulas.l0_largest_eps(k, t)
    radii = eps if eps is not None else sorted({*range(0, limit + 2, max(1, limit // 15)), limit})
    best = [formulas.l0_error(k, t, e) for e in radii]
    bayes = formulas.bayes_error(k, t)
    table = _table(
        f"Bernoulli: k = {k}, t = {t:g}; Bayes error {bayes:.4g} (its log "
        f"{formulas.log_bayes_error(k, t):.6g}), also the ℓ∞ error for ε < 1; ℓ0 beats guessing "
        f"up to {limit} flips",
        ["ε (flips)", "threshold s", "robust error"],
        [[str(e), str(s), f"{error:.6g}"] for e, (s, error) in zip(radii, best, strict=True)],
    )
    found: dict[str, Any] = {"k": k, "t": t, "bayes_error": bayes, "l0_largest_eps": limit}
    found |= {"eps": radii, "threshold": [s for s, _ in best], "error": [e for _, e in best]}
    if k > 1000 and figure is not None:
        raise UserError(f"k={k} is too large for --figure; give at most 1000")
    if k <= 1000 and out is not None:
        found["surface"] = formulas.l0_surface(k, t).tolist()
    _finish(
        table,
        found,
        out,
        figure,
        lambda: theory_figures.l0_surface(formulas.l0_surface(k, t), k, t),
    )
    return 0


def limits(
    *,
    k: list[int] | None = None,
    t: list[float] | None = None,
    out: Path | None = None,
    figure: Path | None = None,
) -> int:
    """The largest number of flips at which two Bernoulli classes can be told apart, by k and t.

    Args:
        k: features in which the classes differ; 10, 20, … 100 by default.
        t: a feature agrees with its class with probability ½ + t; 0.1, 0.2, … 0.5 by default.
        out: JSON file for the numbers.
        figure: picture.
    """
    sizes = k if k is not None else list(range(10, 101, 10))
    chances = t if t is not None else [0.1, 0.2, 0.3, 0.4, 0.5]
    grid = {c: {n: formulas.l0_largest_eps(n, c) for n in sizes} for c in chances}
    table = _table(
        "Bernoulli: the largest ε (flips) with ℓ0 error below ½",
        ["k", *(f"t = {c:g}" for c in chances)],
        [[str(n), *(str(grid[c][n]) for c in chances)] for n in sizes],
    )
    found = {"k": sizes, "t": chances, "largest_eps": [list(row.values()) for row in grid.values()]}
    _finish(table, found, out, figure, lambda: theory_figures.largest_l0_eps(grid))
    return 0


def hardness(
    *,
    vertices: int = 8,
    density: float = 0.3,
    p: float | Literal["inf"] = 2.0,
    eps: float = 1.0,
    domain: Literal["support", "space"] = "support",
    seed: int = 0,
    seconds: float = 60.0,
    out: Path | None = None,
    figure: Path | None = None,
) -> int:
    """A random graph as points to classify: the optimum is a largest (distance-3) independent set.

    Args:
        vertices: of the graph, one point and one label each.
        density: chance of an edge.
        p: norm of the adversary: 0, a number of at least 1, or inf.
        eps: radius; for p = 0 the construction sets it.
        domain: support (the adversary moves to points only: distance-3 sets) or space (anywhere:
            independent sets).
        seed: of the graph.
        seconds: time for the integer program.
        out: JSON file for the instance and the optimum.
        figure: picture of the graph.
    """
    if not 0 <= density <= 1:
        raise UserError(f"density={density}; give a probability, from 0 to 1")
    power = math.inf if p == "inf" else float(p)
    graph = nx.gnp_random_graph(positive_int(vertices, "vertices"), density, seed=seed)
    radius = l0_radius(vertices, domain) if power == 0 else eps
    problem = graph_distribution(graph, eps=radius, p=power, domain=domain)
    best = optimal_robust(problem, eps=radius, p=power, domain=domain, seconds=seconds)
    edges = np.array(graph.edges, dtype=np.int64).reshape(-1, 2)
    features = problem.points.shape[1]
    table = _table(
        f"{vertices} points in {features} dimensions, p = {power:g}, ε = {radius:g}, {domain}",
        ["edges", "robustly right", "points", "best accuracy", "bound"],
        [
            [
                str(len(edges)),
                str(len(best.right)),
                " ".join(map(str, best.right)),
                f"{best.accuracy:.4g}",
                f"{best.bound:.4g}",
            ]
        ],
    )
    found = {"vertices": vertices, "edges": edges.tolist(), "p": str(p), "eps": radius}
    found |= {"domain": domain, "right": best.right.tolist(), "accuracy": best.accuracy}
    found |= {"bound": best.bound}
    kind = "distance-3 independent set" if domain == "support" else "independent set"
    title = f"best robust accuracy {len(best.right)}/{vertices}: a maximum {kind}"
    angles = 2 * np.pi * np.arange(vertices) / vertices
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    _finish(
        table,
        found,
        out,
        figure,
        lambda: theory_figures.hardness_instance(places, edges, best.right.tolist(), title),
    )
    return 0


TOPICS: dict[str, Callable[..., int]] = {
    "gaussian": gaussian,
    "bernoulli": bernoulli,
    "limits": limits,
    "hardness": hardness,
}


def _table(title: str, columns: list[str], rows: list[list[str]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table


def _finish(
    table: Table,
    found: dict[str, Any],
    out: Path | None,
    figure: Path | None,
    draw: Callable[[], Any],
) -> None:
    Console().print(table)
    if out is not None:
        write_atomically(out, (json.dumps(found) + "\n").encode())
    if figure is not None:
        theory_figures.save(draw(), figure)
