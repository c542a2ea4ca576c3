"""Passes of a model in training, and what they must return.

Shapes: B examples, K classes; images [B, ...] → logits [B, K].
"""

import torch
from torch import Tensor, nn

from hardball.certify.intervals import Box, traced
from hardball.data import Dataset
from hardball.errors import UserError
from hardball.isolation import evaluating
from hardball.training.objectives import Objective
from hardball.validation import logits_of_copy


class Passes(nn.Module):
    """Several passes of one model in one call: what DDP needs to see them as one.

    Args:
        model: images → logits.
        objective: what is trained for; interval bounds are computed if it needs them.

    Raises:
        CannotRun: an operation of the model without an interval form.
    """

    def __init__(self, model: nn.Module, *, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        # in a list: the graph's layers are the model's, and no second ones
        self._graphs = [traced(model)] if objective.needs_bounds else []
        self._has_statistics = next(model.buffers(), None) is not None

    def forward(
        self,
        *batches: Tensor,
        ends: tuple[Tensor, Tensor] | None = None,
        labels: Tensor | None = None,
        left: float = 0.0,
    ) -> list[Tensor]:
        """Logits of each batch (empty, if bounds are wanted and the objective looks at nothing else);
        then, for the ends of a box, upper bounds on z_j − z_y in it, y from `labels`, and what the
        objective finds wrong with the boxes, a scalar, as long as some of ε is left to come."""
        if ends is None or labels is None:
            return [self.model(images) for images in batches]
        found = [self._logits(images) for images in batches]
        (graph,), box = self._graphs, Box(*ends)  # Fabric passes on tensors, and no dataclass
        every, hidden = self.objective.bounds(graph, box, labels, left)
        penalty = self.objective.penalty(box, hidden) if left else every.new_zeros(())
        return [*found, -every, penalty]

    def _logits(self, images: Tensor) -> Tensor:
        """Beside bounds: if not for the objective, for the statistics of batch norm."""
        if self.objective.needs_logits:
            found: Tensor = self.model(images)
            return found
        if self._has_statistics:
            with torch.no_grad():
                self.model(images)
        return images.new_empty(0)


def check_classes(model: nn.Module, data: Dataset) -> None:
    """See that the model returns one logit per class, before anything is trained or written.

    Raises:
        UserError: it returns something else, or changes its images.
    """
    with evaluating(model), torch.no_grad():
        found = logits_of_copy(model, data.images[:2]).shape[1]
    if found != data.classes:
        raise UserError(
            f"the model has {found} outputs for the {data.classes} classes of {data.name}; allowed "
            "is one for each class: change its last layer"
        )
