"""What a reproduced figure says to the paper's claim: numbers computed from its parts, and a verdict.

Each function takes the parts' results by name, and returns sentences with their numbers. A verdict is
True (the claim shows), False (it does not) or None (the numbers are given, the paper names none).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]
"""part → result."""
Answer = dict[str, Any]

PINNED = 0.95
"""Of ln K: the loss of a constant prediction (as in `training/stopping`)."""
NEAR_CONVEX = 0.05
"""Violation of convexity, as a share of the loss' range, that the eye takes for none."""
LOW = 0.1
"""Barrier in nats that is called low: the loss of a network that has learned is several times that."""


def answers(recipe: str, parts: Found, classes: int) -> list[Answer]:
    """What the parts of a recipe say; empty for a recipe without a claim that numbers can settle."""
    found = _ANSWERS.get(recipe)
    return [] if found is None else found(parts, math.log(classes))


def _answer(claim: str, holds: bool | None, **numbers: Any) -> Answer:
    return {"claim": claim, "holds": holds, "numbers": numbers}


def _losses(part: Found, name: str) -> list[float]:
    (run,) = (run for run in part["runs"] if run["name"] == name)
    return [float(value) for value in run["adv_loss"]]


def _fig1(parts: Found, chance: float) -> list[Answer]:
    last = {run["name"]: float(run["adv_loss"][-1]) for run in parts[""]["runs"]}
    return [
        _answer(
            "training at ε=0.4 from random weights stays at the loss of a constant prediction",
            last["at-0.4"] >= PINNED * chance,
            last_loss=last["at-0.4"],
            constant=chance,
        ),
        _answer(
            "training at ε=0.2 and 0.3 from random weights learns",
            max(last["at-0.2"], last["at-0.3"]) < chance / 2,
            last_loss={name: last[name] for name in ("at-0.2", "at-0.3")},
        ),
    ]


def _fig2(parts: Found, chance: float) -> list[Answer]:
    losses = _losses(parts[""], "eat-0.4")
    return [
        _answer(
            "from AT(0.3) weights the loss at ε=0.4 is low from the first epoch on and falls",
            losses[0] < chance / 2 and losses[-1] < losses[0],
            first=losses[0],
            last=losses[-1],
        )
    ]


def _violations(part: Found) -> list[float]:
    """Of convexity, each as a share of the range of its curve."""
    return [one["convexity_violation"] / one["range"] for one in part["segments"]]


def _fig3(parts: Found, chance: float) -> list[Answer]:
    share = {name: _violations(part)[0] for name, part in parts.items()}
    ordered = [share[name] for name in ("standard", "0.2", "0.3", "0.4")]
    return [
        _answer(
            "from random weights the loss is not convex, and less so as ε grows",
            ordered == sorted(ordered) and ordered[-1] > NEAR_CONVEX,
            violation_over_range=share,
            barrier={name: part["segments"][0]["barrier"] for name, part in parts.items()},
        )
    ]


def _fig4(parts: Found, chance: float) -> list[Answer]:
    new, initial = parts[""]["segments"]
    shares = _violations(parts[""])
    return [
        _answer(
            "from AT(0.3) weights to extended ones the loss at ε=0.4 is near convex",
            shares[0] <= NEAR_CONVEX,
            violation_over_range=shares[0],
            barrier=new["barrier"],
        ),
        _answer(
            "on the same way the loss at the initial ε=0.3 stays low",
            initial["barrier"] <= LOW,
            barrier=initial["barrier"],
            highest=max(initial["loss"]),
        ),
    ]


def _fig5(parts: Found, chance: float) -> list[Answer]:
    steps = {name: part["planes"][0]["largest_step"] for name, part in parts.items()}
    jumps = {name: part["planes"][0]["sudden_jump"] for name, part in parts.items()}
    others = max(steps["0.3"], steps["0.4"])
    return [
        _answer(
            "the loss around a test image jumps at ε=0.5 and not at 0.3 and 0.4",
            steps["0.5"] > 2 * others,
            largest_step=steps,
            sudden_jump=jumps,
        )
    ]


def _fig7(parts: Found, chance: float) -> list[Answer]:
    (run,) = parts[""]["runs"]
    loss = [float(value) for value in run["adv_loss"]]
    below = [value for eps, value in zip(run["eps"], loss, strict=True) if float(eps) <= 0.4]
    learned = below[1:] or below  # the first epoch starts from random weights
    return [
        _answer(
            "up to ε=0.4 the training loss stays under 0.25",
            max(learned) < 0.25,
            highest=max(learned),
            at_0_4=below[-1],
        ),
        _answer(
            "beyond it the loss climbs to about 1.2",
            loss[-1] > 4 * below[-1],
            last=loss[-1],
            last_eps=float(run["eps"][-1]),
        ),
    ]


def _fig8(parts: Found, chance: float) -> list[Answer]:
    warm, cold = (_losses(parts[""], name) for name in ("eat-0.4", "at-0.4"))
    return [
        _answer(
            "at ε=0.4 the warm start learns where random weights do not",
            warm[-1] < chance / 2 and cold[-1] >= PINNED * chance,
            from_at_03=warm[-1],
            from_random=cold[-1],
            constant=chance,
        )
    ]


def _fig10(parts: Found, chance: float) -> list[Answer]:
    found = {run["name"]: _settled(run) for run in parts[""]["runs"]}
    return [
        _answer(
            "change of the loss and distance of the weights become small",
            all(ends[-1] < ends[0] for run in found.values() for ends in run.values()),
            first_and_last=found,
        )
    ]


def _settled(run: Found) -> dict[str, Sequence[float]]:
    changes = [abs(float(value)) for value in run["loss_change"] if value is not None]
    distances = [float(value) for value in run["weight_distance"]]
    return {
        "loss_change": (changes[0], changes[-1]),
        "weight_distance": (distances[0], distances[-1]),
    }


def _explained(parts: Found, chance: float) -> list[Answer]:
    """The numbers of `hardball explain`, each of the second run against the first."""
    found = []
    rows = parts[""]["numbers"]
    first = rows[0]["run"]
    for row in rows:
        if row["run"] == first:
            continue
        other = next(
            one
            for one in rows
            if one["run"] == first
            and (one["quantity"], one["eps"]) == (row["quantity"], row["eps"])
        )
        found.append(
            _answer(
                f"{row['quantity']}: {row['run']} above {first}",
                bool(row["low"] > other["high"]),
                **{row["run"]: row["mean"], first: other["mean"], "n": row["n"]},
            )
        )
    return found


def _fig12(parts: Found, chance: float) -> list[Answer]:
    found = parts[""]
    error = found["error"]
    return [
        _answer(
            "the least error grows with ε, from that of the Bayes rule to that of guessing",
            error == sorted(error)
            and math.isclose(error[0], found["bayes_error"], rel_tol=1e-9)
            and error[-1] == 0.5,
            bayes_error=found["bayes_error"],
            largest_eps_below_guessing=found["l0_largest_eps"],
        )
    ]


_ANSWERS: dict[str, Callable[[Found, float], list[Answer]]] = {
    "fig1": _fig1,
    "fig2": _fig2,
    "fig3": _fig3,
    "fig4": _fig4,
    "fig5": _fig5,
    "fig6": _explained,
    "fig7": _fig7,
    "fig8": _fig8,
    "fig10": _fig10,
    "fig11": _fig4,
    "fig12": _fig12,
    "fig13": _explained,
}
