"""Forward passes of the model measured: in its own floating type, and refusing what is no classifier.

Shapes: R images, K classes; images [R, C, H, W], logits [R, K].
"""

import torch
from torch import Tensor, nn

from hardball.attacks import Classifier
from hardball.data import Dataset
from hardball.errors import CannotRun, UserError
from hardball.fronts import Front, front_of
from hardball.validation import logits_of_copy


class InItsType(nn.Module):
    """A model of another floating type than the images: they are cast for it, gradients pass."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.to(self.dtype))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def front_and_body(self) -> tuple[Front, nn.Module] | None:
        """Those of the model (see `front_of`): a cast is elementwise and monotone too."""
        found = front_of(self.model)
        if found is None:
            return None
        front, body = found
        return Cast(front, self.dtype), InItsType(body, self.dtype)


class Cast(Front):
    """Images in another floating type, then a front."""

    def __init__(self, front: Front, dtype: torch.dtype) -> None:
        super().__init__()
        self.front, self.dtype = front, dtype
        self.increasing, self.continuous = front.increasing, front.continuous
        self.affine = front.affine

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.front(images.to(self.dtype))
        return values.to(images.dtype)


def accepting(model: Classifier, dtype: torch.dtype) -> Classifier:
    """The model, taking images of `dtype`."""
    if not isinstance(model, nn.Module):
        return model
    own = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return model if not own or dtype in own else InItsType(model, own.pop())


def half_precision(model: Classifier) -> torch.dtype | None:
    """The half precision type of some of the model's parameters, if any."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    halves = (torch.float16, torch.bfloat16)
    return next((p.dtype for p in parameters if p.dtype in halves), None)


def logits_of(model: Classifier, data: Dataset, images: Tensor, batch_size: int) -> Tensor:
    """Logits [R, K] of `images`, on the CPU.

    Raises:
        UserError: the model has not as many outputs as the data has classes, or changes its images.
        CannotRun: it ends in an error.
    """
    found = [torch.zeros(0, data.classes)]
    for batch in torch.split(images, batch_size):
        if not len(batch):
            continue
        try:
            with torch.no_grad():
                logits = logits_of_copy(model, batch)
        except (RuntimeError, AssertionError) as error:  # timm asserts the size of images
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CannotRun(
                f"the model ends in an error on {len(batch)} images {list(batch.shape[1:])}: {reason} "
                "(does it take images of this size?)"
            ) from error
        if logits.shape[1] != data.classes:
            raise UserError(
                f"the model has {logits.shape[1]} outputs for {data.classes} classes of "
                f"{data.name}; evaluate it on the data it was made for"
            )
        found.append(logits.cpu())
    return torch.cat(found[1:] or found)
