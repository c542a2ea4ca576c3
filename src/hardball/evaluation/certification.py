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
        Proof(
            eps=float(threat.eps),
            certificate=name,
            certified=_certified(execution, name, certificate, threat),
        )
        for threat in threats
        for name, certificate in certificates.items()
    )


def _certified(
    execution: Execution, name: str, certificate: Certificate, threat: ThreatModel
) -> Tensor:
    """bool [N], on the CPU."""
    about = {"certificate": name, "eps": float(threat.eps), "is": certificate.description()}
    key = json.dumps(about, sort_keys=True)
    for record in execution.journal.records(key):
        kept: Tensor = record["certified"]
        return kept
    data = execution.data
    shown = execution.progress.add_task(f"{name} at {threat}", total=len(data))
    parts = []
    for rows in torch.split(torch.arange(len(data)), execution.batch_size):
        here = rows.to(data.images.device)
        found = certificate(execution.model, data.images[here], data.labels[here], threat)
        parts.append(found.cpu())
        execution.progress.advance(shown, len(rows))
    certified = torch.cat(parts)
    execution.journal.append(key, {"certified": certified})
    execution.journal.flush()
    execution.progress.remove_task(shown)
    return certified
