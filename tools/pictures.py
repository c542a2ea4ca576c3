"""Draws the pictures of docs/concepts.md: python tools/pictures.py

docs/radii.png shows what a radius allows, docs/claims.png what PGD claims and what is left, from
results/checklist_mnist.json.
"""

import json
from pathlib import Path

import torch
from matplotlib.figure import Figure

import hardball as hb

ROOT = Path(__file__).resolve().parents[1]
RADII = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def radii() -> Figure:
    """Two digits, with every pixel moved by ε up or down at random, and by ε towards grey."""
    images = hb.load_dataset("digits-bw", split="test").images[[0, 3]]
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, images.shape, generator=generator) * 2.0 - 1
    ways = [
        (image, name, way)
        for image, sign in zip(images, signs, strict=True)
        for name, way in (("at random", sign), ("to grey", (0.5 - image).sign()))
    ]
    figure = Figure(figsize=(8, 5.4), layout="constrained")
    axes = figure.subplots(len(ways), len(RADII), squeeze=False)
    for row, (image, name, way) in zip(axes, ways, strict=True):
        row[0].set_ylabel(name)
        for place, eps in zip(row, RADII, strict=True):
            moved = (image + eps * way).clamp(0, 1)
            place.imshow(moved[0], cmap="gray", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
    for place, eps in zip(axes[0], RADII, strict=True):
        place.set_title(f"ε={eps:g}")
    return figure


def claims() -> Figure:
    """What PGD-200 leaves and what the checklist leaves, with 95% intervals."""
    found = json.loads((ROOT / "results" / "checklist_mnist.json").read_text())
    rows = [row for row in found.values() if "verdict" in row]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for offset, key, colour, label in (
        (0.2, "pgd", "#9db8d2", "PGD-200, the claim"),
        (-0.2, "strongest", "#1f4e79", "AutoAttack and all checks"),
    ):
        places = [-number + offset for number in range(len(rows))]
        ends = [row["intervals"][key] for row in rows]
        errors = [
            [row[key] - low for row, (low, _) in zip(rows, ends, strict=True)],
            [high - row[key] for row, (_, high) in zip(rows, ends, strict=True)],
        ]
        axes.barh(places, [row[key] for row in rows], 0.38, color=colour, label=label, xerr=errors)
    names = [f"{row['what'].split(':')[0]}\n{row['verdict']}" for row in rows]
    axes.set_yticks([-number for number in range(len(rows))], names)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"accuracy on the first {rows[0]['n']:,} test images of MNIST")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


if __name__ == "__main__":
    for name, figure in (("radii", radii()), ("claims", claims())):
        figure.savefig(ROOT / "docs" / f"{name}.png", dpi=110, metadata={"Software": None})
