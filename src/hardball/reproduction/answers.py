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
    learned = {name: loss for name, loss in last.items() if name != "at-0.4"}
    return [
        _answer(
            "training at ε=0.4 from random weights stays at the loss of a constant prediction",
            last["at-0.4"] >= PINNED * chance,
            last_loss=last["at-0.4"],
            constant=chance,
        ),
        _answer(
            "training at smaller ε from random weights learns",
            max(learned.values()) < chance / 2,
            last_loss=learned,
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
    ordered = [share[name] for name in ("standard", "0.2", "0.3", "0.4") if name in share]
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
    """The measures of saliency, image by image: the second run minus the first."""
    return [
        _answer(
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


def _left(run: Found, which: str, eps: float) -> float:
    """Accuracy under the pointwise worst of the attacks of a set."""
    return next(float(row["accuracy"]) for row in run[which]["robust"] if row["eps"] == eps)


def _table1(parts: Found, chance: float) -> list[Answer]:
    found = []
    for run in parts[""]["runs"]:
        paper = PAPER_TABLE1[run["name"]]
        ours = [
            float(run["attacks"]["clean"]["accuracy"]),
            *(_left(run, "attacks", e) for e in (0.3, 0.4)),
        ]
        strong = [_left(run, "strong", e) for e in (0.3, 0.4)]
        found.append(
            _answer(
                f"{run['name']}: within 3 points of the paper's figures",
                all(abs(mine - theirs) <= 0.03 for mine, theirs in zip(ours, paper, strict=True)),
                paper=paper,
                ours=ours,
                under_autoattack_and_more=strong,
            )
        )
    return found


PAPER_TABLE1 = {
    "eat-0.4": (0.98, 0.94, 0.90),
    "iat-0.4": (0.98, 0.95, 0.91),
    "at-0.3": (0.98, 0.91, 0.15),
}
"""Clean, ε=0.3, ε=0.4."""


def _eps05(parts: Found, chance: float) -> list[Answer]:
    """Accuracy after each attack alone, in the order of section 3.3."""
    left = {name: _by_attack(part["runs"][0]["attacks"]) for name, part in parts.items()}
    drops = {name: first - min(more) for name, (first, *more) in left.items()}
    return [
        _answer(
            "EAT 0.5 falls under smaller steps or raw gradients by 40 points or more",
            drops["0.5"] >= 0.4,
            accuracy=left["0.5"],
        ),
        _answer("EAT 0.4 falls by 10 points at most", drops["0.4"] <= 0.1, accuracy=left["0.4"]),
    ]


def _by_attack(evaluation: Found) -> list[float]:
    """Accuracy left after each attack in turn: each is run on what the cheaper ones left."""
    return [float(row["after"]["accuracy"]) for row in evaluation["scores"]]


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
    "table1": _table1,
    "eps05": _eps05,
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
    "fig13": _fig13,
}
