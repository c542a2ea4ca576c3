"""Everything that results/reliability.json says: faults, malformed input, hostile networks, the soak.

    python benchmarks/reliability.py [--quick] [--parts faults inputs networks soak]

Runs benchmarks/faults.py and fuzz.py, asks the checklist about every network of tests/hostile.py (one is
`trusted` if its verdict is another than the test allows), and benchmarks/soak.py. The full form takes
hours; `--quick` minutes. What was run is what is counted; a part that is not asked for stays as it was,
each has its command, note and machine. Defects that were found and mended are in
benchmarks/results/defects.json, with their tests.
"""

import argparse
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
    return {key: found[key] for key in found}


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


def measured(part: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One part, with the command that makes it anew."""
    if part == "faults":
        words = ("--damages", asked.damages, "--kills", asked.kills, "--machine", asked.machine)
        found = script("faults.py", *words)
    elif part == "inputs":
        found = script("fuzz.py", "--inputs", asked.inputs, "--seconds", asked.seconds)
    elif part == "networks":
        found = networks(asked.networks)
    else:
        found = script("soak.py", "--minutes", asked.soak_minutes)
    return {**found, "command": command(), "note": asked.note, "machine": environment.facts()}


PARTS = ("faults", "inputs", "networks", "soak")


def main() -> None:
    arguments = parser(__doc__, ROOT / "results/reliability.json")
    arguments.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--damages", type=int, default=1000)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--machine", type=int, default=10, help="of each fault of the machine")
    arguments.add_argument("--inputs", type=int, default=100_000)
    arguments.add_argument("--seconds", type=float, default=3600.0, help="the most for each kind")
    arguments.add_argument("--soak-minutes", type=float, default=60.0)
    arguments.add_argument("--networks", default="not_trusted", help="which, as pytest -k")
    asked = arguments.parse_args()
    if asked.quick:
        asked.damages, asked.kills, asked.machine = 100, 4, 1
        asked.inputs, asked.seconds = 2000, 20.0
        asked.soak_minutes, asked.networks = 3.0, "memory"
    result = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for part in asked.parts:
        result[part] = measured(part, asked)
        defects = json.loads((RESULTS / "defects.json").read_text())
        write(
            {name: result[name] for name in PARTS if name in result} | {"defects": defects},
            asked.out,
        )


if __name__ == "__main__":
    main()
