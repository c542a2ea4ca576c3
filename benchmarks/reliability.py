"""Everything that results/reliability.json says: faults, malformed input, hostile networks, the soak.

    python benchmarks/reliability.py [--quick]

Runs benchmarks/faults.py and fuzz.py, asks the checklist about every network of tests/hostile.py (one is
`trusted` if its verdict is another than the test allows), and benchmarks/soak.py, or takes its last
result with `--soak-minutes 0`. The full form takes hours; `--quick` minutes. What was run is what is
counted. Defects that were found and mended are in benchmarks/results/defects.json, with their tests.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from record import RESULTS, ROOT, command, parser, write

from hardball import environment

NETWORKS = "tests/test_hostile.py::test_a_hostile_network_is_not_trusted"


def script(name: str, *words: object) -> dict[str, Any]:
    """The result of another script here, run in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "result.json")
        asked = [
            sys.executable,
            str(ROOT / "benchmarks" / name),
            *map(str, words),
            "--out",
            str(out),
        ]
        subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(out.read_text())
    return {key: found[key] for key in found if key not in ("command", "machine", "note")}


def networks(select: str) -> dict[str, Any]:
    """The hostile networks whose names fit, judged by the checklist."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report.xml")
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            NETWORKS,
            f"--junitxml={report}",
            "-k",
            select,
        ]
        subprocess.run(words, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [case.attrib["name"] for case in cases if len(case)]
    return {"tried": len(cases), "trusted": len(bad), "bad": bad}


def soaked(minutes: float) -> dict[str, Any]:
    """The soak of so long, or the last one's result."""
    if minutes:
        return script("soak.py", "--minutes", minutes)
    last = RESULTS / "soak.json"
    return json.loads(last.read_text()) if last.exists() else {}


def main() -> None:
    arguments = parser(__doc__, ROOT / "results/reliability.json")
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--damages", type=int, default=1000)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--inputs", type=int, default=100_000)
    arguments.add_argument("--seconds", type=float, default=3600.0, help="the most for each kind")
    arguments.add_argument("--soak-minutes", type=float, default=60.0)
    arguments.add_argument("--networks", default="not_trusted", help="which, as pytest -k")
    asked = arguments.parse_args()
    if asked.quick:
        asked.damages, asked.kills, asked.inputs, asked.seconds = 100, 4, 2000, 20.0
        asked.soak_minutes, asked.networks = 0.0, "memory"
    result = {
        "command": command(),
        "note": asked.note,
        "faults": script("faults.py", "--damages", asked.damages, "--kills", asked.kills),
        "inputs": script("fuzz.py", "--inputs", asked.inputs, "--seconds", asked.seconds),
        "networks": networks(asked.networks),
        "soak": soaked(asked.soak_minutes),
        "defects": json.loads((RESULTS / "defects.json").read_text()),
        "machine": environment.facts(),
    }
    write(result, asked.out)


if __name__ == "__main__":
    main()
