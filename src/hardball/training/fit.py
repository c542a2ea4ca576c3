"""Adversarial training along a curriculum: min_θ Σ max_{x' ∈ ball ∩ box} ℓ(f_θ(x'), y).

Everything random is a function of (seed, epoch, step), and ε of progress, so a resume point holds
only tensors and counters and a resumed run repeats the uninterrupted one bit for bit (on the CPU,
with the same number of threads and processes).
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from hardball import storage
from hardball._version import __version__
from hardball.data import Dataset, split_validation
from hardball.errors import UserError
from hardball.perf import fast, keep_memory
from hardball.runs import Config, Run, RunFolder
from hardball.training.curriculum import Curriculum
from hardball.training.distributed import end_at_exit, in_first
from hardball.training.loop import Trainer
from hardball.training.settings import Settings

# where and how fast, and what is kept beside: a run may be resumed with others
MACHINE = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "compile",
    "save_minutes",
    "keep_every",
)


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    curriculum: Curriculum,
    epochs: int | None = None,
    settings: Settings | None = None,
    validation: Dataset | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    about: Mapping[str, Any] | None = None,
    fabric: Fabric | None = None,
    console: Console | None = None,
) -> Run:
    """Train `model` in place.

    Args:
        model: images [B, C, H, W] in [0, 1] → logits [B, K]. Trained from the weights it has: give
            it those of a smaller ε for extended adversarial training. It is trained in channels_last
            if it works there, which is faster: flatten activations by `flatten(1)`, not `view`.
        data: the training part.
        curriculum: how ε moves: `Constant`, `Iterative` or anything with the same methods.
        epochs: overrides the curriculum's own number.
        settings: everything else.
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
    """
    settings = settings or Settings()
    curriculum = curriculum if epochs is None else curriculum.lasting(epochs)
    settings.check_target(curriculum.largest)
    if validation is None:
        held = settings.validation or max(1, min(1000, len(data) // 10))
        data, validation = split_validation(data, held, settings.seed)
    config = describe(curriculum, settings, about)
    folder = None if out is None else RunFolder(Path(out))
    if folder is not None and not resume:
        folder.refuse_if_taken()
    fabric = fabric or launch(settings)
    keep_memory()
    trainer = Trainer(
        model,
        data.to(fabric.device),
        validation.to(fabric.device),
        curriculum=curriculum,
        settings=settings,
        fabric=fabric,
        folder=folder,
        identity=identity(config),
    )
    with ExitStack() as stack:
        stack.enter_context(fast(model))
        stack.enter_context(_matrix_products(settings.precision))
        if folder is not None:
            in_first(fabric, lambda: stack.enter_context(_claimed(folder, config, resume)))
        outcome = trainer.run(console, resume=resume)
    return Run(model=model, config=config, outcome=outcome, history=trainer.history, folder=folder)


def launch(settings: Settings) -> Fabric:
    """Fabric for the settings' devices, started (with several processes, on each of them).

    Raises:
        UserError: the machine has no such device.
    """
    strategy = settings.strategy
    if strategy == "auto" and settings.devices * settings.num_nodes > 1:
        strategy = "ddp"
    try:
        with _quiet():
            fabric = Fabric(
                accelerator=settings.accelerator,
                devices=settings.devices,
                num_nodes=settings.num_nodes,
                strategy=strategy,
                precision="32-true" if settings.precision == "tf32" else settings.precision,  # type: ignore[arg-type]
            )
            end_at_exit(fabric)
            fabric.launch()
    except (ValueError, RuntimeError) as error:
        asked = (
            f"accelerator={settings.accelerator}, devices={settings.devices}, "
            f"strategy={settings.strategy}"
        )
        raise UserError(
            f"{asked}: {str(error).splitlines()[0]} Name what this machine has: --accelerator cpu"
        ) from error
    return fabric


@contextmanager
def _matrix_products(precision: str) -> Iterator[None]:
    """PyTorch's global choice for float32 products on a GPU, set for `tf32` and put back."""
    before = torch.get_float32_matmul_precision()
    if precision == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Fabric's announcements are left out, its warnings stay."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def describe(curriculum: Curriculum, settings: Settings, about: Mapping[str, Any] | None) -> Config:
    """What config.yaml says."""
    return {
        "hardball": __version__,
        **(about or {}),
        "curriculum": {"kind": type(curriculum).__name__, **vars(curriculum)},
        "settings": asdict(settings),
    }


def identity(config: Config) -> str:
    """Two configs with the same identity ask for the same weights."""
    settings = {k: v for k, v in config["settings"].items() if k not in MACHINE}
    asked = {k: v for k, v in config.items() if k != "hardball"} | {"settings": settings}
    return storage.digest(repr(sorted(_flat(asked))).encode())


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
    asked, found = dict(_flat(config)), dict(_flat(folder.config()))
    if identity(config) != identity(folder.config()):
        differing = sorted(k for k in asked.keys() | found.keys() if asked.get(k) != found.get(k))
        name = next(k for k in differing if k.split(".")[-1] not in (*MACHINE, "hardball"))
        raise UserError(
            f"{folder.path} is another run: {name.lstrip('.')} is {found.get(name)} there and "
            f"{asked.get(name)} here; resume with the same settings or choose another --out"
        )
