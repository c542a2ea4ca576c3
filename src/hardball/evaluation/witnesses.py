"""Witnesses: the stored images that prove each broken example broken, and the seal of the record.

Every example that counts as wrong has one, those wrong without any attack included, so that the
accuracy reported at ε is 1 − (witnesses of ε or less)/n, to be recomputed by anyone from weights,
data and witnesses alone (`hardball verify`). The formats are described in docs/evaluation.md.

Shapes: M witnesses of N examples, P proofs; images [M, C, H, W].
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as format_safetensors
from torch import Tensor

from hardball.attacks import Classifier
from hardball.data import Dataset
from hardball.errors import Damaged
from hardball.evaluation.forward import accepting, logits_of
from hardball.evaluation.results import CLEAN, Evaluation
from hardball.isolation import evaluating
from hardball.storage import digest

SCHEMA = 1
"""Of witnesses.safetensors."""

UNSEALED = "0" * 64
"""Takes the place of evaluation.json's own digest while that is computed."""


def as_safetensors(
    model: Classifier,
    data: Dataset,
    found: Evaluation,
    *,
    weights_sha256: str,
    data_sha256: str,
    sample: int | None = None,
    batch_size: int = 256,
) -> bytes:
    """The witness file's content: a function of the evaluation, byte for byte.

    Args:
        model: the one evaluated; it is asked what it takes each witness for.
        data: the examples measured.
        found: the evaluation.
        weights_sha256: digest of the weights file.
        data_sha256: digest of the examples (see `Dataset.sha256`).
        sample: seed of the draw of the examples, if they were drawn.
        batch_size: images at a time.
    """
    index = found.broken_at.isfinite().nonzero().squeeze(1)
    images = found.witnesses[index.to(found.witnesses.device)]
    labels = data.labels.cpu()[index]
    model = accepting(model, images.dtype)
    with evaluating(model):
        logits = logits_of(model, data, images, batch_size)
    names = [CLEAN, *dict.fromkeys(name for name in found.broken_by if name not in ("", CLEAN))]
    tensors = {
        "images": images.cpu().contiguous(),
        "index": index,
        "label": labels,
        "predicted": _taken_for(logits, labels),
        "attack": torch.tensor(
            [names.index(found.broken_by[row]) for row in index.tolist()], dtype=torch.int64
        ),
        "eps": found.broken_at[index],
    }
    if found.proofs:
        tensors["certified"] = torch.stack([proof.certified for proof in found.proofs])
        none = torch.full((found.clean.n,), torch.nan, dtype=torch.float64)
        tensors["margins"] = torch.stack(
            [none if proof.margins is None else proof.margins for proof in found.proofs]
        )
    about = {
        "schema": SCHEMA,
        "attacks": names,
        "norm": found.norm,
        "seed": found.seed,
        "data": found.data,
        "n": found.clean.n,
        "sample": sample,
        "weights_sha256": weights_sha256,
        "data_sha256": data_sha256,
    }
    # one entry: the order of several would change from call to call
    return format_safetensors(tensors, metadata={"about": json.dumps(about, sort_keys=True)})


def about_of(content: bytes) -> dict[str, Any]:
    """The metadata of a witness file."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(json.loads(header["__metadata__"]["about"]))


def _taken_for(logits: Tensor, labels: Tensor) -> Tensor:
    """int64 [M]: the wrong class of largest logit; −1 where one is not a number."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return torch.where(logits.isnan().any(dim=1), -1, others.argmax(dim=1))


def sealed(content: Mapping[str, Any]) -> bytes:
    """Readable JSON whose last entry, `sha256`, is the digest of all its bytes with that entry's own
    64 digits set to 0."""
    text = json.dumps({**content, "sha256": UNSEALED}, indent=2, ensure_ascii=False) + "\n"
    before, _, after = text.rpartition(UNSEALED)
    return (before + digest(text.encode()) + after).encode()


def unsealed(content: bytes, path: Path) -> dict[str, Any]:
    """The content of an evaluation.json, its seal unbroken.

    Raises:
        Damaged: it was changed since, or is something else.
    """
    try:
        text = content.decode()
        found = json.loads(text)
        seal = str(found["sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{path} is no evaluation.json; evaluate again") from error
    before, _, after = text.rpartition(seal)
    if digest((before + UNSEALED + after).encode()) != seal:
        raise Damaged(f"{path} was changed since it was written; restore it, or evaluate again")
    return dict(found)
