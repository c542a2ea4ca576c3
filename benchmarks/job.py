"""hardball's training step as the speed benchmarks take it: set up the way `fit` does."""

import torch
from torch import Tensor, nn

from hardball.perf import fast, keep_memory
from hardball.training.fit import launch
from hardball.training.optim import make_optimizer
from hardball.training.settings import Settings
from hardball.training.update import Update


class Job:
    """A network and all that an update of it needs, for the rest of this process's life."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.fabric = launch(settings)
        keep_memory()
        model = model.to(memory_format=torch.channels_last)
        wrapped, optimizer = self.fabric.setup(
            model, make_optimizer(model, "adam", lr=1e-3, momentum=0.9, weight_decay=0.0)
        )
        self.update = Update(wrapped, model, optimizer, settings, self.fabric, torch.channels_last)
        self._block = fast(model)
        self._block.__enter__()

    def train(self, images: Tensor, labels: Tensor, eps: float) -> None:
        """One attack and one update on a batch [B, C, H, W]."""
        done = self.update(images, labels, eps=eps, seed=0)
        assert done.finite
        self.update.apply()
