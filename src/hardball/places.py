"""Where an evaluation keeps what it finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Places:
    """In the run's folder; for a weights file X.safetensors beside it, as X.evaluation.json, …"""

    evaluation: Path
    witnesses: Path
    state: Path

    @classmethod
    def of(cls, path: Path) -> Self:
        """The places for a run (or any folder), or for a weights file."""

        def named(name: str) -> Path:
            return path / name if path.is_dir() else path.with_suffix(f".{name}")

        return cls(
            evaluation=named("evaluation.json"),
            witnesses=named("witnesses.safetensors"),
            state=named("evaluation.state"),
        )
