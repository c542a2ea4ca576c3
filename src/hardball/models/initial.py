"""How random weights are drawn, where PyTorch's own way is not wanted."""

from collections.abc import Callable

from torch import Tensor, nn

from hardball.errors import unknown

INITIALS: dict[str, Callable[[Tensor], object]] = {
    "glorot": nn.init.xavier_uniform_,
    "he": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}
"""name → function that draws the weights of a linear layer or a convolution in place (Glorot and Bengio
2010, uniform; He et al. 2015, normal; Saxe et al. 2014)."""


def initialise(model: nn.Module, name: str) -> None:
    """Draw the weights of all linear layers and convolutions; their biases become 0.

    Raises:
        UserError: a name that does not exist.
    """
    if name not in INITIALS:
        raise unknown("initialisation", name, INITIALS)
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            INITIALS[name](layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
