"""Adversarial training along a curriculum: min_θ Σ max_{x' ∈ ball ∩ box} ℓ(f_θ(x'), y).

Everything random is a function of (seed, epoch, step), and ε of progress, so a resume point holds
only tensors and counters and a resumed run repeats the uninterrupted one bit for bit (on the CPU,
with the same number of threads and processes).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import nn

from hardball import storage
from hardball._version import __version__
from hardball.attacks import PGD
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.perf import fast, keep_memory
from hardball.runs import INTERRUPTED, Config, Run, RunFolder
from hardball.training.attack import TrainingAttack
from hardball.training.curricula import Adaptive, Curriculum, as_spec
from hardball.training.curricula.base import check_course
from hardball.training.distributed import in_first, noticing_loss
from hardball.training.loop import Trainer
from hardball.training.machine import launch, matrix_products
from hardball.training.objectives import Objective
from hardball.training.settings import Settings
from hardball.training.steered import Steered, check_search

SCHEMA = 2
"""Of config.yaml. Schema 1, flat, is that of hardball before objectives."""


LATER = {(".attack.step_decay", "False"), (".attack.restarts", "1")}
LATER |= {(".attack.finish_restarts", "None"), (".attack.finish_reach", "None")}
LATER |= {(".attack.validation_leap", "False")}
LATER |= {(".validation_seed", "None")}
LATER |= {(".objective.regularise", "0.0"), (".objective.tolerance", "0.5")}
"""Settings that earlier versions did not have, at the values that they stood for: runs of these can be
resumed."""


if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    curriculum: Curriculum,
    epochs: int | None = None,
    objective: Objective | None = None,
    attack: PGD | TrainingAttack | None = None,
    settings: Settings | None = None,
    validation: Dataset | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    fabric: "Fabric | None" = None,
    console: Console | None = None,
) -> Run:
    """Train `model` in place.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K]. Trained from the weights it has: give
            it those of a smaller ε for extended adversarial training. It is trained in channels_last
            if it works there, which is faster: flatten activations by `flatten(1)`, not `view`.
        data: the training part.
        curriculum: how ε moves: `Constant`, `Iterative`, anything with the same methods, or
            `Adaptive`, which decides for itself.
        epochs: overrides the curriculum's own number.
        objective: what the parameters descend and the attack climbs; by default the adversarial
            cross entropy.
        attack: the attack inside training; by default PGD with 10 steps.
        settings: everything else (and these two, unless they are given).
        validation: examples for every decision during training; split off `data` if not given.
        out: folder for the run; without it nothing is written.
        resume: continue the run in `out`, which must have been started with the same arguments
            (devices and precision may differ).
        about: what config.yaml should say about data, model and origin.
        fabric: a launched Lightning Fabric, if the caller has one.
        console: where progress is shown; nowhere by default.

    Returns:
        The run. Its model holds the last good weights, its outcome says how it ended: a collapse
        or a non-finite loss is an outcome, not an exception.

    Raises:
        UserError: a target ε outside the threat model or without a step, a folder that is another
            run's, data that does not fit, no space left.
        KeyboardInterrupt: interrupted (SIGINT, SIGTERM) without a folder, so that nothing is left to
            go on from. With one, the run that is returned says "interrupted", and `resume` continues it.

    Example:
        >>> network = hb.build("digits_cnn", test.shape, test.classes, {"width": 4})
        >>> ramp = hb.Iterative(0.1, ramp_epochs=2)
        >>> run = hb.fit(network, test, curriculum=ramp, attack=hb.PGD(steps=2))
        >>> run.outcome.message
        'finished 2 epochs at ε=0.1'
    """
    settings = (settings or Settings()).given(attack=attack, objective=objective)
    curriculum = curriculum if epochs is None else curriculum.lasting(epochs)
    settings.check_target(curriculum.largest)
    if validation is None:
        data, validation = settings.hold_out(data)
    kind = _checked(curriculum, settings, len(data), len(validation))
    config = describe(curriculum, settings, about)
    folder = None if out is None else RunFolder(Path(out))
    if folder is not None and not resume:
        folder.refuse_if_taken()
    fabric = fabric or launch(settings.machine)
    keep_memory()
    trainer = kind(
        model,
        data.to(fabric.device),
        validation.to(fabric.device),
        curriculum=curriculum,
        settings=settings,
        fabric=fabric,
        folder=folder,
        fingerprint=fingerprint(config),
    )
    cure = "train again" if folder is None else f"continue: `resume={folder.path}`"
    with ExitStack() as stack:
        stack.enter_context(noticing_loss(fabric, cure))
        stack.enter_context(fast(model))
        stack.enter_context(matrix_products(settings.machine.precision))
        if folder is not None:
            in_first(fabric, lambda: stack.enter_context(_claimed(folder, config, resume)))
        outcome = trainer.run(console, resume=resume)
    if outcome.status == INTERRUPTED and folder is None:
        raise KeyboardInterrupt(outcome.message)
    return Run(model=model, config=config, outcome=outcome, history=trainer.history, folder=folder)


def _checked(curriculum: Curriculum, settings: Settings, train: int, held: int) -> type[Trainer]:
    """What trains along this curriculum, seen to be possible with so many examples.

    Raises:
        UserError: see `check_search` and `check_course`.
    """
    if isinstance(curriculum, Adaptive):
        check_search(curriculum, settings, train, held)
        return Steered
    check_course(curriculum)
    return Trainer


def describe(curriculum: Curriculum, settings: Settings, about: Mapping[str, Any] | None) -> Config:
    """What config.yaml says."""
    return {
        "hardball": __version__,
        "schema": SCHEMA,
        **(about or {}),
        "curriculum": as_spec(curriculum),
        **settings.as_config(),
    }


def fingerprint(config: Config) -> str:
    """Two configs with the same fingerprint ask for the same weights."""
    asked = {name: value for name, value in config.items() if name not in ("hardball", "machine")}
    # the weights that were extended are known by their digest, wherever they lie
    flat = [pair for pair in _flat(asked) if pair[0] != ".origin.path" and pair not in LATER]
    return storage.digest(repr(sorted(flat)).encode())


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{prefix}.{key}")]
    return [(prefix, repr(list(value) if isinstance(value, tuple) else value))]


@contextmanager
def _claimed(folder: RunFolder, config: Config, resume: bool) -> Iterator[None]:
    """The folder as this run's and nobody else's."""
    if resume:
        _check_same(folder, config)
    else:
        folder.create(config)
    with folder.locked():
        yield


def _check_same(folder: RunFolder, config: Config) -> None:
    """See that the folder is this run's."""
    there = folder.config()
    if fingerprint(config) != fingerprint(there):
        asked, found = dict(_flat(config)), dict(_flat(there))
        later = dict(LATER)
        differing = sorted(
            k
            for k in asked.keys() | found.keys()
            if asked.get(k, later.get(k)) != found.get(k, later.get(k))
        )
        free = (".hardball", ".machine.", ".origin.path")
        name = next(k for k in differing if not k.startswith(free))
        raise UserError(
            f"{folder.path} is another run: {name.lstrip('.')} is {found.get(name)} there and "
            f"{asked.get(name)} here; resume with the same settings or choose another `out`"
        )
