"""What `verify` asks for anew, outside: the answers, and attacks on images that are said to be robust.

Shapes: n images, M witnesses, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardball.errors import UserError
from hardball.verification import arithmetic
from hardball.verification.arithmetic import Array, Flags, exceeds
from hardball.verification.notes import Notes
from hardball.verification.outside import SHARE, Outside, agreeing, around, chance_of_notice
from hardball.verification.witnesses import Witnesses

NEIGHBOURS = 200
"""Images at the most around which a random point is asked about."""

REMOVED = (0.05, 0.10, 0.20)
"""Shares of the images said to be robust, whose witnesses somebody may have removed."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """An evaluation, and a network in a process of its own to ask about it."""

    outside: Outside
    network: nn.Module
    """The same network here."""
    record: Mapping[str, Any]
    images: Tensor
    labels: Tensor
    witnesses: Witnesses
    seed: int

    @property
    def _norm(self) -> str:
        return str(self.record["norm"])

    @property
    def _eps(self) -> float:
        return max(float(row["eps"]) for row in self.record["robust"])

    @property
    def _remaining(self) -> Array:
        """int64: the images that are said to be right at the largest ε."""
        return np.setdiff1d(np.arange(len(self.images)), self.witnesses.index)

    def _drawn(self, rows: Array, count: int, place: int) -> Array:
        return np.random.default_rng([self.seed, place]).permutation(rows)[:count]

    def answers(self, notes: Notes) -> None:
        """Images, witnesses and points around images that remain: the finds are finds outside too, the
        images right or wrong as here, and no logit is another one."""
        some = torch.from_numpy(self._drawn(self._remaining, NEIGHBOURS, 0))
        near = around(self.images[some], self._norm, self._eps, self.seed)
        asked = torch.cat([self.images, self.witnesses.images.float(), near])
        outside = self.outside.logits(asked, self.seed)
        here = arithmetic.logits(self.network, asked, torch.float32, self.outside.batch_size)
        n, last = len(self.images), len(self.images) + len(self.witnesses.index)
        finds = arithmetic.wrong(outside[n:last], self.witnesses.label)
        close = agreeing(outside, here)
        # where the two differ by rounding alone, each may be wrong for itself
        finds |= close[n:last] & arithmetic.wrong(here[n:last], self.witnesses.label)
        notes.count("bare: misclassified", finds)
        notes.count("bare: the same logits", close)

    def challenge(self, count: int, notes: Notes) -> None:
        """Attack images that are said to be robust, and, to know what the attack is worth, as many that
        are known to be broken.

        Raises:
            UserError: a norm that it has no attack for.
        """
        if self._norm == "l0":
            raise UserError(f"`challenge={count}` in the norm l0; it knows linf, l2 and unbounded")
        remaining = self._remaining
        known = self.witnesses.index[self.witnesses.eps > 0]
        tried = self._drawn(remaining, count, 1)
        sample = self._drawn(known, count, 2)
        if not len(tried):
            notes.note("challenge", "no image is said to be robust", True)
            return
        broken = self._attacked(np.concatenate([tried, sample]))
        found, again = int(broken[: len(tried)].sum()), int(broken[len(tried) :].sum())
        holds = not exceeds(found, len(tried), SHARE)
        notes.note("challenge", f"{found} of {len(tried)} broken at ε={self._eps:g}", holds)
        power = again / len(sample) if len(sample) else 1.0
        basis = (
            f"The same attack breaks {again} of {len(sample)} images that have a witness."
            if len(sample)
            else "No image has a witness of an attack; this is for an attack that breaks all such images."
        )
        chances = [
            f"of {share:.0%} with probability "
            + f"{chance_of_notice(round(share * len(remaining)), len(remaining), len(tried), power):.1%}"
            for share in REMOVED
        ]
        least = next(
            (k for k in range(1, len(tried) + 1) if exceeds(k, len(tried), SHARE)), len(tried) + 1
        )
        notes.remarks.append(
            f"Challenge (`seed={self.seed}`): {found} of {len(tried)} images said to be robust at "
            f"ε={self._eps:g} were broken anew; {least} or more refute the figure. {basis} If the "
            "witnesses of a share of the images said to be robust had been removed, this would refute "
            f"it: {', '.join(chances)}."
        )

    def _attacked(self, rows: Array) -> Flags:
        """bool: a point of ball and box was found that the network, asked once more, gets wrong."""
        order = np.random.default_rng([self.seed, 3]).permutation(len(rows))
        mixed = torch.from_numpy(rows[order])
        images, labels = self.images[mixed], self.labels[mixed]
        points = self.outside.attacked(images, labels, self._norm, self._eps, self.seed)
        logits = self.outside.logits(points, self.seed)
        radii = np.full(len(rows), self._eps)
        broken = arithmetic.wrong(logits, labels.numpy()) & arithmetic.in_box(points)
        broken &= arithmetic.in_ball(self._norm, points, images, radii, "float32")
        found = np.zeros(len(rows), dtype=bool)
        found[order] = broken
        return found
