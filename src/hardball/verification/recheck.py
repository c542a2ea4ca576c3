"""Re-checks an evaluation from weights, data and witnesses: what `hardball verify` does.

This is a code path of its own: plain arithmetic, sharing with the evaluation only the reading of
weights and data. It imports neither the evaluation's accuracy, nor attacks, nor threat models.
The formats it reads are those of docs/evaluation.md.

Shapes: n examples, M witnesses, K classes.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hardball import names, storage
from hardball.data import Dataset, load_dataset
from hardball.errors import StorageError, UserError, WrongArchitecture
from hardball.places import Places
from hardball.runs import RunFolder, model_from
from hardball.verification import arithmetic, claims
from hardball.verification.again import Again
from hardball.verification.arithmetic import Flags, is_accuracy
from hardball.verification.certified import Proofs
from hardball.verification.claims import Counts
from hardball.verification.notes import Notes, Refuted, Verification
from hardball.verification.outside import Outside
from hardball.verification.witnesses import Witnesses

SCHEMAS = (2, 3)
"""Of evaluation.json, that can be read: 3 has certificates besides."""


def verify(
    path: Path | str,
    *,
    data: str | None = None,
    data_root: Path | str | None = None,
    model: str | None = None,
    trust: bool = False,
    batch_size: int = 256,
    bare: bool = False,
    challenge: int = 0,
    seed: int | None = None,
) -> Verification:
    """Re-check what evaluation.json says about a run, or about a weights file.

    In order: the seal of evaluation.json; the digests of weights, witness file and data; for every
    witness its label, the box, its distance in float32 and float64, and that the network gets it
    wrong in float32 and in float64 (a tie or a NaN is an error); the accuracies, recomputed; that
    no example is both certified and broken, and that the bounds of hardball's own certificates, computed
    anew, prove what is said to be proved; and that scores, requirements, warnings, checks and verdict
    follow from these.

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
        bare: ask the network again in a fresh process that imports nothing of the evaluation.
        challenge: so many images that are said to be robust, by chance, are attacked anew there.
        seed: of that chance; by default one that nobody knows before.

    Raises:
        Untrusted: the file names code outside hardball, and nobody said that it may run.
        UserError: no evaluation there, or its data or its network's code are not available.
    """
    path = Path(path)
    if batch_size < 1:
        raise UserError(f"`batch_size={batch_size}`; allowed is 1 or more")
    if challenge < 0:
        raise UserError(f"`challenge={challenge}`; allowed is 0 or more")
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
        witnesses = Witnesses(places.witnesses, record, measured, notes)
        network = _network(record, weights, notes)
        sentence = _recheck(network, witnesses, record, measured, batch_size, notes)
        if bare or challenge:
            outside = Outside(model=record["model"], weights=weights, batch_size=batch_size)
            again = Again(
                outside=outside,
                network=network,
                record=record,
                images=measured.images,
                labels=measured.labels,
                witnesses=witnesses,
                seed=secrets.randbits(31) if seed is None else seed,
            )
            if bare:
                again.answers(notes)
            if challenge:
                again.challenge(challenge, notes)
    except Refuted:
        pass
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        notes.note("evaluation.json", f"not in the form described ({error!r})", False)
    refuted = next((finding for finding in notes.findings if not finding.holds), None)
    if refuted is not None:
        sentence = f"NOT verified: {refuted.what}: {refuted.found}."
    return Verification(findings=notes.findings, sentence=sentence, remarks=tuple(notes.remarks))


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
    whole = load_dataset(record["data"], where, record["split"])
    data = whole.some(record["n"], record.get("sample"))
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


def _recheck(
    network: nn.Module,
    witnesses: Witnesses,
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
    half = any(p.dtype in (torch.float16, torch.bfloat16) for p in network.parameters())
    asked = _asked(network, witnesses, data, batch_size, notes)
    fooled = np.stack([one.fooled for one in asked.values()])
    for dtype, one in asked.items():
        only = int((fooled.any(axis=0) & ~one.fooled).sum())
        found = f"{int(one.fooled.sum())} of {len(one.fooled)}"
        found += f", {only} more precision-dependent" if only else ""
        notes.note(f"misclassified in {dtype}", found, bool(fooled.any(axis=0).all()))
    rounding = int((fooled.any(axis=0) & ~fooled.all(axis=0)).sum())
    seen = np.stack([one.seen for one in asked.values()])
    notes.count("taken for the class said", np.asarray(seen.any(axis=0)))
    recorded = np.zeros(len(data), dtype=bool)
    recorded[witnesses.index[witnesses.eps == 0]] = True
    agree = np.stack([recorded == one.clean for one in asked.values()])
    notes.count("right or wrong unattacked", np.asarray(agree.any(axis=0)))
    shares = [_accuracy("clean accuracy", record["clean"], 0.0, witnesses, notes)]
    for row in record["robust"]:
        share = _accuracy(f"accuracy at ε={row['eps']:g}", row, row["eps"], witnesses, notes)
        shares.append(f"{share} at ε={row['eps']:g}")
    proofs = Proofs(
        record=record,
        witnesses=witnesses,
        network=network,
        half=half,
        images=data.images,
        labels=data.labels,
        batch_size=batch_size,
    )
    shares[-1] += "".join(f", {share}" for share in proofs.recheck(notes))
    counts = Counts(
        n=len(data),
        broken=witnesses.by_attack,
        nan=max(one.nan for one in asked.values()),
        half=half,
        labels=data.labels.tolist(),
        classes=data.classes,
    )
    _claims(record, counts, notes)
    return (
        f"Verified: of {len(data):,} images of {data.name} these weights get at most "
        f"{', '.join(shares)} right; {len(witnesses.index):,} witnesses prove it"
        + (f" ({rounding} of them depending on rounding)." if rounding else ".")
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the network answers in one precision."""

    fooled: Flags
    """Witnesses that are misclassified."""
    seen: Flags
    """Witnesses taken for the class that is said."""
    clean: Flags
    """Images that are wrong unattacked."""
    nan: int
    """Images with a logit that is no number."""


