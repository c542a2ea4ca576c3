"""What reproduced tables and numbered claims say to the paper's: see `answers`."""

from collections.abc import Callable, Mapping
from typing import Any

Found = Mapping[str, Any]
"""part → result."""
Answer = dict[str, Any]

PINNED = 0.95
"""Of ln K: the loss of a constant prediction (as in `training/stopping`)."""
CLOSE = 0.03
"""Figures that differ by no more than this are the same."""

PAPER: dict[str, tuple[float, ...]] = {
    "eat-0.4": (0.98, 0.94, 0.90),
    "iat-0.4": (0.98, 0.95, 0.91),
    "at-0.3": (0.98, 0.91, 0.15),
    "cifar-eat-16": (0.75, 0.56, 0.32, 0.10),
    "cifar-eat-32": (0.33, 0.28, 0.24, 0.16),
    "cifar-at-8": (0.87, 0.53, 0.18, 0.01),
}
"""Training → clean accuracy, then that at each ε of its table."""

APPENDIX_C = {
    "1": "FGSM is never stronger than PGD",
    "2": "an unbounded attack reaches 0%",
    "3": "the random start changes little",
    "4": "ten restarts change little",
    "5": "2000 steps change little",
    "6": "accuracy falls monotonically with ε",
    "7": "targeted PGD over all wrong classes changes little",
    "8": "brute force finds nothing that PGD missed",
    "9": "the smallest distortions are larger than the base model's",
    "10": "black-box attacks are no better than white-box ones",
    "11": "transfer from another model is no better than white box",
    "12": "transfer from the model it started from is no better than white box",
    "3.3": "smaller steps, more of them and raw gradients change little",
}
"""Item → what the paper says of it at ε=0.4."""


def answer(claim: str, holds: bool | None, **numbers: Any) -> Answer:
    """A claim, whether it shows, and the numbers that say so."""
    return {"claim": claim, "holds": holds, "numbers": numbers}


def _left(run: Found, which: str) -> list[float]:
    """Accuracy at each ε under the pointwise worst of the attacks of a set."""
    return [float(row["accuracy"]) for row in run[which]["robust"]]


def _table(parts: Found, chance: float) -> list[Answer]:
    """Each row against the paper's, where it has one."""
    found = []
    for run in parts[""]["runs"]:
        name = run["name"]
        paper = PAPER.get(name.removesuffix("-code"))
        ours = [float(run["attacks"]["clean"]["accuracy"]), *_left(run, "attacks")]
        numbers: dict[str, Any] = {"ours": ours, "under_autoattack_and_more": _left(run, "strong")}
        if paper is None:
            found.append(answer(f"{name}: the paper has no figures", None, **numbers))
            continue
        near = all(abs(a - b) <= CLOSE for a, b in zip(ours, paper, strict=True))
        claim = f"{name}: within 3 points of the paper's figures"
        found.append(answer(claim, near, paper=paper, **numbers))
    return found


def _table1_more(parts: Found, chance: float) -> list[Answer]:
    """The extension to 0.45; and whether its weights for 0.35 need one as well."""
    last = _last(parts["curves"])
    return [
        *_table(parts, chance),
        answer(
            "the loss at ε=0.45 falls from weights of 0.35",
            last["eat-0.45"] < PINNED * chance,
            last_loss=last,
            constant=chance,
        ),
        answer(
            "at ε=0.35 training from random weights stays at the loss of a constant prediction",
            last["at-0.35"] >= PINNED * chance,
            last_loss=last,
            constant=chance,
        ),
    ]


def _l2_remark(parts: Found, chance: float) -> list[Answer]:
    extended, base = (_left(run, "attacks")[0] for run in parts[""]["runs"])
    strong = [_left(run, "strong")[0] for run in parts[""]["runs"]]
    return [
        answer(
            "in ℓ2 at ε=5 the network for ε=0.4 keeps more than that for 0.3, by 15 points or more",
            extended - base >= 0.15,
            eat_04=extended,
            at_03=base,
            under_10_restarts=strong,
        ),
        answer(
            "about 60% and 30%, within 10 points",
            abs(extended - 0.6) <= 0.1 and abs(base - 0.3) <= 0.1,
            eat_04=extended,
            at_03=base,
        ),
    ]


def _last(part: Found) -> dict[str, float]:
    """Loss of the last epoch of each curve."""
    return {run["name"]: float(run["adv_loss"][-1]) for run in part["runs"]}


