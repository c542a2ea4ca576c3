"""The theory's numbers as tables for the terminal, from results of `commands.theory` alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Found = Mapping[str, Any]


def gaussian_table(found: Found) -> Table:
    """Robust errors of two Gaussian classes by ε."""
    rows = zip(
        found["eps"], found["optimal"], found["log_optimal"], found["bayes_rule"], strict=True
    )
    return _table(
        f"Gaussian: gap {found['gap']:g}, σ = {found['sigma']:g}, d = {found['dimension']}, "
        f"{found['norm']}; ε_max = {found['eps_max']:.4g}",
        ["ε", "optimal robust error", "its log", "Bayes rule's"],
        [[f"{number:.4g}" for number in row] for row in rows],
    )


def bernoulli_table(found: Found) -> Table:
    """The optimal threshold and error of two Bernoulli classes by ε."""
    rows = zip(found["eps"], found["threshold"], found["error"], strict=True)
    return _table(
        f"Bernoulli: k = {found['k']}, t = {found['t']:g}; Bayes error {found['bayes_error']:.4g} "
        f"(its log {found['log_bayes_error']:.6g}), also the ℓ∞ error for ε < 1; ℓ0 beats guessing "
        f"up to {found['l0_largest_eps']} flips",
        ["ε (flips)", "threshold s", "robust error"],
        [[str(e), str(s), f"{error:.6g}"] for e, s, error in rows],
    )


def limits_table(found: Found) -> Table:
    """The largest ε of Bernoulli classes, by k and t."""
    return _table(
        "Bernoulli: the largest ε (flips) with ℓ0 error below ½",
        ["k", *(f"t = {t:g}" for t in found["t"])],
        [
            [str(k), *(str(row[column]) for row in found["largest_eps"])]
            for column, k in enumerate(found["k"])
        ],
    )


def hardness_table(found: Found) -> Table:
    """The optimum of one instance."""
    return _table(
        f"{found['vertices']} points in {found['features']} dimensions, p = {float(found['p']):g}, "
        f"ε = {found['eps']:g}, {found['domain']}",
        ["edges", "robustly right", "points", "best accuracy", "bound"],
        [
            [
                str(len(found["edges"])),
                str(len(found["right"])),
                " ".join(map(str, found["right"])),
                f"{found['accuracy']:.4g}",
                f"{found['bound']:.4g}",
            ]
        ],
    )


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    return table
