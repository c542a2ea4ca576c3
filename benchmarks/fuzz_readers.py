"""What reads files or words of others, each with valid input to change."""

import io
import json
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from record import ROOT

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/outside")]

import test_faults
from hardball import storage, zoo
from hardball.cli import train as cli
from hardball.cli.parsing import Parser, peek, typed, with_underscores
from hardball.commands.sweep.grid import read_grid
from hardball.commands.sweep.settings import complete
from hardball.data.folder import _pixels
from hardball.errors import UserError
from hardball.evaluation import Journal, load_evaluation
from hardball.runs import model_from, read_metrics
from hardball.training import Settings
from hardball.training.curricula import curriculum_from

WORDS = b"- [ ] { } &a *a !!x null true .inf .nan 1e999 -1 0 99999999999999999999 \0 \xff \xce\xb5".split()
FLAGS = (
    *("--eps", "--epochs", "--steps", "--lr", "--norm", "--seed", "--batch-size", "--validation"),
    *("--model-args", "--curriculum", "--objective", "--optimizer", "--schedule", "--devices"),
    *("--config", "--preset", "--out", "--model", "--data", "--attack.steps", "--machine.compile"),
)
VALUES = (
    "0.1",
    "-1",
    "nan",
    "inf",
    "1e999",
    "",
    "x",
    "[",
    "{a: 1}",
    "[[1]]",
    "null",
    "true",
    "&a [*a]",
    "9" * 400,
    "adaptive",
    "iterative",
    "trades",
    "sgd",
    "l2",
    "no:x",
    "\x1b[31m",
    "\udcff",
    "--eps",
)


def changed(content: bytes, source: random.Random) -> bytes:
    """Some bytes of it are others."""
    found = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 4, 8))):
        place = source.randrange(len(found) + 1)
        kind = source.randrange(5)
        if kind == 0 and found:
            found[place % len(found)] ^= 1 << source.randrange(8)
        elif kind == 1:
            del found[place : place + source.randrange(1, 40)]
        elif kind == 2:
            found[place:place] = source.choice(WORDS)
        elif kind == 3:
            found[place:place] = found[place : place + source.randrange(1, 40)]
        elif source.random() < 0.2:
            del found[place:]
    return bytes(found)


Reader = Callable[[bytes], object]


def readers(folder: Path) -> Iterator[tuple[str, list[bytes], Reader]]:
    """(kind, valid input, what reads it)."""
    made = test_faults.make(folder / "r")
    run, network = made.folder, test_faults.network()

    def reading(path: Path, read: Callable[[], object]) -> Reader:
        def tried(content: bytes) -> object:
            path.write_bytes(content)
            return read()

        return tried

    def config() -> object:
        found = run.config()
        if not found.get("curriculum") or not found.get("model"):
            raise UserError("nothing to build")
        return Settings.of(found), curriculum_from(found["curriculum"]), model_from(found)

    plain = run.config_file.read_bytes().partition(b"\n")[2]  # without the seal
    yield "configs", [plain], reading(run.config_file, config)
    weights = unsealed(network)
    other = folder / "w.safetensors"
    yield "weights", [weights], reading(other, lambda: storage.load_weights(network, other))
    piece = max(path for path in run.path.rglob("*.pt") if "evaluation.state" in str(path))
    everything: dict[Path, Callable[[], object]] = {
        run.outcome_file: run.outcome,
        run.metrics_file: lambda: read_metrics(run),
        run.evaluation_file: lambda: load_evaluation(run.path),
        piece: lambda: Journal(run.path / "evaluation.state", made.scope),
        max(run.state.glob("epoch*.pt")): lambda: storage.load_state(
            max(run.state.glob("epoch*.pt"))
        ),
    }
    (run.path / "metrics.csv.sha256").unlink()
    by_file = {path: reading(path, read) for path, read in everything.items()}
    originals = {
        path: path.read_bytes().replace(b"hardball-sha256", b"hardball-nothing") for path in by_file
    }
    order = iter(range(10**9))

    def one_of_them(content: bytes) -> object:
        path = list(by_file)[next(order) % len(by_file)]
        source = random.Random(content)
        try:
            return by_file[path](changed(originals[path], source))
        finally:
            path.write_bytes(originals[path])

    yield "run_folders", [bytes([n]) * 8 for n in range(256)], one_of_them
    pictures = []
    for kind, mode in (
        ("PNG", "L"),
        ("PNG", "RGBA"),
        ("PPM", "I;16"),
        ("TIFF", "F"),
        ("JPEG", "RGB"),
    ):
        kept = io.BytesIO()
        Image.new(mode, (6, 5)).save(kept, kind)
        pictures.append(kept.getvalue())
    image = folder / "i.png"
    yield "images", pictures, reading(image, lambda: _pixels(image))
    grid = folder / "grid.yaml"
    yield "sweeps", [GRID], reading(grid, partial(every_trial, grid))
    card = folder / "a-network" / "config.json"
    card.parent.mkdir()
    card.with_name(zoo.WEIGHTS).write_bytes(weights)
    about = storage.digest(weights)
    yield (
        "zoo_cards",
        [config_of_the_zoo(about)],
        reading(card, lambda: zoo.read(card.parent).model()),
    )
    build = cli._Request._parser
    cli._Request._parser = one_parser_each(build)  # type: ignore[method-assign]
    try:
        yield "command_lines", [bytes([n]) * 8 for n in range(256)], a_command_line
    finally:
        cli._Request._parser = build  # type: ignore[method-assign]


