"""What is asked of `hardball reproduce`."""

from dataclasses import dataclass, field
from pathlib import Path

from hardball.reproduction import Budget
from hardball.reproduction.budgets import budget


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """What to remake, with how much effort, and where."""

    names: list[str] = field(kw_only=False)
    """Tables and figures; all is every one."""
    budget: str = "quick"
    """quick (digits, minutes), short (MNIST, hours on two cores) or full (the paper's settings)."""
    out: Path = Path("reproduction")
    """Folder for NAME.json, NAME.png and the data of each part."""
    runs: Path | None = None
    """Folder for the trainings; OUT/runs by default. Those that are there are not trained again."""
    data_root: Path = Path("data")
    """Where MNIST is, in torchvision's layout."""
    processes: int = 1
    """How many evaluate at once, on the CPU; changes the speed, not the answer."""
    hours: float | None = None
    """Refuse to begin if the trainings would take longer."""

    @property
    def size(self) -> Budget:
        return budget(self.budget)

    def folder(self, training: str) -> Path:
        """Of a training."""
        return (self.runs or self.out / "runs") / training
