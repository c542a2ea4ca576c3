"""Malformed input that looks for new paths through the code (libFuzzer, by way of atheris).

    python benchmarks/fuzz_guided.py --inputs 100000 --seconds 600

Needs `pip install atheris` (Linux). Starts from tests/corpus.zip and writes it anew: inputs that reached
what none before had, the `KEPT` shortest of each kind, which the suite gives to the readers again. Right
is a value or a `UserError` of one line; anything else ends that kind and is `found`.
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from record import ROOT, command, parser, write

KINDS = ("configs", "weights", "images", "sweeps", "zoo_cards")
"""Those whose input is a file. The others take bytes as the seed of a random choice."""
CORPUS = ROOT / "tests" / "corpus.zip"
KEPT = 40
LARGEST = 20_000
"""Bytes of an input."""


def one_kind(kind: str, *flags: str) -> None:
    """In a process of its own, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["hardball", "yaml"], enable_loader_override=False):
        from fuzz_readers import readers

    from hardball.errors import UserError

    with tempfile.TemporaryDirectory() as place:
        seeds, read = next((s, r) for name, s, r in readers(Path(place)) if name == kind)
        first = Path(flags[-1])
        for number, seed in enumerate(seeds):
            (first / f"valid{number}").write_bytes(seed)

        def tried(content: bytes) -> None:
            try:
                read(content)
            except UserError as error:
                if "\n" in str(error):
                    raise RuntimeError("an error of several lines") from error

        atheris.Setup([sys.argv[0], *flags], tried)
        atheris.Fuzz()


def started(kind: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, "--kind", kind, *flags],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )


def guided(kind: str, inputs: int, seconds: int, folder: Path) -> dict[str, Any]:
    """What a search of so many inputs found; those that reached more are in folder/reached afterwards."""
    found, reached = folder / "found", folder / "reached"
    for place in (found, reached):
        place.mkdir(parents=True)
    if CORPUS.exists():
        with zipfile.ZipFile(CORPUS) as kept:
            for name in kept.namelist():
                if name.startswith(f"{kind}/"):
                    (reached / Path(name).name).write_bytes(kept.read(name))
    limits = (f"-max_len={LARGEST}", "-timeout=5", f"-artifact_prefix={found}/")
    ended = started(kind, f"-runs={inputs}", f"-max_total_time={seconds}", *limits, str(reached))
    tried = re.findall(r"^#(\d+)", ended.stderr, re.MULTILINE)
    bad = {path.name: repr(path.read_bytes()[:200]) for path in found.iterdir()}
    return {
        "tried": int(tried[-1]) if tried else 0,
        "reached": len(list(reached.iterdir())),
        "found": bad,
    }


def kept(kinds: dict[str, Path]) -> None:
    """Write the corpus: the shortest inputs of each kind."""
    with zipfile.ZipFile(CORPUS, "w", zipfile.ZIP_DEFLATED) as file:
        for kind, folder in kinds.items():
            every = sorted(
                (path.read_bytes() for path in folder.iterdir()), key=lambda c: (len(c), c)
            )
            for number, content in enumerate(every[:KEPT]):
                file.writestr(zipfile.ZipInfo(f"{kind}/{number:02}"), content)


def main() -> None:
    if sys.argv[1:2] == ["--kind"]:
        one_kind(*sys.argv[2:])
    from hardball import environment  # not above: what is imported before `one_kind` is not guided

    arguments = parser(__doc__, ROOT / "benchmarks/results/fuzz_guided.json")
    arguments.add_argument("--inputs", type=int, default=100_000, help="of each kind")
    arguments.add_argument("--seconds", type=int, default=600, help="the most for each kind")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folders = {kind: Path(place, kind) for kind in KINDS}
        by_kind = {
            kind: guided(kind, asked.inputs, asked.seconds, folder)
            for kind, folder in folders.items()
        }
        kept({kind: folder / "reached" for kind, folder in folders.items()})
    total = sum(one["tried"] for one in by_kind.values())
    found = {"tried": total, "by_kind": by_kind, "machine": environment.facts()}
    write({"command": command(), "note": asked.note, **found}, asked.out)


if __name__ == "__main__":
    main()
