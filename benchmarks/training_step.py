"""hardball's training step as the speed benchmarks take it: set up the way `fit` does."""

import torch
from torch import Tensor, nn

from hardball.perf import fast, keep_memory
from hardball.threats import LInf
from hardball.training.machine import launch
from hardball.training.passes import Passes
from hardball.training.settings import Settings
from hardball.training.update import Update


class TrainingStep:
    """A network and all that an update of it needs, for the rest of this process's life."""

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.fabric = launch(settings.machine)
        keep_memory()
        model = model.to(memory_format=torch.channels_last)
        wrapped, optimizer = self.fabric.setup(
            Passes(model, objective=settings.objective), settings.optimizer.of(model)
        )
        self.update = Update(wrapped, model, optimizer, settings, self.fabric, torch.channels_last)
        self._block = fast(model)
        self._block.__enter__()

    def train(self, images: Tensor, labels: Tensor, eps: float) -> None:
        """One attack and one update on a batch [B, C, H, W]."""
        done = self.update(images, labels, threat=LInf(eps), seed=0)
        assert done.finite
        self.update.apply()
