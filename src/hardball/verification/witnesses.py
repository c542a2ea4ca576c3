"""The witness file, seen to be of the right form. Shapes: n examples, M witnesses, P proofs."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from hardball import storage
from hardball.data import Dataset
from hardball.verification.arithmetic import Array, Flags
from hardball.verification.notes import Notes

TENSORS = ("images", "index", "label", "predicted", "attack", "eps")


class Witnesses:
    """The witness file's content, seen to be of the right form and about this data."""

    images: Tensor
    index: Array
    label: Array
    predicted: Array
    eps: Array
    certified: Flags
    """[P, n], a row for each entry of `certified`."""
    margins: Array
    """float64 [P, n], the margins of these, NaN for a certificate without; [0, n] where none are
    stored."""
    about: dict[str, Any]

    def __init__(self, path: Path, record: Mapping[str, Any], data: Dataset, notes: Notes) -> None:
        content = storage.read_bytes(path, "witnesses")
        try:
            found = parse_safetensors(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            self.about = json.loads(header["__metadata__"]["about"])
            self.images = found["images"]
            self.certified = found.get("certified", torch.zeros(0, len(data))).bool().numpy()
            none = torch.zeros(0, len(data), dtype=torch.float64)
            self.margins = found.get("margins", none).double().numpy()
            columns = [found[name].numpy() for name in TENSORS[1:]]
            formed = self._take(columns, data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            notes.need("witness list", f"not in the form described ({error!r})", False)
        if not formed:
            notes.need("witness list", "not in the form described", False)
        radii = [float(row["eps"]) for row in record["robust"]]
        faults = {
            "of other weights, data, norm or seed": any(
                self.about.get(name) != record[name]
                for name in ("weights_sha256", "data_sha256", "data", "norm", "seed", "n")
            ),
            "not as many as said": len(self.index) != record["witnesses"]["count"],
            "an example twice": len(set(self.index.tolist())) != len(self.index),
            "a label that is not the data's": bool(
                (self.label != data.labels.numpy()[self.index]).any()
            ),
            "an ε that was not measured": not set(self.eps.tolist()) <= {0.0, *radii},
            "no attack at an ε above 0": bool(
                (self.eps[self.attack == self.about["attacks"].index("none")] > 0).any()
            ),
        }
        fault = next((fault for fault, there in faults.items() if there), None)
        line = f"{len(self.index)}, one for each wrong image" if fault is None else fault
        notes.need("witness list", line, fault is None)

    @property
    def by_attack(self) -> Counter[tuple[str, float]]:
        """(attack, ε) → how many."""
        named = [self.about["attacks"][row] for row in self.attack.tolist()]
        return Counter(zip(named, self.eps.tolist(), strict=True))

    def _take(self, columns: list[Array], data: Dataset) -> bool:
        """Fill the columns; False where one has not the type, the length or the range it must."""
        self.index, self.label, self.predicted, self.attack, self.eps = columns
        whole = [column.dtype == np.int64 for column in columns[:4]]
        count = len(self.images)
        return (
            all(whole)
            and self.eps.dtype == np.float64
            and all(column.shape == (count,) for column in columns)
            and self.images.dtype.is_floating_point
            and self.images.shape == (count, *data.shape)
            and _within(self.index, 0, len(data))
            and _within(self.predicted, -1, data.classes)
            and not bool((self.predicted == self.label).any())
            and _within(self.attack, 0, len(self.about["attacks"]))
            and bool(np.isfinite(self.eps).all() and (self.eps >= 0).all())
        )


def _within(values: Array, low: int, high: int) -> bool:
    return bool(((values >= low) & (values < high)).all())
