"""Asks a network in a process of its own. This file is copied there, under a plain name, and run: it
imports torch, safetensors and the network's module, and what it is asked comes through its input.

Shapes: B images, K classes; images [B, C, H, W], logits [B, K].
"""

import importlib
import json
import os
import sys
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def part(spec: dict[str, Any]) -> nn.Module:
    """What a module of that name makes."""
    made: Any = importlib.import_module(spec["module"])
    for name in spec["attribute"].split("."):
        made = getattr(made, name)
    found: nn.Module = made(*spec["positional"], **spec["arguments"])
    return found


def network(spec: dict[str, Any]) -> nn.Module:
    """The network, its parts in a row, with its weights, in evaluation mode."""
    sys.path.insert(0, os.getcwd())
    parts = [part(one) for one in spec["parts"]]
    found = parts[0] if len(parts) == 1 else nn.Sequential(*parts)
    found.load_state_dict(load_file(spec["weights"]))
    return found.float().eval()


def answers(model: nn.Module, images: Tensor, batch: int) -> Tensor:
    """Logits."""
    with torch.no_grad():
        return torch.cat([model(part.clone()).float() for part in torch.split(images, batch)])


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit less the label's: 0 or more is an error."""
    others = logits.scatter(1, labels[:, None], float("-inf")).amax(1)
    found: Tensor = others - logits.gather(1, labels[:, None]).squeeze(1)
    return found


def lengths(change: Tensor) -> Tensor:
    """ℓ2 norms, as [B, 1, 1, 1]."""
    found: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp(min=1e-30)
    return found.view(-1, *[1] * (change.dim() - 1))


def scaled(gradient: Tensor, norm: str) -> Tensor:
    """The steepest direction of length 1."""
    if norm != "l2":
        return gradient.sign()
    return gradient / lengths(gradient)


def inside(points: Tensor, images: Tensor, norm: str, eps: float) -> Tensor:
    """The points, brought into ball and box."""
    change = points - images
    if norm == "l2":
        change = change * (eps / lengths(change)).clamp(max=1)
    else:
        change = change.clamp(-eps, eps)
    return (images + change).clamp(0, 1)


def search(model: nn.Module, images: Tensor, labels: Tensor, asked: dict[str, Any]) -> Tensor:
    """The worst point met around each image: projected gradient ascent from random starts, on the
    margin and on the cross entropy in turn, with steps that shrink."""
    norm, eps, steps = asked["norm"], asked["eps"], asked["steps"]
    draws = torch.Generator().manual_seed(asked["seed"])
    worst = images.clone()
    with torch.no_grad():
        highest = margins(model(images.clone()).float(), labels)
    for start in range(asked["starts"]):
        noise = 2 * torch.rand(images.shape, generator=draws) - 1
        current = inside(images + eps * noise, images, norm, eps)
        for step in range(steps + 1):
            point = current.detach().clone().requires_grad_(True)
            logits = model(point).float()
            margin = margins(logits, labels)
            better = margin.detach() > highest
            highest = torch.where(better, margin.detach(), highest)
            worst[better] = point.detach()[better]
            if step == steps or not logits.requires_grad:
                break
            loss = (
                margin
                if start % 2 == 0
                else nn.functional.cross_entropy(logits, labels, reduction="none")
            )
            (gradient,) = torch.autograd.grad(loss.sum(), point, allow_unused=True)
            if gradient is None:
                break
            size = 2 * eps * (1 - step / (steps + 1))
            size = size if start % 2 == 0 else 5 * eps / steps
            current = inside(current + size * scaled(gradient, norm), images, norm, eps)
    return worst


def main() -> None:
    asked = json.loads(sys.stdin.read())
    torch.set_num_threads(asked["threads"])
    model = network(asked["network"])
    given: dict[str, Tensor] = load_file(asked["given"])
    images = given["images"]
    if "labels" in given:
        rows = torch.split(torch.arange(len(images)), asked["batch"])
        labels = given["labels"]
        found = torch.cat([search(model, images[part], labels[part], asked) for part in rows])
    else:
        found = answers(model, images, asked["batch"])
    save_file({"found": found.contiguous()}, asked["wanted"])


if __name__ == "__main__":
    main()
