"""The paper's tables, figures and numbered claims: what each measures, on which trainings."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from hardball.reproduction.parts import (
    RANDOM,
    Accuracy,
    Checks,
    Curves,
    Part,
    Plane,
    Saliency,
    Segment,
    Settling,
    Surface,
    Sweep,
)
from hardball.reproduction.trainings import TRAININGS, On

AUTOATTACK = ("apgd-ce", "apgd-t", "fab-t", "square")
"""Its standard version. Named here too: a list of recipes needs no PyTorch."""
STRONG = ("pgd-200-x10", "pgd-margin-100-x5", *AUTOATTACK)
SECTION_33 = ("pgd-25@0.05", "pgd-1000@0.01", "pgd-raw-2000@5e4")
"""The training attack at ε=0.5, then those of section 3.3: smaller steps, raw gradients."""
CIFAR_EPS = (8 / 255, 16 / 255, 32 / 255)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One figure, table or claim of the paper."""

    title: str
    claim: str
    """What the paper says it shows."""
    parts: dict[str, Part] = field(default_factory=dict)
    """What is measured, by a name that its file gets; "" for the only one."""

    def without(self, left_out: Collection[str]) -> "Recipe":
        """The same, without some networks: curves lose theirs, other parts that need one are dropped."""
        parts = {
            key: replace(part, runs=tuple(n for n in part.runs if n not in left_out))
            if isinstance(part, Curves)
            else part
            for key, part in self.parts.items()
            if isinstance(part, Curves) or not {*part.runs} & {*left_out}
        }
        return replace(self, parts=parts)

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names of the networks it needs, each once."""
        return tuple(dict.fromkeys(name for part in self.parts.values() for name in part.runs))

    @property
    def trains(self) -> bool:
        """Something has to be trained for it."""
        return bool(self.trainings) or any(isinstance(p, Sweep) for p in self.parts.values())

    @property
    def on(self) -> On:
        """The data it is about."""
        return next((TRAININGS[name].on for name in self.trainings), "mnist")


def _table1(runs: tuple[str, ...], eps: tuple[float, ...] = (0.3, 0.4)) -> dict[str, Part]:
    return {"": Accuracy(runs=runs, eps=eps, attacks=("paper-mnist",), strong=STRONG)}


def _table2(runs: tuple[str, ...]) -> dict[str, Part]:
    attacks = ("paper-cifar10",)
    return {"": Accuracy(runs=runs, eps=CIFAR_EPS, attacks=attacks, strong=AUTOATTACK)}


TABLES: dict[str, Recipe] = {
    "table1": Recipe(
        title="MNIST, accuracy under signed PGD with 200 steps of 0.005",
        claim="EAT 98 / 94 / 90, IAT 98 / 95 / 91, AT(0.3) 98 / 91 / 15 "
        "(clean, ε=0.3, ε=0.4, in percent)",
        parts=_table1(("eat-0.4", "iat-0.4", "at-0.3")),
    ),
    "table1-code": Recipe(
        title="Table 1, trained as the authors' code does",
        claim="as Table 1; the code takes smaller and more steps than the text, and attacks in train "
        "mode",
        parts=_table1(("eat-0.4-code", "iat-0.4-code", "at-0.3-code")),
    ),
    "table1-more": Recipe(
        title="MNIST, extension from 0.35 to 0.45",
        claim="named beside 0.3 → 0.4, without a figure of its own; it does not say how the weights of "
        "0.35 are found",
        parts={
            **_table1(("eat-0.45", "eat-0.35"), (0.35, 0.45)),
            "curves": Curves(runs=("at-0.35", "eat-0.35", "eat-0.45")),
        },
    ),
    "table2": Recipe(
        title="CIFAR-10, accuracy under signed PGD with 200 steps of 2/255",
        claim="EAT 8→16: 75 / 56 / 32 / 10, EAT 8→32: 33 / 28 / 24 / 16, AT(8): 87 / 53 / 18 / 1 "
        "(clean, 8, 16 and 32/255, in percent)",
        parts=_table2(
            (
                "cifar-eat-16",
                "cifar-eat-32",
                "cifar-at-8",
                "cifar-at-16",
                "cifar-at-32",
                "cifar-adaptive",
            )
        ),
    ),
    "table2-code": Recipe(
        title="Table 2, trained as the authors' code does",
        claim="as Table 2; the code attacks in train mode",
        parts=_table2(("cifar-eat-16-code", "cifar-eat-32-code", "cifar-at-8-code")),
    ),
    "l2-remark": Recipe(
        title="MNIST, accuracy in ℓ2: PGD with 125 steps of 0.1 at ε=5",
        claim="about 60% for EAT 0.3→0.4, about 30% for AT(0.3)",
        parts={
            "": Accuracy(
                runs=("eat-0.4", "at-0.3"),
                eps=(5.0,),
                attacks=("pgd-125@0.1",),
                strong=("pgd-100-x10",),
                norm="l2",
            )
        },
    ),
    "remark1": Recipe(
        title="Extension from weights of standard training",
        claim="does not work: weights that are not robust are no better than random ones",
        parts={
            "": Curves(runs=("eat-0.4", "eat-0.4-standard")),
            "accuracy": Accuracy(
                runs=("eat-0.4", "eat-0.4-standard"), eps=(0.4,), attacks=("paper-mnist",)
            ),
        },
    ),
    "direct": Recipe(
        title="Training loss from random weights at ε=0.4, three seeds",
        claim="stays at that of a constant prediction, whatever the random weights",
        parts={"": Curves(runs=("at-0.4", "at-0.4-seed1", "at-0.4-seed2"))},
    ),
    "eps05": Recipe(
        title="ε=0.5: robust to its own attack, and masked",
        claim="EAT 0.3→0.5 has 80% under the training attack, 30% under 1000 steps of 0.01, 14–20% "
        "under raw gradients; EAT 0.4 does not drop; trained again with 200 steps of 0.005 its loss is "
        "1.2 instead of 0.6, its accuracy 30%",
        parts={
            "0.5": Accuracy(runs=("eat-0.5",), eps=(0.5,), attacks=SECTION_33),
            "0.4": Accuracy(runs=("eat-0.4",), eps=(0.4,), attacks=SECTION_33),
            "again": Accuracy(
                runs=("eat-0.5-fine",), eps=(0.5,), attacks=("paper-mnist", *SECTION_33[1:])
            ),
            "curves": Curves(runs=("eat-0.5", "eat-0.5-fine")),
        },
    ),
    "appendix-b": Recipe(
        title="Training at ε=0.4 from random weights, in many ways",
        claim="no initialisation, optimiser, learning rate, batch size, network or step size helps; FGSM "
        "training works, and is masked",
        parts={"": Sweep()},
    ),
    "appendix-c": Recipe(
        title="The checklist",
        claim="every item passes at ε=0.4; at 0.5 many small steps and raw gradients break what PGD does "
        "not",
        parts={
            "0.4": Checks(run="eat-0.4", eps=0.4),
            "0.5": Checks(run="eat-0.5", eps=0.5),
        },
    ),
}

FIGURES: dict[str, Recipe] = {
    "fig1": Recipe(
        title="Training loss from random weights, by ε",
        claim="at a large ε the loss never leaves that of a constant prediction",
        parts={"": Curves(runs=("at-0.2", "at-0.3", "at-0.4"))},
    ),
    "fig2": Recipe(
        title="Training loss from weights of a smaller ε",
        claim="from the weights of 0.3 the loss at ε=0.4 falls at once, and from those of 0.35 at 0.45",
        parts={"": Curves(runs=("eat-0.4", "eat-0.45"))},
    ),
    "fig2-cifar": Recipe(
        title="Training loss from weights of 8/255",
        claim="it falls at 16/255 and at 32/255",
        parts={"": Curves(runs=("cifar-eat-16", "cifar-eat-32"))},
    ),
    "fig3": Recipe(
        title="Adversarial loss from random weights to trained ones",
        claim="the loss on the way is less and less convex as ε grows",
        parts={
            "standard": Segment(start=RANDOM, end="standard", eps=0.0),
            "0.2": Segment(start=RANDOM, end="at-0.2", eps=0.2),
            "0.3": Segment(start=RANDOM, end="at-0.3", eps=0.3),
            "0.4": Segment(start=RANDOM, end="eat-0.4", eps=0.4),
        },
    ),
    "fig4": Recipe(
        title="Adversarial loss from AT(0.3) weights to extended ones",
        claim="near convex at the new ε, and low all the way at the initial one",
        parts={"": Segment(start="at-0.3", end="eat-0.4", eps=0.4, also_at=0.3)},
    ),
    "fig5": Recipe(
        title="Loss around a test image",
        claim="smooth for ε = 0.3 and 0.4; jumps for ε = 0.5, which is masked",
        parts={
            "0.3": Plane(run="at-0.3", eps=0.3),
            "0.4": Plane(run="eat-0.4", eps=0.4),
            "0.5": Plane(run="eat-0.5", eps=0.5),
        },
    ),
    "fig5-cifar": Recipe(
        title="Loss around a test image",
        claim="smooth",
        parts={
            "8": Plane(run="cifar-at-8", eps=8 / 255, reach=8 / 255),
            "16": Plane(run="cifar-eat-16", eps=16 / 255, reach=16 / 255),
            "32": Plane(run="cifar-eat-32", eps=32 / 255, reach=32 / 255),
        },
    ),
    "fig6": Recipe(
        title="Saliency at ε=0.3, perturbations at ε=0.45",
        claim="those of the extended network are easier to interpret",
        parts={"": Saliency(runs=("at-0.3", "eat-0.4"), eps=0.3, at_eps=0.45)},
    ),
    "fig7": Recipe(
        title="Training loss of the ramp from 0 to 0.5",
        claim="under 0.25 up to ε ≈ 0.4, then up to about 1.2: where to stop",
        parts={"": Curves(runs=("iat-0.5",))},
    ),
    "fig8": Recipe(
        title="Training loss from random and from AT(0.3) weights",
        claim="the warm start learns where training from random weights does not",
        parts={"": Curves(runs=("at-0.3", "at-0.4", "eat-0.4"))},
    ),
    "fig9": Recipe(
        title="Training loss from random weights and from those of 8/255",
        claim="at 16/255 and more training from random weights is stuck or slow, the warm start is not",
        parts={
            "": Curves(
                runs=("cifar-at-8", "cifar-at-16", "cifar-at-32", "cifar-eat-16", "cifar-eat-32")
            )
        },
    ),
    "fig10": Recipe(
        title="Convergence: change of the loss, distance of the weights",
        claim="both become small within the 5 epochs of an extension",
        parts={"": Settling(runs=("eat-0.4", "at-0.3"))},
    ),
    "fig11": Recipe(
        title="Figure 4 under PGD with 200 steps of 0.005",
        claim="as Figure 4",
        parts={
            "": Segment(
                start="at-0.3",
                end="eat-0.4",
                eps=0.4,
                also_at=0.3,
                attack="pgd-200@0.005",
                long=True,
            )
        },
    ),
    "fig12": Recipe(
        title="ℓ0 error of every threshold between two Bernoulli classes",
        claim="k=50, t=0.3: the optimum grows with ε to the error of guessing",
        parts={"": Surface(k=50, t=0.3)},
    ),
    "fig13": Recipe(
        title="Saliency and perturbations of the masked network",
        claim="a raw-gradient attack on the ε=0.5 network finds what the signed one does not",
        parts={"": Saliency(runs=("eat-0.4", "eat-0.5"), eps=0.3, at_eps=0.5)},
    ),
}

RECIPES: dict[str, Recipe] = {**TABLES, **FIGURES}
"""name → recipe."""