def _asked(
    network: nn.Module, witnesses: Witnesses, data: Dataset, batch_size: int, notes: Notes
) -> dict[str, _Asked]:
    """By precision; one that the network cannot compute in is reported, and proves nothing."""
    found: dict[str, _Asked] = {}
    reasons = []
    for precision in (torch.float32, torch.float64):
        name = str(precision).removeprefix("torch.")
        try:
            logits = arithmetic.logits(network, witnesses.images, precision, batch_size)
            plain = arithmetic.logits(network, data.images, precision, batch_size)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            reasons.append(next(iter(str(error).splitlines()), type(error).__name__))
            notes.note(f"the network in {name}", f"not available: {reasons[-1]}"[:120], True)
            continue
        found[name] = _Asked(
            fooled=arithmetic.wrong(logits, witnesses.label),
            seen=arithmetic.taken_for(logits, witnesses.label, witnesses.predicted),
            clean=arithmetic.wrong(plain, data.labels.numpy()),
            nan=int(np.isnan(plain).any(axis=1).sum()),
        )
    if not found:
        raise UserError(f"the network computes neither in float32 nor in float64: {reasons[0]}")
    return found


def _claims(record: Mapping[str, Any], counts: Counts, notes: Notes) -> None:
    """What is said besides the accuracies, each a finding of its own."""
    looks = {"scores": claims.scores, "requirements": claims.requirements}
    looks["warnings"] = claims.warnings
    verdict = record["verdict"]
    if verdict is not None or record["checklist"] is not None:
        looks |= {"checks": claims.checks, "verdict": claims.verdict}
    for what, look in looks.items():
        try:
            notes.note(what, look(record, counts), True)
        except claims.Wrong as why:
            notes.note(what, str(why), False)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            notes.note(what, f"not in the form described ({error!r})", False)
    notes.remarks.append(claims.UNCHECKED)


def _accuracy(
    what: str, stated: Mapping[str, Any], eps: float, witnesses: Witnesses, notes: Notes
) -> str:
    """Recompute one accuracy from the witnesses and compare all that is said of it."""
    n = int(witnesses.about["n"])
    right = n - int((witnesses.eps <= eps).sum())
    same = is_accuracy(stated, right, n)
    share = f"{right / n:.1%}"
    notes.note(what, share if same else f"{share}, not {stated['right']} of {stated['n']}", same)
    return share
