"""Writes what results/ says into the pages of docs/ with tables of it: python tools/claims.py --write"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from hardball.report.reproduction_text import claims, trainings
from hardball.report.smoothing_tables import study_table

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "reproduction.md", ROOT / "results" / "figures"
SMOOTHING = ROOT / "docs" / "smoothing.md"
START, END = "<!-- from here: python tools/claims.py --write -->\n", "<!-- to here -->\n"


def results() -> list[dict[str, Any]]:
    """Contents of results/figures/NAME.json, tables first, then figures by number."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    return sorted(found, key=lambda one: _place(one["name"]))


def _place(name: str) -> tuple[bool, int, str]:
    number = re.search(r"\d+", name)
    return name.startswith("fig"), int(number[0]) if number else 0, name


def page(text: str) -> str:
    """The page with the tables as they are now."""
    found = results()
    cuts = sorted({one["cut"] for one in found if one["cut"]})
    said = "".join(f"Cut: {cut}.\n\n" for cut in cuts)
    pictures = "".join(
        f"![{one['title']}](../results/figures/{one['name']}.png)\n\n" for one in found
    )
    made = f"{said}{claims(found)}\n{trainings(found)}\n{pictures}"
    return _between(text, made)


def smoothing_page(text: str) -> str:
    """The page about smoothing with the table of results/smoothing.json as it is now."""
    return _between(
        text, study_table(json.loads((ROOT / "results" / "smoothing.json").read_text()))
    )


def _between(text: str, made: str) -> str:
    before, rest = text.split(START)
    return before + START + made + END + rest.split(END)[1]


def main() -> None:
    """Print or write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    for path, make in ((PAGE, page), (SMOOTHING, smoothing_page)):
        written = make(path.read_text())
        if write:
            path.write_text(written)
        else:
            print(written)


if __name__ == "__main__":
    main()
