"""What a reproduced figure says to the paper's claim: numbers computed from its parts, and a verdict.

Each function takes the parts' results by name, and returns sentences with their numbers. A verdict is
True (the claim shows), False (it does not) or None (the numbers are given, the paper names none).
"""

import math
from collections.abc import Callable, Sequence

from hardball.reproduction.table_answers import (
    PINNED,
    TABLES,
    Answer,
    Found,
    answer,
    curves_fall,
)

NEAR_CONVEX = 0.05
"""Violation of convexity, as a share of the loss' range, that the eye takes for none."""
LOW = 0.1
"""Barrier in nats that is called low: the loss of a network that has learned is several times that."""


def answers(recipe: str, parts: Found, classes: int) -> list[Answer]:
    """What the parts of a recipe say; empty for a recipe without a claim that numbers can settle."""
    found = _ANSWERS.get(recipe)
    return [] if found is None else found(parts, math.log(classes))


def _losses(part: Found, name: str) -> list[float]:
    (run,) = (run for run in part["runs"] if run["name"] == name)
    return [float(value) for value in run["adv_loss"]]


def _fig1(parts: Found, chance: float) -> list[Answer]:
    last = {run["name"]: float(run["adv_loss"][-1]) for run in parts[""]["runs"]}
    learned = {name: loss for name, loss in last.items() if name != "at-0.4"}
    return [
        answer(
            "training at ε=0.4 from random weights stays at the loss of a constant prediction",
            last["at-0.4"] >= PINNED * chance,
            last_loss=last["at-0.4"],
            constant=chance,
        ),
        answer(
            "training at smaller ε from random weights learns",
            max(learned.values()) < chance / 2,
            last_loss=learned,
        ),
    ]


def _direct(parts: Found, chance: float) -> list[Answer]:
    least = {run["name"]: min(map(float, run["adv_loss"])) for run in parts[""]["runs"]}
    return [
        answer(
            "training at ε=0.4 stays at the loss of a constant prediction, for every seed",
            min(least.values()) >= PINNED * chance,
            least_loss=least,
            constant=chance,
        )
    ]


def _fig2(parts: Found, chance: float) -> list[Answer]:
    return curves_fall(parts[""], chance)


def _violations(part: Found) -> list[float]:
    """Of convexity, each as a share of the range of its curve."""
    return [one["convexity_violation"] / one["range"] for one in part["segments"]]


def _fig3(parts: Found, chance: float) -> list[Answer]:
    share = {name: _violations(part)[0] for name, part in parts.items()}
    ordered = [share[name] for name in ("standard", "0.2", "0.3", "0.4") if name in share]
    return [
        answer(
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
        answer(
            "from AT(0.3) weights to extended ones the loss at ε=0.4 is near convex",
            shares[0] <= NEAR_CONVEX,
            violation_over_range=shares[0],
            barrier=new["barrier"],
        ),
        answer(
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
        answer(
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
        answer(
            "up to ε=0.4 the training loss stays under 0.25",
            max(learned) < 0.25,
            highest=max(learned),
            at_0_4=below[-1],
        ),
        answer(
            "beyond it the loss climbs to about 1.2",
            loss[-1] > 4 * below[-1],
            last=loss[-1],
            last_eps=float(run["eps"][-1]),
        ),
    ]


def _fig8(parts: Found, chance: float) -> list[Answer]:
    warm, cold = (_losses(parts[""], name) for name in ("eat-0.4", "at-0.4"))
    return [
        answer(
            "at ε=0.4 the warm start learns where random weights do not",
            warm[-1] < chance / 2 and cold[-1] >= PINNED * chance,
            from_at_03=warm[-1],
            from_random=cold[-1],
            constant=chance,
        )
    ]


def _fig9(parts: Found, chance: float) -> list[Answer]:
    """Where training from random weights and the extension reach, at each ε that both have."""
    last = {run["name"]: float(run["adv_loss"][-1]) for run in parts[""]["runs"]}
    return [
        answer(
            f"at {eps}/255 the warm start ends at a lower loss than random weights",
            last[f"cifar-eat-{eps}"] < last[f"cifar-at-{eps}"],
            from_8=last[f"cifar-eat-{eps}"],
            from_random=last[f"cifar-at-{eps}"],
            constant=chance,
        )
        for eps in (16, 32)
    ]


def _fig5_cifar(parts: Found, chance: float) -> list[Answer]:
    steps = {name: part["planes"][0]["largest_step"] for name, part in parts.items()}
    jumps = {name: part["planes"][0]["sudden_jump"] for name, part in parts.items()}
    claim = "the loss around a test image, by ε in 1/255"
    return [answer(claim, None, largest_step=steps, sudden_jump=jumps)]


def _fig10(parts: Found, chance: float) -> list[Answer]:
    found = {run["name"]: _settled(run) for run in parts[""]["runs"]}
    return [
        answer(
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
    """The measures of saliency, image by image: the second run minus the first."""
    return [
        answer(
            f"{row['quantity']} at ε={row['eps']:g}: more in {row['run']} than in {row['against']}",
            None if row["mean"] is None else bool(row["low"] > 0),
            difference=row["mean"],
            low=row["low"],
            high=row["high"],
            n=row["n"],
        )
        for row in parts[""]["differences"]
        if row["kind"] == "saliency"
    ]


def _fig13(parts: Found, chance: float) -> list[Answer]:
    """The same; the paper claims no order."""
    return [answer | {"holds": None} for answer in _explained(parts, chance)]


def _fig12(parts: Found, chance: float) -> list[Answer]:
    found = parts[""]
    error = found["error"]
    return [
        answer(
            "the least error grows with ε, from that of the Bayes rule to that of guessing",
            error == sorted(error)
            and math.isclose(error[0], found["bayes_error"], rel_tol=1e-9)
            and error[-1] == 0.5,
            bayes_error=found["bayes_error"],
            largest_eps_below_guessing=found["l0_largest_eps"],
        )
    ]


_ANSWERS: dict[str, Callable[[Found, float], list[Answer]]] = {
    **TABLES,
    "direct": _direct,
    "fig1": _fig1,
    "fig2": _fig2,
    "fig2-cifar": _fig2,
    "fig3": _fig3,
    "fig4": _fig4,
    "fig5": _fig5,
    "fig5-cifar": _fig5_cifar,
    "fig6": _explained,
    "fig7": _fig7,
    "fig8": _fig8,
    "fig9": _fig9,
    "fig10": _fig10,
    "fig11": _fig4,
    "fig12": _fig12,
    "fig13": _fig13,
}
