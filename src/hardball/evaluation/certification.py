"""Certificates run on the examples of an evaluation. Shapes: N examples."""

import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hardball.certify import Certificate
from hardball.evaluation.execution import Execution
from hardball.evaluation.results import Proof
from hardball.threats import ThreatModel


def proofs(
    execution: Execution, certificates: Mapping[str, Certificate], threats: Sequence[ThreatModel]
) -> tuple[Proof, ...]:
    """What each certificate proves at each of the threats; what the journal holds is not done again."""
    return tuple(
        _proof(execution, name, certificate, threat)
        for threat in threats
        for name, certificate in certificates.items()
    )


def _proof(execution: Execution, name: str, certificate: Certificate, threat: ThreatModel) -> Proof:
    """Of all examples; its tensors on the CPU."""
    eps = float(threat.eps)
    about = {"certificate": name, "eps": eps, "is": certificate.description(), "margins": True}
    key = json.dumps(about, sort_keys=True)
    for record in execution.journal.records(key):
        return Proof(eps=eps, certificate=name, **record)
    data = execution.data
    shown = execution.progress.add_task(f"{name} at {threat}", total=len(data))
    parts, bounds = [], []
    for rows in torch.split(torch.arange(len(data)), execution.batch_size):
        here = rows.to(data.images.device)
        found = certificate.proved(execution.model, data.images[here], data.labels[here], threat)
        parts.append(found.certified.cpu())
        if found.margins is not None:
            bounds.append(found.margins.double().cpu())
        execution.progress.advance(shown, len(rows))
    kept: dict[str, Tensor] = {"certified": torch.cat(parts)}
    if bounds:
        kept["margins"] = torch.cat(bounds)
    execution.journal.append(key, kept)
    execution.journal.flush()
    execution.progress.remove_task(shown)
    return Proof(eps=eps, certificate=name, **kept)