def _remark1(parts: Found, chance: float) -> list[Answer]:
    last = _last(parts[""])
    kept = {run["name"]: _left(run, "attacks")[0] for run in parts["accuracy"]["runs"]}
    return [
        answer(
            "from weights of standard training the loss at ε=0.4 stays at that of a constant prediction",
            last["eat-0.4-standard"] >= PINNED * chance,
            last_loss=last,
            constant=chance,
            accuracy=kept,
        )
    ]


def _eps05(parts: Found, chance: float) -> list[Answer]:
    """Accuracy after each attack in turn, in the order of section 3.3; and after the retraining."""
    left = {name: _by_attack(parts[name]["runs"][0]["attacks"]) for name in ("0.5", "0.4")}
    drops = {name: first - min(more) for name, (first, *more) in left.items()}
    found = [
        answer(
            "EAT 0.5 falls under smaller steps or raw gradients by 40 points or more",
            drops["0.5"] >= 0.4,
            accuracy=left["0.5"],
        ),
        answer("EAT 0.4 falls by 10 points at most", drops["0.4"] <= 0.1, accuracy=left["0.4"]),
    ]
    if "again" in parts:
        again, last = _by_attack(parts["again"]["runs"][0]["attacks"]), _last(parts["curves"])
        found.append(
            answer(
                "trained with smaller steps its loss is twice as large (0.6, then 1.2)",
                last["eat-0.5-fine"] >= 1.5 * last["eat-0.5"],
                last_loss=last,
            )
        )
        found.append(
            answer(
                "… and its accuracy is less than half of what it seemed (80%, then 30%)",
                again[0] <= left["0.5"][0] / 2,
                seemed=left["0.5"][0],
                accuracy=again,
            )
        )
    return found


def _by_attack(evaluation: Found) -> list[float]:
    """Accuracy left after each attack in turn: each is run on what the cheaper ones left."""
    return [float(row["after"]["accuracy"]) for row in evaluation["scores"]]


def _appendix_b(parts: Found, chance: float) -> list[Answer]:
    trials = parts[""]["trials"]
    fgsm = [one for one in trials if one["own"].get("steps") == 1]
    others = [one for one in trials if one not in fgsm]
    learned = [one["name"] for one in others if one["status"] == "learned"]
    found = [
        answer(
            "from random weights nothing learns",
            not learned,
            learned=", ".join(learned) or "none",
            of=len(others),
            **{
                status: sum(one["status"] == status for one in others)
                for status in ("collapsed", "masked", "failed")
            },
        )
    ]
    return found + [
        answer(
            "FGSM training works, and is masked",
            one["status"] == "masked",
            ended=one["status"],
            clean=one["clean"],
            own_attack=one["trained"],
            probe=one["probe"],
        )
        for one in fgsm
    ]


def _appendix_c(parts: Found, chance: float) -> list[Answer]:
    """Each item at ε=0.4; the sentence at 0.5, which is masked."""
    found = []
    for one in parts["0.4"]["checklist"]["checks"]:
        if one["number"] in APPENDIX_C:
            holds = {"pass": True, "fail": False}.get(one["status"])
            said = one["note"] or one["reason"]
            numbers = {"found": one["found"] or one["status"], **({"note": said} if said else {})}
            claim = f"{one['number']} ({one['name']}): {APPENDIX_C[one['number']]}"
            found.append(answer(claim, holds, **numbers))
    masked = parts["0.5"]["verdict"]
    failed = [c["name"] for c in parts["0.5"]["checklist"]["checks"] if c["status"] == "fail"]
    found.append(
        answer(
            "at ε=0.5 the checklist finds the masking",
            masked["word"] == "masked",
            verdict=masked["word"],
            failed=", ".join(failed) or "none",
        )
    )
    return found


TABLES: dict[str, Callable[[Found, float], list[Answer]]] = {
    "table1": _table,
    "table1-code": _table,
    "table1-more": _table1_more,
    "table2": _table,
    "table2-code": _table,
    "l2-remark": _l2_remark,
    "remark1": _remark1,
    "eps05": _eps05,
    "appendix-b": _appendix_b,
    "appendix-c": _appendix_c,
}
"""recipe → its answers."""


def curves_fall(part: Found, chance: float) -> list[Answer]:
    """Each curve of an extension: low at once, and falling."""
    found = []
    for run in part["runs"]:
        losses = [float(value) for value in run["adv_loss"]]
        claim = f"{run['name']}: the loss is low from the first epoch on and falls"
        holds = losses[0] < chance / 2 and losses[-1] < losses[0]
        found.append(answer(claim, holds, first=losses[0], last=losses[-1]))
    return found
