"""Trainings whose weights the zoo has: laid out as runs, so that all else finds them."""

from typing import Any

from hardball import storage, zoo
from hardball.commands.reproduce.config import ReproduceConfig
from hardball.commands.train import TrainConfig
from hardball.errors import UserError
from hardball.reproduction import Planned, Recipe, Training
from hardball.reproduction.parts import Curves, Settling
from hardball.runs import FINISHED, Config, Outcome, RunFolder
from hardball.training.fit import describe


def refuse_epochs(config: ReproduceConfig, planned: Planned) -> None:
    """The zoo has weights, and nothing of the epochs that led to them.

    Raises:
        UserError: a recipe is about the epochs of a training that would come from the zoo.
    """
    for name, recipe in planned.recipes.items():
        lacking = [one for one in _looked_into(recipe) if config.entry(one)]
        if lacking:
            raise UserError(
                f"{name} is about the epochs of {lacking[0]}, and the zoo has no more than its last "
                f"weights; give {name} in a command of its own, without `zoo`"
            )


def _looked_into(recipe: Recipe) -> list[str]:
    """The trainings whose epochs a recipe is about."""
    parts = recipe.parts.values()
    return [name for part in parts if isinstance(part, Curves | Settling) for name in part.runs]


def placed(
    config: ReproduceConfig, name: str, training: Training, wanted: TrainConfig
) -> dict[str, Any]:
    """Lay the zoo's weights of a training out as its run; how it was trained, and where they are from.

    Args:
        config: what is reproduced.
        name: of the training.
        training: what it is in the paper.
        wanted: what would be trained.

    Raises:
        UserError: the zoo has no such entry, or another network under that name.
        Damaged: see `zoo.load`.
    """
    entry = zoo.entry(str(config.entry(name)))
    entry.model()  # seen to be whole
    model, known = entry.config["model"], entry.config["training"]
    spec = wanted.model.spec(wanted.data.name, model["shape"], model["classes"])
    if model != spec or entry.config["eps"] != training.eps:
        raise UserError(
            f"{entry.path} is not the network of {name}; restore it, or leave out `zoo`"
        )
    run = RunFolder(config.folder(name))
    if not run.config_file.exists():
        data = {"name": wanted.data.name, "root": str(wanted.data.root)}
        about = {"data": data, "model": spec, "origin": _origin(config, training)}
        run.create(describe(wanted.curriculum, wanted.settings, about))
    content = storage.read_bytes(entry.path / zoo.WEIGHTS, "weights")
    storage.write_atomically(run.weights_file, content)
    outcome = Outcome(
        status=FINISHED,
        message=f"its weights are those of {entry.name} in the zoo",
        epochs=known["epochs"],
        eps=training.eps,
        sample_steps=known["sample_steps"],
        seconds=0.0,
    )
    run.write_outcome(outcome)
    return told(outcome, known["command"], known["seed"]) | {"minutes": None, "zoo": entry.name}


def _origin(config: ReproduceConfig, training: Training) -> Config | None:
    """The run that it starts from, as config.yaml names it."""
    if training.start is None:
        return None
    start = RunFolder(config.folder(training.start))
    digest = storage.digest(storage.read_bytes(start.weights_file, "weights"))
    return {"path": str(start.path), "sha256": digest}


def told(outcome: Outcome, command: str, seed: int) -> dict[str, Any]:
    """What NAME.json says of a training."""
    return {
        "command": command,
        "status": outcome.status,
        "epochs": outcome.epochs,
        "eps": outcome.eps,
        "sample_steps": outcome.sample_steps,
        "minutes": round(outcome.seconds / 60, 1),
        "seed": seed,
    }
