"""An evaluation asked for by names: what `hardball evaluate` does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import nn

from hardball import storage
from hardball.commands.require import Requirement
from hardball.commands.subject import Subject, subject
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.evaluation import Evaluation, Journal, evaluate, protocols
from hardball.evaluation.journal import identity
from hardball.evaluation.preflight import usable
from hardball.evaluation.witnesses import as_safetensors, sealed
from hardball.runs import Config, RunFolder
from hardball.threats import ThreatModel
from hardball.verification.places import Places


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """An evaluation, and what it was made of: what further checks need."""

    evaluation: Evaluation
    network: nn.Module
    """In evaluation mode, on the device."""
    data: Dataset
    """The examples measured, on the device."""
    config: Config
    journal: Journal
    places: Places
    about: dict[str, Any]
    """What evaluation.json says beside the measurement."""
    require: Sequence[Requirement] = ()
    failures: Sequence[tuple[str, str]] = ()
    """(attack, reason) of the checklist's attacks that could not run."""

    @property
    def meets(self) -> bool:
        """Every requirement is met."""
        return all(requirement.met_by(self.evaluation) for requirement in self.require)

    def write(self, **more: Any) -> None:
        """witnesses.safetensors, then evaluation.json with `more` keys of it."""
        witnesses = as_safetensors(
            self.network,
            self.data,
            self.evaluation,
            weights_sha256=self.about["weights_sha256"],
            data_sha256=self.about["data_sha256"],
        )
        storage.write_atomically(self.places.witnesses, witnesses)
        count = self.evaluation.clean.n - int(self.evaluation.broken_at.isinf().sum())
        kept = {
            "file": self.places.witnesses.name,
            "sha256": storage.digest(witnesses),
            "count": count,
        }
        required = [requirement.as_json(self.evaluation) for requirement in self.require]
        content = {
            **self.evaluation.as_json(),
            **self.about,
            "witnesses": kept,
            "required": required,
            "checklist": None,
            "verdict": None,
            **more,
        }
        storage.write_atomically(self.places.evaluation, sealed(content))


def measure(
    path: Path,
    *,
    eps: list[float] | None,
    attacks: list[str] | None,
    protocol: str,
    n: int | None,
    seed: int,
    batch_size: int,
    processes: int = 1,
    data: str | None = None,
    data_root: Path | None = None,
    split: str = "test",
    model: str | None = None,
    model_args: dict[str, Any] | None = None,
    norm: str | None = None,
    require: Sequence[Requirement] = (),
    device: str = "auto",
    progress: Progress | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Measured:
    """Evaluate a run (or, with data and model named, a weights file) and write evaluation.json.

    What an earlier call found about the same weights and images, with the same norm and seed, is in
    the folder evaluation.state and not done again. `say` is told so, in a line. The ε of the
    requirements are measured too.

    Raises:
        UserError: see `evaluate`, `subject` and `protocols`.
    """
    chosen = protocols.protocol(protocol) if attacks is None else protocols.named(attacks)
    at_least = {"n": (n, 1), "batch_size": (batch_size, 1), "seed": (seed, 0)}
    for name, (value, least) in (at_least | {"processes": (processes, 1)}).items():
        if value is not None and value < least:
            raise UserError(f"{name}={value}; allowed is {least} or more")
    trained = RunFolder(path).config() if path.is_dir() else {}
    radii = [_trained_at(trained)] if eps is None else eps
    if not radii or not chosen:
        raise UserError(f"eps={radii}, attacks={list(chosen)}; give at least one of each")
    radii = [*radii, *(requirement.eps for requirement in require)]
    threat = ThreatModel(norm or trained.get("settings", {}).get("norm", "linf"), max(radii))
    found = subject(
        path,
        data=data,
        data_root=data_root,
        split=split,
        n=n,
        model=model,
        model_args=model_args,
        device=device,
    )
    failures: Sequence[tuple[str, str]] = ()
    if attacks is None and protocol == protocols.CHECKLIST:
        # the verdict names them; any other protocol ends here with the reason
        chosen, failures = usable(chosen, found.network, found.data, threat)
    places, known = Places.of(path), _identity(found, threat.norm, seed)
    journal = Journal(places.state, known)
    other = journal.about_others()
    if other is not None:
        say(other)
    evaluation = evaluate(
        found.network,
        found.data,
        threat,
        attacks=chosen,
        eps=radii,
        seed=seed,
        batch_size=batch_size,
        processes=processes,
        journal=journal,
        progress=progress,
        say=say,
    )
    told = {name: known[name] for name in ("weights_sha256", "data_sha256", "model")}
    measured = Measured(
        evaluation=evaluation,
        network=found.network,
        data=found.data,
        config=found.config,
        journal=journal,
        places=places,
        about={"run": path.name, "split": split, **told},
        require=require,
        failures=failures,
    )
    measured.write()
    return measured


def _trained_at(config: Config) -> float:
    """The ε that a run was trained for; 0 if that is not known."""
    curriculum = config.get("curriculum", {})
    return float(curriculum.get("target", curriculum.get("eps", 0.0)))


def _identity(found: Subject, norm: str, seed: int) -> dict[str, Any]:
    model = found.config["model"]
    return identity(found.data, norm, seed, weights_sha256=found.weights_sha256, model=model)
