"""What a bug report should say: versions, devices, extras and data that are found, and whether a small
training, attack and re-check give the numbers that they should."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hardball import environment
from hardball.commands.measure import MeasureConfig, measure
from hardball.commands.subject import SubjectConfig
from hardball.commands.train import TrainConfig, train
from hardball.errors import UserError
from hardball.extras import EXTRAS, installed
from hardball.presets import Values
from hardball.verification import verify

REQUIRED = (
    *("torch", "torchvision", "lightning-fabric", "numpy", "scipy", "safetensors", "pillow"),
    *("jsonargparse", "PyYAML", "rich", "lazy-loader", "shtab"),
)

FILES: Mapping[str, str] = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "fashion-mnist": "FashionMNIST/raw/train-images-idx3-ubyte",
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "folder": "train",
}
"""data set → what is in `data_root` if it is there."""

TRAINING: Values = {
    "data": {"name": "digits"},
    "model": {"name": "digits_cnn", "args": {"width": 8}},
    "eps": 0.1,
    "epochs": 6,
    "attack": {"steps": 3},
    "batch_size": 32,
    "optimizer": {"lr": 5e-3},
}

EXPECTED: Mapping[str, tuple[float, float]] = {"clean": (0.75, 0.99), "robust": (0.45, 0.85)}
"""Accuracies of that network between which every seed and device measured lies, with room."""


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """What to look at."""

    data_root: Path = Path("data")
    """Where data sets are looked for."""
    self_test: bool = True
    """Train, attack and re-check a small network, which takes about ten seconds."""


def examination(config: DoctorConfig) -> dict[str, Any]:
    """Everything; with `self_test` also whether the small network is as it should be."""
    found: dict[str, Any] = {
        "machine": environment.facts(),
        "devices": _devices(),
        "packages": {name: _version(name) for name in REQUIRED},
        "extras": {name: _extra(packages) for name, packages in EXTRAS.items()},
        "data_root": str(config.data_root),
        "data": {
            "digits": True,
            **{name: (config.data_root / place).exists() for name, place in FILES.items()},
        },
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name in VARIABLES
        },
    }
    return {**found, "self_test": _self_test() if config.self_test else None}


VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "MKL_NUM_THREADS", "NO_COLOR", "OMP_NUM_THREADS"),
    *("MASTER_ADDR", "PYTORCH_CUDA_ALLOC_CONF", "RANK", "SLURM_NTASKS", "WORLD_SIZE"),
)
"""Of the environment, what changes how hardball runs."""


def _devices() -> list[str]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(f"cuda:{i} {name}" for i, name in enumerate(gpus)), *mps]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extra(packages: tuple[str, ...]) -> dict[str, str | None]:
    """package → its version; None if it is not installed."""
    known = packages_distributions()
    return {
        name: _version(known.get(name, [name])[0]) if installed(name) else None for name in packages
    }


def _self_test() -> dict[str, Any]:
    """Trains, attacks and re-checks; in a folder that is removed."""
    began = time.perf_counter()
    try:
        with TemporaryDirectory(prefix="hardball-doctor-") as place:
            numbers = _numbers(Path(place) / "run")
    except Exception as error:  # whatever it is, the rest of the report goes with it
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return {"passed": False, "error": f"{kind}{error}"}
    within = {name: least <= numbers[name] <= most for name, (least, most) in EXPECTED.items()}
    return {
        "passed": all(within.values()) and numbers["verified"],
        **numbers,
        "expected": {name: list(bounds) for name, bounds in EXPECTED.items()},
        "seconds": round(time.perf_counter() - began, 1),
    }


def _numbers(place: Path) -> dict[str, Any]:
    train(TrainConfig.of({**TRAINING, "out": place}), console=None)
    how = MeasureConfig(attacks=["pgd-20"])
    found = measure(SubjectConfig(run=place, n=200), how).evaluation
    return {
        "clean": found.clean.value,
        "robust": found.scores[-1].after.value,
        "verified": verify(place).holds,
    }
