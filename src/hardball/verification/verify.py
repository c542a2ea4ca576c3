"""Re-checks an evaluation from weights, data and witnesses: what `hardball verify` does.

This is a code path of its own: plain arithmetic, sharing with the evaluation only the reading of
weights and data. It imports neither the evaluation's accuracy, nor attacks, nor threat models.
The formats it reads are those of docs/evaluation.md.

Shapes: n examples, M witnesses, K classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from hardball import models, storage
from hardball.data import Dataset, load_dataset
from hardball.errors import UserError
from hardball.runs import RunFolder, model_from
from hardball.verification import arithmetic
from hardball.verification.arithmetic import Array, Flags
from hardball.verification.places import Places

SCHEMA = 2
TENSORS = ("images", "index", "label", "predicted", "attack", "eps")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    holds: bool


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify` found."""

    findings: list[Finding]
    sentence: str

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


class Refuted(Exception):
    """Something does not hold that everything after it needs."""


class Notes:
    """The findings, as they come."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def note(self, what: str, found: str, holds: bool) -> None:
        self.findings.append(Finding(what=what, found=found, holds=holds))

    def need(self, what: str, found: str, holds: bool) -> None:
        """Note it; without it there is no going on."""
        self.note(what, found, holds)
        if not holds:
            raise Refuted

    def count(self, what: str, flags: Flags) -> None:
        """All of the flags should be set."""
        self.note(what, f"{int(flags.sum())} of {len(flags)}", bool(flags.all()))


def verify(
    path: Path,
    *,
    data_root: Path | None = None,
    model: str | None = None,
    batch_size: int = 256,
) -> Verification:
    """Re-check what evaluation.json says about a run, or about a weights file.

    In order: the seal of evaluation.json; the digests of weights, witness file and data; for every
    witness its label, the box, its distance in float32 and float64, and that the network gets it
    wrong in float32 and in float64 (a tie or a NaN is an error); and the accuracies, recomputed.

    A witness that fools the network in one of the two precisions only is counted as
    *precision-dependent*: it is shown, and refutes nothing. One that fools it in neither does.

    Args:
        path: a run, or a weights file.
        data_root: where the data is, if not where the run had it.
        model: the network, where it is of the user's own code: what a file names is not run unasked.
        batch_size: images at a time.

    Raises:
        UserError: no evaluation there, its data is not to be had, or its network is code that was
            not named.
    """
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}; allowed is 1 or more")
    if not path.exists():
        raise UserError(
            f"no run and no weights at {path}; name a folder that training made, or a file"
        )
    places = Places.of(path)
    if not places.evaluation.is_file():
        raise UserError(f"no evaluation at {places.evaluation}; make one: hardball evaluate {path}")
    notes = Notes()
    sentence = ""
    try:
        record = _record(places.evaluation, notes)
        weights = RunFolder(path).weights_file if path.is_dir() else path
        _same_file("weights", weights, record["weights_sha256"], notes)
        _same_file("witness file", places.witnesses, record["witnesses"]["sha256"], notes)
        data = _data(path, record, data_root, notes)
        witnesses = _Witnesses(places.witnesses, record, data, notes)
        network = _network(record, weights, model, notes)
        sentence = _recheck(network, witnesses, record, data, batch_size, notes)
    except Refuted:
        pass
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        notes.note("evaluation.json", f"not in the form described ({error!r})", False)
    refuted = next((finding for finding in notes.findings if not finding.holds), None)
    if refuted is not None:
        sentence = f"NOT verified: {refuted.what}: {refuted.found}."
    return Verification(findings=notes.findings, sentence=sentence)


def _record(path: Path, notes: Notes) -> Mapping[str, Any]:
    """The content of evaluation.json, its seal unbroken."""
    content = storage.read_bytes(path, "evaluation")
    try:
        text = content.decode()
        record = json.loads(text)
        schema, told = record["schema"], str(record.get("sha256"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        record, schema, told, text = {}, None, "", ""
    if schema == 1 and "sha256" not in record:
        raise UserError(f"{path} is of schema 1, which had no witnesses; evaluate again")
    before, seal, after = text.rpartition(told)
    whole = bool(told) and storage.digest((before + "0" * 64 + after).encode()) == seal
    notes.need("evaluation.json", "as written" if whole else "changed or damaged", whole)
    if schema != SCHEMA:
        raise UserError(
            f"{path} is of schema {schema}; this version reads {SCHEMA}: evaluate again"
        )
    return dict(record)


def _same_file(what: str, path: Path, expected: object, notes: Notes) -> None:
    if not path.is_file():
        notes.need(what, f"{path.name} is missing", False)
    same = storage.digest(storage.read_bytes(path, what)) == expected
    notes.need(what, "as evaluated" if same else "changed since the evaluation", same)


def _data(path: Path, record: Mapping[str, Any], root: Path | None, notes: Notes) -> Dataset:
    """The examples measured."""
    if root is None:
        known = RunFolder(path).config().get("data") or {} if path.is_dir() else {}
        root = Path(known.get("root", "data") if known.get("name") == record["data"] else "data")
    data = load_dataset(record["data"], root, record["split"]).rows(slice(0, record["n"]))
    same = arithmetic.tensors_sha256([data.images, data.labels]) == record["data_sha256"]
    found = f"{len(data):,} images of {data.name}"
    same &= len(data) == record["n"] > 0
    notes.need("data", found + (", as evaluated" if same else ", but other ones"), same)
    return data


def _network(
    record: Mapping[str, Any], weights: Path, model: str | None, notes: Notes
) -> nn.Module:
    spec = record["model"]
    if model is not None and model != spec["name"]:
        raise UserError(f"--model {model}, but the evaluation is of {spec['name']}; leave it out")
    if model is None and spec["name"] not in models.MODELS:
        raise UserError(
            f"the network is {spec['name']}, which is code of its own; if you trust it, say so: "
            f"--model {spec['name']}"
        )
    try:
        network = model_from({"model": spec})
        storage.load_weights(network, weights)
    except UserError as error:
        notes.need("weights", str(error), False)
    return network


class _Witnesses:
    """The witness file's content, seen to be of the right form and about this data."""

    images: Tensor
    index: Array
    label: Array
    predicted: Array
    eps: Array
    about: dict[str, Any]

    def __init__(self, path: Path, record: Mapping[str, Any], data: Dataset, notes: Notes) -> None:
        content = storage.read_bytes(path, "witnesses")
        try:
            found = parse_safetensors(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            self.about = json.loads(header["__metadata__"]["about"])
            self.images = found["images"]
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
        told = next((fault for fault, there in faults.items() if there), None)
        line = f"{len(self.index)}, one for each wrong image" if told is None else told
        notes.need("witness list", line, told is None)

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


def _recheck(
    network: nn.Module,
    witnesses: _Witnesses,
    record: Mapping[str, Any],
    data: Dataset,
    batch_size: int,
    notes: Notes,
) -> str:
    """Every witness and every accuracy. The sentence to end with."""
    centres = data.images[torch.from_numpy(witnesses.index)]
    notes.count("inside [0, 1]", arithmetic.in_box(witnesses.images))
    for dtype in ("float32", "float64"):
        near = arithmetic.in_ball(record["norm"], witnesses.images, centres, witnesses.eps, dtype)
        notes.count(f"distance ≤ ε in {dtype}", near)
    labels = data.labels.numpy()
    fooled, clean = [], []
    seen = np.zeros(len(witnesses.index), dtype=bool)
    for precision in (torch.float32, torch.float64):
        logits = arithmetic.logits(network, witnesses.images, precision, batch_size)
        fooled.append(arithmetic.wrong(logits, witnesses.label))
        seen |= arithmetic.taken_for(logits, witnesses.label, witnesses.predicted)
        plain = arithmetic.logits(network, data.images, precision, batch_size)
        clean.append(arithmetic.wrong(plain, labels))
    dependent = fooled[0] ^ fooled[1]
    for dtype, mine, other in (
        ("float32", fooled[0], fooled[1]),
        ("float64", fooled[1], fooled[0]),
    ):
        only = int((other & ~mine).sum())
        found = f"{int(mine.sum())} of {len(mine)}"
        found += f", {only} more precision-dependent" if only else ""
        notes.note(f"misclassified in {dtype}", found, bool((mine | other).all()))
    rounding = int(dependent.sum())
    notes.count("taken for the class said", seen)
    told = np.zeros(len(data), dtype=bool)
    told[witnesses.index[witnesses.eps == 0]] = True
    agree = (told == clean[0]) | (told == clean[1])
    notes.count("right or wrong unattacked", agree)
    shares = [_accuracy("clean accuracy", record["clean"], 0.0, witnesses, notes)]
    for row in record["robust"]:
        share = _accuracy(f"accuracy at ε={row['eps']:g}", row, row["eps"], witnesses, notes)
        shares.append(f"{share} at ε={row['eps']:g}")
    return (
        f"Verified: of {len(data):,} images of {data.name} these weights get at most "
        f"{', '.join(shares)} right; {len(witnesses.index):,} witnesses prove it"
        + (f" ({rounding} of them depending on rounding)." if rounding else ".")
    )


def _accuracy(
    what: str, told: Mapping[str, Any], eps: float, witnesses: _Witnesses, notes: Notes
) -> str:
    """Recompute one accuracy from the witnesses and compare all that is said of it."""
    n = int(witnesses.about["n"])
    right = n - int((witnesses.eps <= eps).sum())
    low, high = arithmetic.wilson(right, n)
    expected = {"accuracy": right / n, "low": low, "high": high, "right": right, "n": n}
    same = all(abs(told[name] - value) < 1e-9 for name, value in expected.items())
    share = f"{right / n:.1%}"
    notes.note(what, share if same else f"{share}, not {told['right']} of {told['n']}", same)
    return share
