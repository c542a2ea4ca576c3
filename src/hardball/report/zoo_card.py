"""The model card of a network of the zoo, from its config.json alone."""

from collections.abc import Mapping
from typing import Any

import yaml

MOST_DIGITS = 4


def card(config: Mapping[str, Any]) -> str:
    """README.md in the layout of the Hugging Face hub: metadata as YAML, then Markdown."""
    about = {
        "license": config["licence"].lower(),
        "library_name": "hardball",
        "tags": ["adversarial-robustness", "image-classification", config["norm"]],
        "datasets": [config["data"]],
        "metrics": ["accuracy"],
    }
    head = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---\n",
        f"# {config['name']}\n",
        f"{_sentence(config)}\n",
        f'```python\nimport hardball as hb\n\nmodel = hb.load("{config["name"]}")\n```\n',
        f"## Measured\n\n{_measured(config)}",
        f"## Training\n\n```\n{config['training'].get('command') or 'started from Python'}\n```\n",
        _settings(config["training"]),
        f"## Files\n\nSHA-256 of model.safetensors: `{config['weights_sha256']}`\n",
        f"Licence of the weights: {config['licence']}. Data: {config['data']}, under its own licence.\n",
    ]
    return "\n".join(part for part in parts if part)


def _sentence(config: Mapping[str, Any]) -> str:
    model = config["model"]
    front = ""
    if model.get("front"):
        front = f" behind the front {_with_args(model['front'], model.get('front_args'))}"
    return (
        f"{_with_args(model['name'], model.get('args'))}{front} for {config['data']}, images "
        f"{'×'.join(map(str, model['shape']))} in [0, 1], {model['classes']} classes; trained for "
        f"{config['norm']} ε={config['eps']:.{MOST_DIGITS}g}."
    )


def _with_args(name: str, args: Mapping[str, Any] | None) -> str:
    listed = ", ".join(f"{key}={value}" for key, value in (args or {}).items())
    return f"{name} ({listed})" if listed else name


def _measured(config: Mapping[str, Any]) -> str:
    found = config["measured"]
    lines = [
        "| ε | accuracy | 95% interval | n |",
        "| --- | --- | --- | --- |",
        _row("0", found["clean"]),
        *(_row(f"{one['eps']:.{MOST_DIGITS}g}", one) for one in found["robust"]),
    ]
    lines += [_row(f"{one['eps']:.{MOST_DIGITS}g}, certified", one) for one in found["certified"]]
    text = "\n".join(lines) + "\n\n"
    which = f"the first {found['n']} test images"
    if found.get("sample") is not None:
        which = f"{found['n']} test images, drawn at random"
    text += f"The worst of {', '.join(found['attacks'])}, on {which}.\n"
    if not found["certified"]:
        text += "There is no certificate: these accuracies are upper bounds.\n"
    if found.get("verdict"):
        text += f"\nThe checklist's verdict: {found['verdict']}\n"
    return text


def _row(eps: str, one: Mapping[str, Any]) -> str:
    return f"| {eps} | {one['accuracy']:.1%} | {one['low']:.1%} to {one['high']:.1%} | {one['n']} |"


def _settings(training: Mapping[str, Any]) -> str:
    rows = {
        "epochs": training.get("epochs"),
        "sample-steps": f"{training['sample_steps']:,}" if training.get("sample_steps") else None,
        "seed": training.get("seed"),
        "precision": training.get("precision"),
        "extended from": training.get("origin"),
        "hardball": training.get("hardball"),
    }
    return "".join(f"* {key}: {value}\n" for key, value in rows.items() if value is not None)
