"""A run's network as a file for other programs: what `hardball export` does."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from hardball import interchange
from hardball.commands.subject import LoadConfig, SubjectConfig, network_of, subject
from hardball.errors import UserError
from hardball.interchange.export import Exported, refuse


@dataclass(frozen=True, kw_only=True)
class ExportConfig(LoadConfig):
    """Which network, in which format, and where it goes."""

    run: Path = field(kw_only=False)
    """A run, or a weights file (then name data and model)."""
    format: Literal["torch-export", "onnx"] = "torch-export"
    """torch-export (a .pt2 file for torch.export.load) or onnx (extra `export`)."""
    out: Path | None = None
    """The file, e.g. network.pt2 or network.onnx; it must not exist."""
    images: Literal["data", "random"] = "data"
    """What the file is compared with the network on: test images, or random ones (without the data)."""
    n: int = 64
    """How many images."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UserError(f"`n={self.n}`; allowed is 1 or more")


def export(config: ExportConfig) -> Exported:
    """Write the network, load the file again, and compare both.

    Raises:
        UserError: no run, no `out` or one that exists, no data.
        MissingExtra: packages for ONNX are not installed.
        Unsupported: the network cannot be exported.
        Contradiction: the file's logits are not the network's.
    """
    if config.out is None:
        raise UserError("no `out`; name the file, e.g. `out=network.pt2`")
    refuse(config.out, config.format)
    network, images = _asked(config)
    return interchange.export(network, config.out, images=images, format=config.format)


def _asked(config: ExportConfig) -> tuple[nn.Module, Tensor]:
    given = {field.name: getattr(config, field.name) for field in fields(LoadConfig)}
    asked = SubjectConfig(run=config.run, **given)
    if config.images == "data":
        found = subject(asked)
        return found.network, found.data.images[: config.n]
    network, complete = network_of(asked)
    shape = complete["model"]["shape"]
    return network, torch.rand(config.n, *shape, generator=torch.Generator().manual_seed(0))
