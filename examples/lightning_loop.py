"""A curriculum and the training attack in a Lightning Trainer: one callback.

Run it: pip install pytorch-lightning; python examples/lightning_loop.py   (the digits, a minute)
"""

import copy
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hardball as hb


class AlongCurriculum(pl.Callback):
    """Moves every training batch to adversarial examples at the curriculum's ε, judges every
    validation epoch, goes back to the last good weights and ends the training.

    Args:
        course: the curriculum, at its first epoch.
        attack: inside training.
    """

    def __init__(self, course: hb.Course, attack: hb.PGD) -> None:
        self.course, self.attack = course, attack
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.good: dict[str, Tensor] = {}
        self.decisions: list[str] = []

    def moved(self, module: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Adversarial examples, the network in evaluation mode."""
        if not eps:
            return images
        was = module.training
        module.eval()
        found = self.course.attack(self.attack).perturb(module, images, labels, hb.LInf(eps))
        module.train(was)
        return found

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        eps = self.course.eps((batch_idx + 1) / trainer.num_training_batches)
        module.log("eps", eps, prog_bar=True)
        batch[0] = self.moved(module, batch[0], batch[1], eps)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        with torch.inference_mode(mode=False), torch.enable_grad():
            images, labels = batch[0].clone(), batch[1].clone()
            moved = self.moved(module, images, labels, self.course.eps())
        with torch.no_grad():
            self.seen.append((module(moved), labels))

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        logits, labels = (torch.cat(part) for part in zip(*self.seen, strict=True))
        self.seen.clear()
        if trainer.sanity_checking:
            return
        decision = self.course.see(logits, labels)
        self.decisions.append(f"{decision.action}: {decision.reason}")
        if decision.learned:
            self.good = copy.deepcopy(module.state_dict())
        if decision.restore and self.good:
            module.load_state_dict(self.good)
        trainer.should_stop = not self.course.running


class Classifier(pl.LightningModule):
    """Nothing in it knows of attacks."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("clean", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def train(curriculum: hb.Curriculum, seed: int = 0) -> tuple[Classifier, AlongCurriculum]:
    """Train on the digits."""
    pl.seed_everything(seed, verbose=False)
    data = hb.load_dataset("digits-bw")
    parts = [TensorDataset(data.images[part], data.labels[part]) for part in SPLIT]
    model = Classifier(hb.build("digits_cnn", data.shape, data.classes, {"width": 16}))
    course = hb.Course(curriculum=curriculum, labels=data.labels[SPLIT[0]], classes=10)
    callback = AlongCurriculum(course, hb.PGD(steps=10))
    trainer = pl.Trainer(
        max_epochs=curriculum.total_epochs,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    loaders = [DataLoader(parts[0], batch_size=32, shuffle=True), DataLoader(parts[1], 200)]
    trainer.fit(model, *loaders)
    return model.eval(), callback


SPLIT = (slice(None, -200), slice(-200, None))
"""Training and validation part."""

if __name__ == "__main__":
    model, callback = train(hb.Iterative(0.3, ramp_epochs=40, hold=20, may_stop=False))
    print("\n".join(callback.decisions))
    test = hb.load_dataset("digits-bw", split="test")
    scores = hb.evaluate(model, test, eps=[0.3], attacks=hb.protocols.strong)
    for eps, left in scores.worst.items():
        print(f"test accuracy at ε={eps:g}: {left.value:.1%} (n={left.n})")
