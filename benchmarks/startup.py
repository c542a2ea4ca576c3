"""What it costs to start: CPU seconds of hardball's short commands, against `import torch`.

    python benchmarks/startup.py [--note "what else ran"]

Each is a process of its own, all in turn; CPU seconds are those of user and system. `to_torch` is the
ratio to `import torch` in the same round. A misspelt command ends with exit code 2, the others with 0.
Writes benchmarks/results/startup.json; `python benchmarks/tables.py startup` prints it as a table.
"""

import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from statistics import median

from record import RESULTS, command, parser, write
from timing import interleaved, ratio

from hardball import environment

TORCH = "import torch"
WAYS: dict[str, tuple[list[str], int]] = {
    TORCH: (["-c", "import torch"], 0),
    "import hardball": (["-c", "import hardball"], 0),
    "hardball --help": (["-m", "hardball", "--help"], 0),
    "hardball --version": (["-m", "hardball", "--version"], 0),
    "hardball trian, misspelt": (["-m", "hardball", "trian"], 2),
}
"""name → Python's arguments and the exit code."""


def cpu_seconds(words: Sequence[str], code: int) -> float:
    """User and system time of a process and its own processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != code:
        raise SystemExit(f"python {' '.join(words)}: exit code {ended.returncode}\n{ended.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    made = parser(__doc__, RESULTS / "startup.json")
    made.add_argument("--repeats", type=int, default=7)
    arguments = made.parse_args()
    taken = interleaved(
        {name: partial(cpu_seconds, *way) for name, way in WAYS.items()}, arguments.repeats
    )
    result = {
        "command": command(),
        "unit": "CPU seconds, user and system, median",
        "rows": {
            name: {
                "median": round(median(times), 3),
                "to_torch": ratio(taken[TORCH], times),
                "seconds": [round(t, 3) for t in times],
            }
            for name, times in taken.items()
        },
        "note": arguments.note,
        "machine": environment.facts(),
    }
    write(result, arguments.out)


if __name__ == "__main__":
    main()
