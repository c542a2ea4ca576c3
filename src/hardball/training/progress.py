"""How far training moves the weights from epoch to epoch (the paper's Figure 10)."""

import math

import torch
from torch import Tensor, nn

Parameters = dict[str, Tensor]


@torch.no_grad()
def parameters_of(model: nn.Module) -> Parameters:
    """The parameters as tensors of their own. Buffers, which no optimiser moves, are left out."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


@torch.no_grad()
def distance(model: nn.Module, before: Parameters) -> float:
    """ℓ2 distance of a model's parameters from those `before`.

    A pure function of both sets of values: neither memory layout nor process changes it, so a resumed
    run repeats it bit for bit.
    """
    # flattened in logical order: a sum depends on the order of its terms
    parts = [(value - before[name]).flatten() for name, value in model.named_parameters()]
    return math.hypot(*torch.stack([torch.linalg.vector_norm(part) for part in parts]).tolist())
