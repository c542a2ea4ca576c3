"""What is said to be proved: the counts, the bounds anew, and that they lie below what attacks left.

Shapes: n images, P proofs (one for each certificate and ε).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardball.verification import bounds
from hardball.verification.arithmetic import SLACK, Array, Flags, is_accuracy
from hardball.verification.notes import Notes
from hardball.verification.witnesses import Witnesses

Row = Mapping[str, Any]

TOLERANCE = 1e-9
"""Relative, of a margin: the rounding of float64."""

OTHERS = 0.01
"""Share of the images whose margin may lie below the bound found here: a pixel next to a threshold may
fall on one side here and count for both there."""


@dataclass(frozen=True, kw_only=True)
class Proofs:
    """The certified part of an evaluation, and the network it is about."""

    record: Row
    witnesses: Witnesses
    network: nn.Module
    """In evaluation mode."""
    half: bool
    """Its weights are of a half precision type."""
    images: Tensor
    labels: Tensor
    batch_size: int

    def recheck(self, notes: Notes) -> list[str]:
        """Look at every proof. What was proved anew, in words for the sentence at the end."""
        stated: Sequence[Row] = self.record.get("certified", [])
        shape = (len(stated), len(self.images))
        flags, margins = self.witnesses.certified, self.witnesses.margins
        if flags.shape != shape or margins.shape not in (shape, (0, shape[1])):
            notes.note("certified", f"{len(flags)} lists for {len(stated)}", False)
            return []
        said = []
        for place, row in enumerate(stated):
            what = f"{row['certificate']} at ε={row['eps']:g}"
            self._counted(what, row, flags[place], notes)
            if self._anew(what, row, flags[place], margins[place : place + 1], notes):
                share = f"{flags[place].mean():.1%} (proved anew)"
                said.append(f"at least {share} at ε={row['eps']:g}")
        return said

    def _counted(self, what: str, row: Row, certified: Flags, notes: Notes) -> None:
        """The accuracy is that of its images, and none of these has a witness at the same or a smaller
        ε: certified ≤ true ≤ attacked."""
        n, right = len(certified), int(certified.sum())
        same = is_accuracy(row, right, n)
        share = f"{right / n:.1%} certified"
        notes.note(what, share if same else f"{share}, not {row['right']} of {row['n']}", same)
        broken = self.witnesses.index[self.witnesses.eps <= row["eps"]]
        both = broken[certified[broken]]
        left = (n - len(broken)) / n
        found = f"{right / n:.1%} ≤ true ≤ {left:.1%}"
        if len(both):
            found = f"{_few(both)} certified and broken"
        notes.note(f"{what} against witnesses", found, not len(both))

    def _anew(self, what: str, row: Row, certified: Flags, margins: Array, notes: Notes) -> bool:
        """The bounds of hardball's own certificates, computed once more. True if they were, and hold."""
        about = (self.record.get("certificates") or {}).get(row["certificate"])
        kind = about.get("kind") if isinstance(about, Mapping) else None
        if kind not in KINDS:
            notes.remarks.append(
                f"Not repeated: {what}, which is no certificate of hardball's own."
            )
            return False
        if self.record["norm"] != "linf":
            notes.note(f"{what}: bounds", f"in the norm {self.record['norm']}, not linf", False)
            return False
        try:
            exact = self._bounds(float(row["eps"]), exact=True)
            sound = self._bounds(float(row["eps"]), exact=False)
        except bounds.Unknown as error:
            notes.remarks.append(f"Not repeated: {what}; no bound for {error}.")
            return False
        found = self._faults(exact, sound, certified, margins)
        fault = next((f"{_few(rows)} {text}" for text, rows in found.items() if len(rows)), None)
        line = fault or f"{int((sound > 0).sum())} of {len(sound)} proved anew"
        notes.note(f"{what}: bounds", line, fault is None)
        return fault is None

    def _faults(
        self, exact: Array, sound: Array, certified: Flags, margins: Array
    ) -> dict[str, Array]:
        """Text → the images of which it is true.

        Args:
            exact: bounds for exact arithmetic: no sound margin is higher.
            sound: bounds for the network's own arithmetic.
            margins: [1, n] as stored, or [0, n].
        """
        faults = {"certified, not proved": certified & ~(sound > 0)}
        if self.half:
            faults["certified in half precision, whose rounding has no bound here"] = certified
        if len(margins):
            stored, room = margins[0], TOLERANCE * (1 + np.abs(exact))
            faults["raised"] = (stored > exact + room) | (np.isnan(exact) & ~np.isnan(stored))
            faults["certified otherwise than its margin says"] = certified != (stored > 0)
            lower = ~(stored >= sound - 4 * (exact - sound) - room) & ~np.isnan(exact)
            few = lower.sum() <= OTHERS * len(lower)
            faults["another margin than found here"] = lower & ~np.isnan(exact) & (not few)
        return {text: np.flatnonzero(flags) for text, flags in faults.items()}

    def _bounds(self, eps: float, *, exact: bool) -> Array:
        reach = eps * (1 + SLACK) + SLACK
        rows = torch.split(torch.arange(len(self.images)), self.batch_size)
        found = [
            bounds.margins(self.network, self.images[r], self.labels[r], reach, exact=exact)
            for r in rows
        ]
        return np.asarray(torch.cat(found).numpy())


KINDS = ("IBP",)
"""`kind` of the certificates whose bounds are computed anew."""


def _few(rows: Array) -> str:
    """Which images, in a few words."""
    shown = ", ".join(map(str, rows[:5].tolist())) + ", …" * (len(rows) > 5)
    return f"image{'s' * (len(rows) != 1)} {shown}"
