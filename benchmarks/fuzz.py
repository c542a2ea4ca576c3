"""Malformed input for everything that reads files or words of others: a traceback, a hang, a leak?

    python benchmarks/fuzz.py --inputs 100000 --seconds 600

Valid input is changed by bytes (flipped, cut, doubled, swapped with the formats' own words) and given to
the function that reads it. Right is a value or a `UserError` (a command's exit) of one line. Each input
has five seconds. `tried` is what was run: `--seconds` limits each kind.
"""

import contextlib
import io
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from record import ROOT, command, parser, write

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/outside")]

import torch

import test_faults
from hardball import environment, storage
from hardball.cli import train as cli
from hardball.cli.parsing import with_underscores
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
    *(
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
    ),
    *(
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
    ),
)
SECONDS = 5


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
    yield "command_lines", [bytes([n]) * 8 for n in range(256)], a_command_line


def unsealed(network: torch.nn.Module) -> bytes:
    from safetensors.torch import save

    return save({name: value.contiguous() for name, value in network.state_dict().items()})


def a_command_line(content: bytes) -> object:
    source = random.Random(content)
    words = ["--eps", "0.1"] if source.random() < 0.7 else []
    for _ in range(source.randrange(1, 5)):
        words += [source.choice(FLAGS), source.choice(VALUES)]
    return cli._Request("train", "--eps E", with_underscores(words), about="x").config()


class Hung(BaseException):
    """Not an `Exception`: nothing on the way catches it."""


def _hang(*_: object) -> None:
    raise Hung


def fuzz(
    kind: str, seeds: list[bytes], read: Reader, inputs: int, seconds: float
) -> dict[str, Any]:
    """So many inputs, or for so long."""
    source, found = random.Random(kind), {"tried": 0, "refused": 0, "tracebacks": 0, "hangs": 0}
    worst: dict[str, str] = {}
    before = after_warming = 0
    until = time.monotonic() + seconds
    signal.signal(signal.SIGALRM, _hang)
    while found["tried"] < inputs and time.monotonic() < until:
        content = changed(source.choice(seeds), source)
        found["tried"] += 1
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read(content)
        except UserError as error:
            found["refused"] += 1
            if "\n" in str(error):
                worst[f"{len(worst)}: several lines"] = repr(content)[:300]
                found["tracebacks"] += 1
        except SystemExit:
            found["refused"] += 1
        except Hung:
            found["hangs"] += 1
            worst[f"{len(worst)}: hang"] = repr(content)[:300]
        except (Exception, RecursionError) as error:
            found["tracebacks"] += 1
            worst.setdefault(f"{type(error).__name__}: {str(error)[:80]}", repr(content)[:300])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if found["tried"] == 500:
            after_warming = before
    grown = (before - after_warming) / 1024 if after_warming else 0.0
    return {
        **found,
        "peak_memory_growth_mib": round(grown, 1),
        "bad": dict(list(worst.items())[:20]),
    }


def fed(inputs: int, seconds: float) -> dict[str, Any]:
    """All kinds, counted."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        kinds = {
            kind: fuzz(kind, seeds, read, inputs, seconds)
            for kind, seeds, read in readers(Path(place))
        }
    total = {
        name: sum(kind[name] for kind in kinds.values())
        for name in ("tried", "tracebacks", "hangs")
    }
    return {**total, "by_kind": kinds}


def main() -> None:
    arguments = parser(__doc__, ROOT / "benchmarks/results/fuzz.json")
    arguments.add_argument("--inputs", type=int, default=100_000)
    arguments.add_argument("--seconds", type=float, default=600.0)
    asked = arguments.parse_args()
    found = fed(asked.inputs, asked.seconds)
    write(
        {"command": command(), "note": asked.note, **found, "machine": environment.facts()},
        asked.out,
    )


if __name__ == "__main__":
    main()
