"""The loss around images: what `hardball landscape inputs` does."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hardball import environment
from hardball.commands.measure import trained_eps, trained_norm
from hardball.commands.pictures import (
    Show,
    about,
    attack_named,
    folder_for,
    refuse_without_weights,
    save,
    silent,
)
from hardball.commands.subject import LoadConfig, Split, subject
from hardball.commands.words import flags_of
from hardball.errors import UserError
from hardball.landscape import AdversarialLoss, input_plane
from hardball.report import landscape_figures
from hardball.threats import ThreatModel


@dataclass(frozen=True, kw_only=True)
class InputsConfig(LoadConfig):
    """Around which images, which plane, and where the results go."""

    run: Path = field(kw_only=False)
    """A run, a weights file, or the file of an epoch (RUN/epochs/…)."""
    index: int | list[int] = 0
    """The image, or several, by their place in the data from 0, e.g. '[0, 3]'."""
    eps: float | None = None
    """ε of the attack that gives the adversarial direction; by default the one trained for."""
    reach: float | None = None
    """The plane goes that far to each side, in pixel units; by default ε/2, as in the paper's MNIST
    figure."""
    grid: int = 100
    """Points per side."""
    norm: str | None = None
    """The norm: linf, l2 or unbounded; the run's own by default."""
    attack: str = "pgd-20"
    """An attack of `hardball evaluate`, e.g. pgd-100 or your own package.module:Class."""
    split: Split = "test"
    """The part of the data: test or train."""
    seed: int = 0
    """Of the attack's random start and the random direction."""
    batch_size: int = 500
    """Points at a time; changes the speed, not the answer."""
    out: Path | None = None
    """Folder for landscape-inputs.json and .png; by default the run."""

    def __post_init__(self) -> None:
        for name, least in (("grid", 3), ("seed", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"`{name}={value}`; allowed is {least} or more")

    @property
    def indices(self) -> list[int]:
        """Each once.

        Raises:
            UserError: none.
        """
        found = self.index if isinstance(self.index, list) else [self.index]
        if not found:
            raise UserError("`index=[]`; name at least one image, e.g. `index=0`")
        return list(dict.fromkeys(found))

    def command(self) -> str:
        """What remakes the result, apart from where files are."""
        flags = flags_of(self, never=("run", "data_root", "device", "batch_size", "out"))
        return " ".join(["hardball landscape inputs", str(self.run), *flags])


def inputs(config: InputsConfig, show: Show = silent) -> dict[str, Any]:
    """The loss on a plane around each image, written to `out` as landscape-inputs.json and drawn beside
    it.

    Raises:
        MissingExtra: matplotlib is not installed.
        UserError: no such run, image, attack or device; ε = 0 without a `reach`.
    """
    began = time.perf_counter()
    folder = folder_for(config.out, config.run)
    attack = attack_named(config.attack)
    refuse_without_weights(config.run)
    found = subject(config.of(config.run, config.split))
    for index in config.indices:
        if not 0 <= index < len(found.data):
            raise UserError(
                f"`index={index}` of the {len(found.data)} {config.split} images; allowed is 0 … "
                f"{len(found.data) - 1}"
            )
    eps = config.eps if config.eps is not None else trained_eps(config.run, found.config)
    if eps == 0:
        raise UserError("`eps=0` leaves no adversarial direction; pass `eps` above 0")
    norm = config.norm or trained_norm(found.config)
    reach = eps / 2 if config.reach is None else config.reach
    loss = AdversarialLoss(threat=ThreatModel(norm, eps), attack=attack, seed=config.seed)
    tick = show("planes", len(config.indices))
    planes = []
    for index in config.indices:
        planes.append(
            input_plane(
                found.network,
                found.data,
                index,
                loss,
                reach=reach,
                points=config.grid,
                batch_size=config.batch_size,
            )
        )
        tick()
    result = {
        "kind": "inputs",
        "run": about(config.run),
        "model": found.config["model"],
        "data": found.data.name,
        "split": config.split,
        "norm": norm,
        "eps": eps,
        "attack": {"name": config.attack, "parameters": attack.description()},
        "seed": config.seed,
        "steps": list(planes[0].steps),
        "planes": [one.as_json() for one in planes],
        "seconds": round(time.perf_counter() - began, 1),
        "command": config.command(),
        "machine": environment.facts(found.data.images.device),
    }
    save(folder, "landscape-inputs", result, landscape_figures.inputs(result))
    return result
