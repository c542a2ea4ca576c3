"""What is asked of `hardball reproduce`."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from hardball.errors import UserError, unknown
from hardball.presets import Values, merged
from hardball.reproduction import Budget
from hardball.reproduction.budgets import Side, budget
from hardball.reproduction.trainings import TRAININGS, On
from hardball.training import Machine

CIFAR = ("cifar10", "cifar10-jpeg")
S = TypeVar("S", bound=Side)


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """What to remake, with how much effort, and where."""

    names: list[str] = field(kw_only=False)
    """Tables, figures and claims; all is every one, mnist and cifar are those on one data set."""
    budget: str = "quick"
    """quick (small data, minutes), short (hours on two cores) or full (the paper's settings)."""
    out: Path = Path("reproduction")
    """Folder for NAME.json, NAME.png and the data of each part."""
    runs: Path | None = None
    """Folder for the trainings; OUT/runs by default. Those that are there are not trained again."""
    data_root: Path = Path("data")
    """Where MNIST is, in torchvision's layout."""
    cifar: str | None = None
    """Another form of CIFAR-10: cifar10-jpeg, image files in CIFAR_ROOT/train/CLASS (short and full)."""
    cifar_root: Path | None = None
    """Where CIFAR-10 is; DATA_ROOT by default."""
    processes: int = 1
    """How many evaluate at once, on the CPU; changes the speed, not the answer."""
    precision: str = "32-true"
    """Of the trainings: 32-true, tf32 or bf16-mixed. Attacks and measurements compute in float32."""
    n: int | None = None
    """Test images under attack; the budget's number by default."""
    n_strong: int | None = None
    """Test images under attacks that take long, and of the checklist; the budget's by default."""
    zoo: bool = False
    """Take the trainings whose weights the zoo has from there; with the budget full."""
    hours: float | None = None
    """Refuse to begin if the trainings would take longer."""

    @property
    def size(self) -> Budget:
        """The budget, with the numbers of images asked for."""
        size = budget(self.budget)
        return replace(
            self._counted(size),
            cifar=self._counted(size.cifar),
            n_checks=self.n_strong or size.n_checks,
        )

    def _counted(self, side: S) -> S:
        return replace(side, n=self.n or side.n, n_strong=self.n_strong or side.n_strong)

    def __post_init__(self) -> None:
        if self.cifar not in (None, *CIFAR):
            raise unknown("form of CIFAR-10", self.cifar, CIFAR)
        if self.zoo and self.budget != "full":
            raise UserError(
                f"`zoo=true`, `budget={self.budget}`: the networks of the zoo are those of `budget=full`; "
                "give that, or leave out `zoo`"
            )
        Machine(precision=self.precision)  # refuses what it does not know
        for name, n in (("n", self.n), ("n_strong", self.n_strong)):
            if n is not None and n < 1:
                raise UserError(f"`{name}={n}`: at least one test image is needed")

    def data_of(self, on: On) -> tuple[str, Path]:
        """Name and place of a data set."""
        if on == "mnist":
            return self.size.data, self.data_root
        small = self.size.cifar.data not in CIFAR
        name = self.size.cifar.data if small or self.cifar is None else self.cifar
        return name, self.cifar_root or self.data_root

    def side(self, on: On) -> Side:
        """The numbers for a data set."""
        return self.size.cifar if on == "cifar" else self.size

    def cut(self, on: On, trainings: Iterable[str] = TRAININGS) -> str:
        """What is otherwise than in the paper, of a result of these trainings."""
        precision = "" if self.precision == "32-true" else f"trainings in {self.precision}"
        images = ""
        if self.n is not None or self.n_strong is not None:
            side = self.side(on)
            images = f"{side.n:,} test images, {side.n_strong:,} under attacks that take long"
        taken = any(map(self.entry, trainings))
        zoo = "weights of the zoo, trained in bf16-mixed" if taken else ""
        return "; ".join(said for said in (self.side(on).cut, precision, zoo, images) if said)

    def on_machine(self, values: Values) -> Values:
        """A training's nested values, in this precision."""
        if self.precision == "32-true":
            return values
        return merged(values, {"machine": {"precision": self.precision}})

    @property
    def tried(self) -> Values:
        """The grid of Appendix B."""
        return {**self.size.tried, "base": self.on_machine(self.size.tried["base"])}

    def command(self, name: str) -> str:
        """What remakes one result."""
        flags = "" if self.precision == "32-true" else f" --precision {self.precision}"
        flags += " --zoo true" if self.zoo else ""
        flags += "" if self.n is None else f" --n {self.n}"
        flags += "" if self.n_strong is None else f" --n-strong {self.n_strong}"
        return f"hardball reproduce {name} --budget {self.budget}{flags}"

    def folder(self, training: str) -> Path:
        """Of a training."""
        if self.entry(training):
            return self.out / "zoo" / training
        return (self.runs or self.out / "runs") / training

    def entry(self, training: str) -> str | None:
        """The zoo's network to take in its place."""
        return TRAININGS[training].zoo if self.zoo else None