GRID = b"""base:
  data: digits
  model: {name: digits_cnn, args: {width: 4}}
  eps: 0.1
  attack: {steps: 2}
axes:
  - {lr: [0.001, 0.01], seed: [0, 1]}
  - {curriculum: [{name: iterative, ramp_epochs: 3}], objective: [trades]}
trials:
  - {optimizer: {name: sgd, momentum: 0.9}, batch_size: 32}
sample: {n: 3, seed: 1}
probe: {attacks: [pgd-20], n: 50}
"""


def every_trial(path: Path) -> None:
    """All settings of a grid, as far as they are seen before anything is trained."""
    grid, _ = read_grid(path)
    for own in grid.own_settings()[:20]:
        complete(grid.base, own, trusted=False)


def config_of_the_zoo(digest: str) -> bytes:
    """An entry with the network of test_faults."""
    model = {"name": "digits_cnn", "shape": [1, 8, 8], "classes": 10, "args": {"width": 4}}
    about = {
        "schema": zoo.SCHEMA,
        "name": "a-network",
        "data": "digits",
        "norm": "linf",
        "eps": 0.1,
    }
    more = {"licence": "MIT", "training": {"epochs": 1}, "measured": {"n": 1}}
    return json.dumps({**about, "model": model, "weights_sha256": digest, **more}).encode()


def one_parser_each(build: Callable[..., Parser]) -> Callable[..., Parser]:
    """Parsers are built once for all requests whose flags and defaults are the same."""
    made: dict[str, Parser] = {}

    def remembered(request: Any, *about: object) -> Parser:
        own = (about, peek(request.argv, "objective"), request.trust, request.defaults)
        key = repr((*own, typed(request.argv, "curriculum")))
        if key not in made:
            made[key] = build(request, *about)
        return made[key]

    return remembered


def unsealed(network: torch.nn.Module) -> bytes:
    from safetensors.torch import save

    return save({name: value.contiguous() for name, value in network.state_dict().items()})


def a_command_line(content: bytes) -> object:
    source = random.Random(content)
    words = ["--eps", "0.1"] if source.random() < 0.7 else []
    for _ in range(source.randrange(1, 5)):
        words += [source.choice(FLAGS), source.choice(VALUES)]
    return cli._Request("train", "--eps E", with_underscores(words), about="x").config()
