"""Re-checks an evaluation from weights, data and witnesses: what `hardball verify` does.

This is a code path of its own: plain arithmetic, sharing with the evaluation only the reading of
weights and data. It imports neither the evaluation's accuracy, nor attacks, nor threat models.
The formats it reads are those of docs/evaluation.md.

Shapes: n examples, M witnesses, K classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor, nn

from hardball import names, storage
from hardball.data import Dataset, load_dataset
from hardball.errors import StorageError, UserError, WrongArchitecture
from hardball.places import Places
from hardball.runs import RunFolder, model_from
from hardball.verification import arithmetic
from hardball.verification.arithmetic import Array, Flags

SCHEMAS = (2, 3)
"""Of evaluation.json, that can be read: 3 has certificates besides."""

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
    path: Path | str,
    *,
    data: str | None = None,
    data_root: Path | str | None = None,
    model: str | None = None,
    trust: bool = False,
    batch_size: int = 256,
) -> Verification:
    """Re-check what evaluation.json says about a run, or about a weights file.

    In order: the seal of evaluation.json; the digests of weights, witness file and data; for every
    witness its label, the box, its distance in float32 and float64, and that the network gets it
    wrong in float32 and in float64 (a tie or a NaN is an error); the accuracies, recomputed; and that
    no example is both certified and broken.

    A witness that fools the network in one of the two precisions only is counted as
    *precision-dependent*: it is shown, and refutes nothing. One that fools it in neither does.

    Args:
        path: a run, or a weights file.
        data: the data set, where it is loaded by the user's own code ("package.module:function").
        data_root: where the data is, if neither where the run has it nor where it was evaluated.
        model: the network, where it is the user's own code ("package.module:Class"): code that a file
            names is not run unless the user names it too, or trusts the file.
        trust: code outside hardball that the file names may be imported and called.
        batch_size: images at a time.

    Raises:
        Untrusted: the file names code outside hardball, and nobody said that it may run.
        UserError: no evaluation there, or its data or its network's code are not available.
    """
    path = Path(path)
    if batch_size < 1:
        raise UserError(f"`batch_size={batch_size}`; allowed is 1 or more")
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
        _accept("data set", "data", record["data"], data, trust)
        _accept("model", "model", record["model"]["name"], model, trust)
        weights = RunFolder(path).weights_file if path.is_dir() else path
        _same_file("weights", weights, record["weights_sha256"], notes)
        _same_file("witness file", places.witnesses, record["witnesses"]["sha256"], notes)
        measured = _data(path, record, data_root, notes)
        witnesses = _Witnesses(places.witnesses, record, measured, notes)
        network = _network(record, weights, notes)
        sentence = _recheck(network, witnesses, record, measured, batch_size, notes)
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


def _accept(kind: str, argument: str, recorded: object, named: str | None, trust: bool) -> None:
    """See that a name in the file may be used: hardball's own, or the user's."""
    if named is not None and named != recorded:
        raise UserError(
            f"`{argument}={named}`, but the evaluation is of {recorded}; leave it out, or name that"
        )
    if named is None and not trust:
        names.refuse_code(kind, recorded)


def _record(path: Path, notes: Notes) -> Mapping[str, Any]:
    """The content of evaluation.json, its seal unbroken."""
    content = storage.read_bytes(path, "evaluation")
    try:
        text = content.decode()
        record = json.loads(text)
        schema, seal = record["schema"], str(record.get("sha256"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        record, schema, seal, text = {}, None, "", ""
    if schema == 1 and "sha256" not in record:
        raise UserError(f"{path} is of schema 1, which had no witnesses; evaluate again")
    before, found, after = text.rpartition(seal)
    whole = bool(seal) and storage.digest((before + "0" * 64 + after).encode()) == found
    notes.need("evaluation.json", "as written" if whole else "changed or damaged", whole)
    if schema not in SCHEMAS:
        readable = " and ".join(map(str, SCHEMAS))
        raise UserError(
            f"{path} is of schema {schema}; this version reads {readable}: evaluate again"
        )
    return dict(record)


def _same_file(what: str, path: Path, expected: object, notes: Notes) -> None:
    if not path.is_file():
        notes.need(what, f"{path.name} is missing", False)
    same = storage.digest(storage.read_bytes(path, what)) == expected
    notes.need(what, "as evaluated" if same else "changed since the evaluation", same)


def _data(path: Path, record: Mapping[str, Any], root: Path | str | None, notes: Notes) -> Dataset:
    """The examples measured."""
    where = Path(root) if root is not None else _root(path, record)
    data = load_dataset(record["data"], where, record["split"]).rows(slice(0, record["n"]))
    same = arithmetic.tensors_sha256([data.images, data.labels]) == record["data_sha256"]
    found = f"{len(data):,} images of {record['data']}"
    same &= len(data) == record["n"] > 0
    notes.need("data", found + (", as evaluated" if same else ", but other ones"), same)
    return data


def _root(path: Path, record: Mapping[str, Any]) -> Path:
    """Where the data is: where the run has it, or else where it was evaluated, if there is a folder."""
    known = RunFolder(path).config().get("data") or {} if path.is_dir() else {}
    places = [known.get("root")] if known.get("name") == record["data"] else []
    for place in (*places, record.get("data_root")):
        if place is not None and Path(place).is_dir():
            return Path(place)
    return Path("data")


def _network(record: Mapping[str, Any], weights: Path, notes: Notes) -> nn.Module:
    """The network that the file names, which `_accept` has seen, with its weights."""
    network = model_from({"model": record["model"]}, trust=True)
    try:
        storage.load_weights(network, weights)
    except (StorageError, WrongArchitecture) as error:
        notes.need("weights", str(error), False)
    return network


class _Witnesses:
    """The witness file's content, seen to be of the right form and about this data."""

    images: Tensor
    index: Array
    label: Array
    predicted: Array
    eps: Array
    certified: Flags
    """[P, n], a row for each entry of `certified`."""
    about: dict[str, Any]

    def __init__(self, path: Path, record: Mapping[str, Any], data: Dataset, notes: Notes) -> None:
        content = storage.read_bytes(path, "witnesses")
        try:
            found = parse_safetensors(content)
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            self.about = json.loads(header["__metadata__"]["about"])
            self.images = found["images"]
            self.certified = found.get("certified", torch.zeros(0, len(data))).bool().numpy()
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
    recorded = np.zeros(len(data), dtype=bool)
    recorded[witnesses.index[witnesses.eps == 0]] = True
    agree = (recorded == clean[0]) | (recorded == clean[1])
    notes.count("right or wrong unattacked", agree)
    shares = [_accuracy("clean accuracy", record["clean"], 0.0, witnesses, notes)]
    for row in record["robust"]:
        share = _accuracy(f"accuracy at ε={row['eps']:g}", row, row["eps"], witnesses, notes)
        shares.append(f"{share} at ε={row['eps']:g}")
    _certificates(record.get("certified", []), witnesses, notes)
    return (
        f"Verified: of {len(data):,} images of {data.name} these weights get at most "
        f"{', '.join(shares)} right; {len(witnesses.index):,} witnesses prove it"
        + (f" ({rounding} of them depending on rounding)." if rounding else ".")
    )


