"""Networks for the zoo, made from runs and what was measured of them: what `hardball zoo add` does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardball import names, storage, zoo
from hardball.commands.measure import trained_norm
from hardball.commands.remake import train_command
from hardball.errors import Damaged, UserError
from hardball.report.zoo_card import card
from hardball.runs import Config, RunFolder, as_json

MOST = 5
"""Entries: they travel with every installation."""
LARGEST = 10 * 2**20
"""Bytes of an entry's weights."""


@dataclass(frozen=True, kw_only=True)
class AddConfig:
    """Which run, and as what."""

    run: Path = field(kw_only=False)
    """A run that has been evaluated."""
    name: str = ""
    """Of the entry, e.g. mnist-linf-0.4-extended."""
    licence: str = "MIT"
    """Of the weights."""
    evaluation: Path | None = None
    """What was measured; the run's evaluation.json by default."""
    zoo: Path = Path("zoo")
    """The folder of the entries."""

    def __post_init__(self) -> None:
        if not zoo.NAME.fullmatch(self.name):
            raise UserError(
                f"`name={self.name}`; allowed are small letters, digits, dots and dashes, e.g. "
                "mnist-linf-0.4-extended"
            )
        if not self.licence.strip() or not self.licence.isprintable():
            raise UserError(f"`licence={self.licence!r}`; name one, e.g. MIT")


def add(asked: AddConfig) -> zoo.Entry:
    """Write an entry: weights, config.json and the model card.

    Raises:
        UserError: a name that is taken, a sixth entry, weights that are too large, no run, no weights, or
            no evaluation of these weights.
        Untrusted: a network that is code outside hardball, which nobody else could build.
    """
    run = RunFolder(asked.run)
    config = run.config()
    _refuse_if_full(asked)
    model = config.get("model") or {}
    names.refuse_code("model", model.get("name"))
    content = storage.read_sealed(run.weights_file, "weights", run.cure_of_weights)
    if len(content) > LARGEST:
        raise UserError(
            f"{run.weights_file} has {len(content):,} bytes; allowed are {LARGEST:,}: every installation "
            "carries them"
        )
    digest = storage.digest(content)
    measured = _measured(asked.evaluation or run.evaluation_file, digest)
    said = {
        "schema": zoo.SCHEMA,
        "name": asked.name,
        "model": model,
        "data": config["data"]["name"],
        "norm": trained_norm(config),
        "eps": _trained_eps(run, config),
        "weights_sha256": digest,
        "licence": asked.licence,
        "training": _training(run, config),
        "measured": measured,
    }
    place = asked.zoo / asked.name
    storage.write_atomically(place / zoo.WEIGHTS, content)
    storage.write_atomically(place / zoo.CARD, card(said).encode())
    storage.write_atomically(place / zoo.CONFIG, as_json(said))  # last: only now is it an entry
    found = zoo.read(place)
    found.model()
    return found


def _refuse_if_full(asked: AddConfig) -> None:
    there = zoo.listed(asked.zoo)
    if asked.name in there or (asked.zoo / asked.name).exists():
        raise UserError(
            f"{asked.zoo / asked.name} is there already; choose another `name`, or remove it"
        )
    if len(there) >= MOST:
        raise UserError(f"{asked.zoo} has {len(there)} entries; allowed are {MOST}: remove one")


def _trained_eps(run: RunFolder, config: Config) -> float:
    """The largest ε learned: a curriculum that decides for itself may end below what was asked for."""
    outcome = run.outcome()
    asked: float = config["curriculum"]["target"]
    return asked if outcome is None else min(asked, outcome.eps)


def _anywhere(config: Config) -> Config:
    """The same without the places of this machine."""
    elsewhere: Config = {**config, "data": {**config["data"], "root": "data"}}
    if config.get("origin"):
        run = Path("runs") / Path(config["origin"]["path"]).name
        elsewhere["origin"] = {**config["origin"], "path": str(run)}
    return elsewhere


def _training(run: RunFolder, config: Config) -> dict[str, Any]:
    outcome = run.outcome()
    origin = config.get("origin")
    return {
        "command": train_command(Path("runs") / run.path.name, _anywhere(config)),
        "precision": (config.get("machine") or {}).get("precision"),
        "epochs": None if outcome is None else outcome.epochs,
        "sample_steps": None if outcome is None else outcome.sample_steps,
        "seed": config.get("seed"),
        "origin": None if not origin else Path(origin["path"]).name,
        "hardball": config.get("hardball"),
    }


def _measured(path: Path, digest: str) -> dict[str, Any]:
    """What an evaluation.json says, seen to be about these weights."""
    if not path.is_file():
        raise UserError(
            f"no evaluation at {path}; make one: hardball evaluate RUN --protocol checklist"
        )
    try:
        found = json.loads(storage.read_sealed(path, "evaluation"))
        of_others = found["weights_sha256"] != digest
        kept: dict[str, Any] = {key: found[key] for key in ("n", "clean", "seed")}
        kept["sample"] = found.get("sample")
        kept["robust"] = [_figure(one) for one in found["robust"]]
        kept["certified"] = [_figure(one) for one in found.get("certified") or []]
        kept["attacks"] = [*found["attacks"]]
        verdict: Mapping[str, Any] = found.get("verdict") or {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is no evaluation ({error}); make it again") from error
    if of_others:
        raise UserError(f"{path} is about other weights than the run's; evaluate the run again")
    return kept | {"verdict": verdict.get("sentence")}


def _figure(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("eps", "accuracy", "low", "high", "right", "n")}


@dataclass(frozen=True, kw_only=True)
class TakeConfig:
    """Which entry, and where its weights go."""

    name: str = field(kw_only=False)
    """Of the entry."""
    out: Path | None = None
    """A copy of the weights, for `hardball evaluate` and other programs."""
    zoo: Path | None = None
    """The folder of the entries; by default those that come with hardball."""


def take(asked: TakeConfig) -> zoo.Entry:
    """An entry, whose network is seen to be whole; its weights are copied where that is asked for.

    Raises:
        UserError: see `zoo.load`; or something is in the place of the copy.
    """
    found = zoo.entry(asked.name, asked.zoo)
    found.model()
    if asked.out is not None:
        if asked.out.exists():
            raise UserError(f"`out={asked.out}` exists; name a file that does not")
        storage.write_atomically(asked.out, storage.read_bytes(found.path / zoo.WEIGHTS, "weights"))
    return found
