"""What is said to be proved: the counts, the bounds anew, and that they lie below what attacks left.

Shapes: n images, P proofs (one for each certificate and ε).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hardball.verification import bounds, relaxed
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
            share = self._anew(what, row, flags[place], margins[place : place + 1], notes)
            if share is not None:
                how = f"{row['certificate']}, proved anew"
                said.append(f"at least {share:.1%} ({how}) at ε={row['eps']:g}")
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

    def _anew(
        self, what: str, row: Row, certified: Flags, margins: Array, notes: Notes
    ) -> float | None:
        """The bounds of hardball's own certificates, computed once more. The share of the images that
        is proved so, if all that is stored holds."""
        about = (self.record.get("certificates") or {}).get(row["certificate"])
        kind = about.get("kind") if isinstance(about, Mapping) else None
        if not isinstance(kind, str) or kind not in KINDS:
            notes.remarks.append(
                f"Not repeated: {what}, which is no certificate of hardball's own."
            )
            return None
        if self.record["norm"] != "linf":
            notes.note(f"{what}: bounds", f"in the norm {self.record['norm']}, not linf", False)
            return None
        try:
            exact, sound = (self._bounds(kind, float(row["eps"]), exact=e) for e in (True, False))
        except bounds.Unknown as error:
            notes.remarks.append(f"Not repeated: {what}; no bound for {error}.")
            return None
        room = TOLERANCE * (1 + np.abs(exact))
        if kind in ROUGH:
            room += 4 * np.abs(exact - sound) + ROUGH[kind] * (1 + np.abs(exact))
        open_ = room if kind in ROUGH else np.zeros_like(room)
        found = {"certified, not proved": np.flatnonzero(certified & ~(sound > -open_))}
        found |= self._faults(exact, sound, certified, margins, room)
        fault = next((f"{_few(rows)} {text}" for text, rows in found.items() if len(rows)), None)
        again = certified & (sound > 0)
        close = int((certified & ~again).sum())
        line = f"{int(again.sum())} proved anew" + (f", {close} within rounding" if close else "")
        notes.note(f"{what}: bounds", fault or line, fault is None)
        return float(again.mean()) if fault is None else None

    def _faults(
        self, exact: Array, sound: Array, certified: Flags, margins: Array, room: Array
    ) -> dict[str, Array]:
        """Text → the images of which it is true.

        Args:
            exact: bounds for exact arithmetic: no sound margin is higher.
            sound: bounds for the network's own arithmetic.
            margins: [1, n] as stored, or [0, n].
            room: by which a stored one may be higher.
        """
        faults = {}
        if self.half:
            faults["certified in half precision, whose rounding has no bound here"] = certified
        if len(margins):
            stored, known = margins[0], ~np.isnan(exact)
            most = np.maximum(exact, sound) + room
            faults["certified otherwise than its margin says"] = certified != (stored > 0)
            faults["raised"] = (stored > most) | (~known & ~np.isnan(stored))
            lower = ~(stored >= sound - 4 * np.abs(exact - sound) - room) & known
            few = lower.sum() <= OTHERS * len(lower)
            faults["another margin than found here"] = lower & (not few)
        return {text: np.flatnonzero(flags) for text, flags in faults.items()}

    def _bounds(self, kind: str, eps: float, *, exact: bool) -> Array:
        reach = eps * (1 + SLACK) + SLACK
        rows = torch.arange(len(self.images))
        found = [
            KINDS[kind](self.network, self.images[r], self.labels[r], reach, exact=exact)
            for r in torch.split(rows, min(self.batch_size, AT_ONCE))
        ]
        return np.asarray(torch.cat(found).numpy())


KINDS: Mapping[str, Callable[..., Tensor]] = {
    "IBP": bounds.margins,
    "CROWNIBP": relaxed.margins,
}
"""`kind` of the certificates whose bounds are computed anew → the bounds."""

AT_ONCE = 32
"""Images at a time at the most: every layer's bounds are kept, in float64."""

ROUGH = {"CROWNIBP": 1e-3}
"""`kind` of bounds that are no monotone function of rounding → how far two sound ones may differ,
relative, beside rounding. A ReLU whose interval is nearly symmetric may be relaxed one way there and the
other way here. A certified image whose bound here is so little below 0 is shown, and refutes nothing."""


def _few(rows: Array) -> str:
    """Which images, in a few words."""
    shown = ", ".join(map(str, rows[:5].tolist())) + ", …" * (len(rows) > 5)
    return f"image{'s' * (len(rows) != 1)} {shown}"