def _accuracy(
    what: str, stated: Mapping[str, Any], eps: float, witnesses: _Witnesses, notes: Notes
) -> str:
    """Recompute one accuracy from the witnesses and compare all that is said of it."""
    n = int(witnesses.about["n"])
    right = n - int((witnesses.eps <= eps).sum())
    same = _agrees(stated, right, n)
    share = f"{right / n:.1%}"
    notes.note(what, share if same else f"{share}, not {stated['right']} of {stated['n']}", same)
    return share


def _agrees(stated: Mapping[str, Any], right: int, n: int) -> bool:
    """An accuracy with its interval is that of `right` of n."""
    low, high = arithmetic.wilson(right, n)
    expected = {"accuracy": right / n, "low": low, "high": high, "right": right, "n": n}
    return all(abs(stated[name] - value) < 1e-9 for name, value in expected.items())


def _certificates(stated: Sequence[Mapping[str, Any]], witnesses: _Witnesses, notes: Notes) -> None:
    """Each certified accuracy is that of its examples, and none of these has a witness at the same or
    a smaller ε: so none exceeds the accuracy under attack."""
    n = int(witnesses.about["n"])
    if witnesses.certified.shape != (len(stated), n):
        notes.note("certified", f"{len(witnesses.certified)} lists for {len(stated)}", False)
        return
    for row, certified in zip(stated, witnesses.certified, strict=True):
        what = f"{row['certificate']} at ε={row['eps']:g}"
        right = int(certified.sum())
        same = _agrees(row, right, n)
        share = f"{right / n:.1%} certified"
        notes.note(what, share if same else f"{share}, not {row['right']} of {row['n']}", same)
        broken = witnesses.index[witnesses.eps <= row["eps"]]
        both = int(certified[broken].sum())
        notes.note(f"{what} against witnesses", f"{both} certified and broken", both == 0)
