"""Robust accuracy of a run or a weights file, by names: the first part of `hardball evaluate`."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from hardball import certify, storage
from hardball.attacks import Attack, check_precision
from hardball.commands.require import Requirement
from hardball.commands.subject import Subject, SubjectConfig, complete_config, subject
from hardball.errors import UserError
from hardball.evaluation import Evaluation, Journal, evaluate, protocols, save_evaluation
from hardball.evaluation.journal import scope_of
from hardball.evaluation.preflight import usable
from hardball.evaluation.workers import check_processes
from hardball.places import Places
from hardball.runs import Config, noise_of
from hardball.threats import ThreatModel

Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How to measure."""

    eps: float | list[float] | None = None
    """The ε to measure at, one or several, e.g. '[0.3, 0.4]'; by default the one trained for."""
    norm: str | None = None
    """The norm: linf, l2, l0 or unbounded; the run's own by default."""
    protocol: str = "quick"
    """A named set of attacks: quick, paper, paper-cifar10, strong, autoattack; checklist is autoattack,
    the checks of docs/checklist.md and a verdict."""
    attacks: str | list[str] | None = None
    """Attacks by name instead, e.g. '[pgd-100, targeted-pgd-20-x5]', pgd-1000@0.01 (with a step size),
    pgd-decay-20-x5 (steps from 2ε down to 0) or your own package.module:Class."""
    certify: str | list[str] | None = None
    """Certificates by name, lower bounds beside the attacks' upper bounds; or your own
    package.module:Class."""
    require: str | None = None
    """Accuracy that must be left at an ε, as EPS:ACC, e.g. 0.4:0.90, or several, e.g.
    0.3:0.95,0.4:0.9. Exit code 1 if one is missed."""
    seed: int = 0
    """Of the attacks' random starts."""
    batch_size: int = 256
    """Images at a time; changes the speed, not the answer."""
    processes: int = 1
    """How many work at once, on the CPU; changes the speed, not the answer."""
    precision: str = "32-true"
    """In which attacks search: 32-true, or bf16-mixed, faster on processors made for it; attacks of many
    small steps find less in it. What they find is judged in the network's own precision either way."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("processes", 1), ("seed", 0)):
            value = getattr(self, name)
            if not least <= value < 2**63:
                raise UserError(f"`{name}={value}`; allowed is {least} or more, below 2⁶³")
        check_processes(self.processes)
        check_precision(self.precision)
        if self.with_checklist and self.precision != "32-true":
            raise UserError(
                f"`precision={self.precision}` with `protocol=checklist`, which is strict; use another "
                "`protocol`, or leave it out"
            )

    @property
    def with_checklist(self) -> bool:
        """The checklist follows."""
        return self.attacks is None and self.protocol == protocols.CHECKLIST

    @property
    def requirements(self) -> list[Requirement]:
        return [] if self.require is None else Requirement.parse(self.require)

    def chosen_attacks(self) -> dict[str, Attack]:
        """By their names, or the protocol's.

        Raises:
            UserError: no such name, or none at all.
        """
        names = _several(self.attacks)
        found = protocols.protocol(self.protocol) if names is None else protocols.named(names)
        if not found:
            raise UserError(f"`attacks={self.attacks}`; name at least one")
        return dict(found)

    def radii(self, run: Path, config: Config) -> list[float]:
        """Those asked for, or the one trained for, and those of the requirements.

        Raises:
            UserError: neither is known.
        """
        if self.eps is None:
            radii = [trained_eps(run, config)]
        else:
            radii = [self.eps] if isinstance(self.eps, int | float) else list(self.eps)
        if not radii:
            raise UserError(f"`eps={self.eps}`; give at least one")
        return [*radii, *(requirement.eps for requirement in self.requirements)]


def _several(names: str | list[str] | None) -> list[str] | None:
    return [names] if isinstance(names, str) else names


def trained_eps(run: Path, config: Config) -> float:
    """The ε that a run was trained for.

    Raises:
        UserError: its config does not say, or it was trained with noise.
    """
    if noise_of(config) is not None:
        raise UserError(
            f"{run} was trained with noise, not for an ε; pass `eps` to attack it, or certify it: "
            f"hardball certify-smooth {run}"
        )
    curriculum = config.get("curriculum") or {}
    # runs of schema 1, before curricula had names, say eps
    found = curriculum.get("target", curriculum.get("eps"))
    if found is None:
        raise UserError(
            f"{run} does not say which ε it was trained for; pass the ε to measure at, e.g. `eps=0.3`"
        )
    return float(found)


def trained_norm(config: Config) -> str:
    """The norm that a run was trained in."""
    settings = config.get("settings") or {}
    return str(config.get("norm") or settings.get("norm") or "linf")


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """An evaluation, and what it was made of: what the checklist needs."""

    evaluation: Evaluation
    subject: Subject
    journal: Journal
    path: Path
    """The run, or the weights file."""
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
        """witnesses.safetensors, then evaluation.json with `more` fields of it."""
        required = [requirement.as_json(self.evaluation) for requirement in self.require]
        network, data = self.subject.network, self.subject.data
        fields = {**self.about, "required": required, **more}
        save_evaluation(self.evaluation, self.path, network, data, fields)


def measure(
    asked: SubjectConfig,
    how: MeasureConfig,
    *,
    progress: Progress | None = None,
    say: Say = lambda line: None,
    holding: ExitStack | None = None,
) -> Measured:
    """Evaluate a run (or, with data and model named, a weights file) and write evaluation.json.

    What an earlier call found about the same weights and images, with the same norm and seed, is in
    the folder evaluation.state and not done again. `say` is called with a line on that. The ε of the
    requirements are measured too. Where `holding` is given, no other process can evaluate the same
    until it is closed.

    Raises:
        UserError: see `evaluate`, `subject` and `protocols`; or another process evaluates the same.
    """
    attacks = how.chosen_attacks()
    certificates = certify.named(_several(how.certify) or [])
    trained = complete_config(asked)
    radii = how.radii(asked.run, trained)
    threat = ThreatModel(how.norm or trained_norm(trained), max(radii))
    found = subject(asked)
    if holding is not None:
        state = Places.of(asked.run).state
        storage.refuse_link(state)
        busy = f"another process is evaluating {asked.run}; wait for it, or evaluate a copy"
        holding.enter_context(storage.locked(state / "lock", busy))
    failures: Sequence[tuple[str, str]] = ()
    if how.with_checklist:
        # the verdict names them; any other protocol ends here with the reason
        attacks, failures = usable(attacks, found.network, found.data, threat)
    about = {
        "run": asked.run.name,
        "split": asked.split,
        "sample": asked.sample,
        "data_root": found.config["data"]["root"],
        "weights_sha256": found.weights_sha256,
        "data_sha256": found.data.sha256,
        "model": found.config["model"],
    }
    journal = _journal(asked.run, found, threat.norm, how.seed, say)
    stopped = dict(failures)
    evaluation = evaluate(
        found.network,
        found.data,
        eps=radii,
        attacks=attacks,
        norm=threat.norm,
        certify=certificates,
        seed=how.seed,
        batch_size=how.batch_size,
        processes=how.processes,
        precision=how.precision,
        journal=journal,
        progress=progress,
        say=say,
        unable=stopped.setdefault if how.with_checklist else None,
    )
    measured = Measured(
        evaluation=evaluation,
        subject=found,
        journal=journal,
        path=asked.run,
        about=about,
        require=how.requirements,
        failures=list(stopped.items()),
    )
    measured.write()
    return measured


def _journal(path: Path, found: Subject, norm: str, seed: int, say: Say) -> Journal:
    """The journal of this evaluation; says so if there are only results of others."""
    model, digest = found.config["model"], found.weights_sha256
    scope = scope_of(found.data, norm, seed, weights_sha256=digest, model=model)
    journal = Journal(Places.of(path).state, scope)
    other = journal.about_others()
    if other is not None:
        say(other)
    return journal
