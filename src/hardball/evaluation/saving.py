"""An evaluation on disk: evaluation.json and witnesses.safetensors, as docs/evaluation.md describes them.

Shapes: N examples, M witnesses, P proofs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from hardball import storage
from hardball.attacks import Attack, Classifier
from hardball.data import Dataset
from hardball.errors import CannotRun, Damaged, UserError
from hardball.evaluation.results import SCHEMA, Accuracy, Evaluation, Proof, Score
from hardball.evaluation.witnesses import about_of, as_safetensors, sealed, unsealed
from hardball.places import Places


@dataclass(frozen=True)
class RecordedAttack(Attack):
    """An attack of a loaded evaluation: known by its description alone."""

    about: Any

    @property
    def uses_gradients(self) -> bool:
        raise CannotRun(
            "an evaluation that was loaded has descriptions of its attacks, not the attacks; evaluate "
            "again to go on from it (with its journal that takes seconds)"
        )

    def description(self) -> Any:
        return self.about


def save_evaluation(
    found: Evaluation,
    path: Path | str,
    model: Classifier,
    data: Dataset,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write witnesses.safetensors, then evaluation.json.

    Args:
        found: the evaluation.
        path: a run's folder, any other folder (made if it is not there), or a weights file
            X.safetensors, beside which X.evaluation.json and X.witnesses.safetensors are written.
        model: the one evaluated; it is asked what it takes each witness for.
        data: the examples measured.
        more: further fields of evaluation.json. `hardball verify` needs `weights_sha256`, `split` and
            `model` (name, args, shape and classes) to re-check it.

    Example:
        >>> import tempfile
        >>> found = hb.evaluate(model, test, eps=0.1, attacks={"fgsm": hb.fgsm()})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hb.save_evaluation(found, folder, model, test)
        ...     hb.load_evaluation(folder).worst == found.worst
        True
    """
    path = Path(path)
    if not path.exists() and path.suffix != ".safetensors":
        path.mkdir(parents=True)
    places = Places.of(path)
    about = {
        "run": path.name,
        "sample": None,
        "weights_sha256": None,
        "data_sha256": data.sha256,
        **(more or {}),
    }
    witnesses = as_safetensors(
        model,
        data,
        found,
        weights_sha256=about["weights_sha256"],
        data_sha256=about["data_sha256"],
        sample=about["sample"],
    )
    storage.write_atomically(places.witnesses, witnesses)
    content = {
        **found.as_json(),
        "witnesses": {
            "file": places.witnesses.name,
            "sha256": storage.digest(witnesses),
            "count": found.clean.n - int(found.broken_at.isinf().sum()),
        },
        "required": [],
        "checklist": None,
        "verdict": None,
        **about,
    }
    storage.write_atomically(places.evaluation, sealed(content))


def load_evaluation(path: Path | str) -> Evaluation:
    """An evaluation from where it was written, without its model and data.

    Not restored: the attacks themselves (they are `RecordedAttack`s, so no checklist can go on from
    it), the images of examples that nothing broke (their rows of `witnesses` are NaN), and what
    evaluation.json says besides (requirements, checklist, verdict). Nothing is re-checked but the
    files' digests: for that there is `verify`.

    Args:
        path: as in `save_evaluation`.

    Raises:
        UserError: no evaluation there, or one of another schema.
        Damaged: a file was changed since.

    Example:
        >>> import tempfile
        >>> found = hb.evaluate(model, test, eps=0.1, attacks={"fgsm": hb.fgsm()})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hb.save_evaluation(found, folder, model, test)
        ...     hb.load_evaluation(folder).worst == found.worst
        True
    """
    places = Places.of(Path(path))
    if not places.evaluation.is_file():
        raise UserError(f"no evaluation at {places.evaluation}; write one with `save_evaluation`")
    content = storage.read_bytes(places.evaluation, "evaluation")
    record = unsealed(content, places.evaluation)
    if record.get("schema") != SCHEMA:
        raise UserError(
            f"{places.evaluation} is of schema {record.get('schema')}; this version reads {SCHEMA}: "
            "evaluate again"
        )
    witnesses = storage.read_bytes(places.witnesses, "witnesses")
    if storage.digest(witnesses) != record["witnesses"]["sha256"]:
        raise Damaged(f"{places.witnesses} was changed since; restore it, or evaluate again")
    try:
        return _evaluation(record, about_of(witnesses)["attacks"], parse_safetensors(witnesses))
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise Damaged(
            f"{places.evaluation} or {places.witnesses} is not in the form described; evaluate again"
        ) from error


def _evaluation(
    record: Mapping[str, Any], names: Sequence[str], tensors: Mapping[str, Tensor]
) -> Evaluation:
    n, index, images = record["n"], tensors["index"], tensors["images"]
    broken_at = torch.full((n,), torch.inf, dtype=torch.float64)
    broken_at[index] = tensors["eps"]
    broken_by = [""] * n
    for row, attack in zip(index.tolist(), tensors["attack"].tolist(), strict=True):
        broken_by[row] = names[attack]
    witnesses = torch.full((n, *images.shape[1:]), torch.nan, dtype=images.dtype)
    witnesses[index] = images
    return Evaluation(
        data=record["data"],
        norm=record["norm"],
        seed=record["seed"],
        radii=tuple(row["eps"] for row in record["robust"]),
        scores=[
            Score(**row | {"after": Accuracy(right=row["after"]["right"], n=n)})
            for row in record["scores"]
        ],
        attacks={name: RecordedAttack(about) for name, about in record["attacks"].items()},
        broken_at=broken_at,
        broken_by=tuple(broken_by),
        witnesses=witnesses,
        doubts=tuple(record["warnings"]),
        seconds=record["seconds"],
        proofs=_proofs(record["certified"], tensors),
        certificates=record.get("certificates", {}),
        machine=record["machine"],
    )


def _proofs(rows: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> tuple[Proof, ...]:
    certified = tensors.get("certified", ())
    margins = tensors.get("margins", [None] * len(rows))
    return tuple(
        Proof(
            eps=row["eps"],
            certificate=row["certificate"],
            certified=proved,
            margins=None if bounds is None or bool(bounds.isnan().all()) else bounds,
        )
        for row, proved, bounds in zip(rows, certified, margins, strict=True)
    )
