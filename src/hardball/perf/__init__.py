"""What makes the inner loop fast without changing what it computes."""

from hardball.perf.capture import Captured
from hardball.perf.convolution import NarrowConv2d, fast, narrow_input_gradient
from hardball.perf.layout import channels_last, measuring, prefer_channels_last
from hardball.perf.memory import keep_memory

__all__ = [
    "Captured",
    "NarrowConv2d",
    "channels_last",
    "fast",
    "keep_memory",
    "measuring",
    "narrow_input_gradient",
    "prefer_channels_last",
]
