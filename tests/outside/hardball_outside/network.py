"""A network: `--model hardball_outside.network:Dense --model-args '{width: 32}'`."""

from torch import nn


class Dense(nn.Sequential):
    """Pixels in [0, 1] → logits, through one hidden layer."""

    def __init__(self, pixels: int = 64, classes: int = 2, width: int = 64) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, classes)
        )
