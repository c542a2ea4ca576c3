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
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from fuzz_readers import Reader, changed, readers
from record import ROOT, command, parser, write

from hardball import environment
from hardball.errors import UserError

SECONDS = 5


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


def fed(inputs: int, seconds: float, only: list[str] | None = None) -> dict[str, Any]:
    """All kinds, or some, counted."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        kinds = {
            kind: fuzz(kind, seeds, read, inputs, seconds)
            for kind, seeds, read in readers(Path(place))
            if only is None or kind in only
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
    arguments.add_argument("--only", nargs="+", help="these kinds; all by default")
    asked = arguments.parse_args()
    found = fed(asked.inputs, asked.seconds, asked.only)
    write(
        {"command": command(), "note": asked.note, **found, "machine": environment.facts()},
        asked.out,
    )


if __name__ == "__main__":
    main()
