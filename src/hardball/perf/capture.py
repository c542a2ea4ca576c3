"""A model's passes captured in one graph."""

import torch
from torch import Tensor, nn

BACKEND = "inductor"
"""Of `torch.compile`."""


class Captured(nn.Module):
    """A model compiled for attacks: one captured graph of its forward pass and its input gradient.

    The parameters enter as constants, so no gradient of theirs is ever computed; they stay the
    model's own and are read anew at each call. On CUDA the graph is replayed without a launch per
    operation ("reduce-overhead", that is CUDA graphs); buffers and modes are the model's.

    Args:
        model: images [B, C, H, W] → logits [B, K].
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        on_gpu = any(p.is_cuda for p in model.parameters())
        self._call = torch.compile(
            self._plain, backend=BACKEND, mode="reduce-overhead" if on_gpu else None
        )

    def _plain(self, parameters: dict[str, Tensor], images: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(self.model, parameters, (images,))
        return found

    def forward(self, images: Tensor) -> Tensor:
        constants = {name: p.detach() for name, p in self.model.named_parameters()}
        found: Tensor = self._call(constants, images)
        return found
