"""A network asked, and attacked anew, in a fresh process where nothing of hardball's evaluation is: for
networks that answer otherwise when they find it on the call stack or among the modules.

The process is a short script, `plain.py`, copied under a plain name. Images, finds and points around
images come mixed in an order drawn by chance, without a word on which is which.

Shapes: M images, K classes; images [M, C, H, W], logits [M, K].
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hardball import names
from hardball.errors import UserError
from hardball.models import FRONTS, MODELS
from hardball.verification import plain
from hardball.verification.arithmetic import Array, Flags, exceeds

STEPS, STARTS = 100, 4
"""Of the attack that is tried anew: starts climb the margin and the cross entropy in turn."""

SHARE = 0.02
"""Of the images attacked anew, that luck may break."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A network as another process builds it."""

    model: Mapping[str, Any]
    """`model` of evaluation.json, which was accepted."""
    weights: Path
    batch_size: int

    def logits(self, images: Tensor, seed: int) -> Array:
        """[M, K] of a network that has been asked nothing before, in an order drawn by the seed."""
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        found = self._run({"images": images[order].contiguous()}, {})
        back = torch.empty_like(found)
        back[order] = found
        return back.double().numpy()

    def attacked(self, images: Tensor, labels: Tensor, norm: str, eps: float, seed: int) -> Tensor:
        """The worst point found around each image."""
        how = {"norm": norm, "eps": eps, "seed": seed, "steps": STEPS, "starts": STARTS}
        return self._run({"images": images.contiguous(), "labels": labels.contiguous()}, how)

    def _run(self, given: Mapping[str, Tensor], how: Mapping[str, Any]) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            script = here / "main.py"
            script.write_text(Path(plain.__file__).read_text())
            save_file(dict(given), here / "given")
            asked = {
                **how,
                "network": self._network(),
                "batch": self.batch_size,
                "threads": torch.get_num_threads(),
                "given": str(here / "given"),
                "wanted": str(here / "wanted"),
            }
            hidden = {k: v for k, v in os.environ.items() if "hardball" not in (k + v).lower()}
            # the path to this package itself, for its own networks alone
            path = os.environ.get("PYTHONPATH")
            ended = subprocess.run(
                [sys.executable, str(script)],
                input=json.dumps(asked),
                env=hidden | ({} if path is None else {"PYTHONPATH": path}),
                capture_output=True,
                text=True,
                check=False,
            )
            if ended.returncode:
                last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
                raise UserError(
                    f"the network cannot be asked in a process of its own: {last}; it must be built by "
                    "its name, its arguments and its weights alone"
                )
            return load_file(here / "wanted")["found"]

    def _network(self) -> dict[str, Any]:
        """How the script builds it, and its front if it has one: by the modules they are written in."""
        name, front = self.model["name"], self.model.get("front")
        own = names.is_own(name)
        spec = _place(name if own else names.name_of(MODELS[name], {}), self.model.get("args"))
        if not own:
            spec["positional"] = [self.model["shape"], self.model["classes"]]
        before = []
        if front is not None:
            before = [_place(names.name_of(FRONTS[front], {}), self.model.get("front_args"))]
        return {"parts": [*before, spec], "weights": str(self.weights.resolve())}


def _place(name: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of "package.module:name"."""
    module, _, attribute = name.partition(":")
    spec = {"module": module, "attribute": attribute, "arguments": dict(arguments or {})}
    return spec | {"positional": []}


def around(images: Tensor, norm: str, eps: float, seed: int) -> Tensor:
    """A random point of ball and box around each image."""
    draws = torch.Generator().manual_seed(seed)
    noise = 2 * torch.rand(images.shape, generator=draws) - 1
    if norm == "l0":  # so many coordinates, of one channel each
        places = torch.rand(images.flatten(1).shape, generator=draws).argsort(dim=1)
        kept = (places < int(eps)).view(images.shape)
        return torch.where(kept, torch.rand(images.shape, generator=draws), images)
    return plain.inside(images + min(eps, 1.0) * noise, images, norm, eps)


def agreeing(one: Array, other: Array) -> Flags:
    """bool [M]: no logit differs by more than 10⁻⁴ of the largest; two NaN are the same."""
    if not len(one):
        return np.zeros(0, dtype=bool)
    scale = max(float(np.nanmax(np.abs(one), initial=0.0)), 1e-30)
    same = np.isnan(one) & np.isnan(other)
    with np.errstate(invalid="ignore"):
        close = np.abs(one - other) <= 1e-4 * scale
    return np.asarray((close | same).all(axis=1))


def chance_of_notice(removed: int, left: int, tried: int, power: float) -> float:
    """P(an attack on `tried` of `left` images breaks more than luck may), if `removed` of these are in
    truth broken, and the attack breaks each of them with probability `power`."""
    total = 0.0
    for drawn in range(max(0, tried - (left - removed)), min(removed, tried) + 1):
        ways = math.comb(removed, drawn) * math.comb(left - removed, tried - drawn)
        meeting = ways / math.comb(left, tried)
        noticed = math.fsum(
            math.comb(drawn, k) * power**k * (1 - power) ** (drawn - k)
            for k in range(drawn + 1)
            if exceeds(k, tried, SHARE)
        )
        total += meeting * noticed
    return min(1.0, total)
