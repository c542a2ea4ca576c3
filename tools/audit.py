"""Known vulnerabilities of the versions in constraints.txt, by pip-audit.

`python tools/audit.py` ends with 0 if every package was looked up and has none, 1 if one has some, and
3 if packages could not be looked up: what was not audited is never called clean.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"

SHOWN = 5
"""Names in a sentence."""


def verdict(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """Exit code and lines, from pip-audit's JSON."""
    packages = report["dependencies"]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    lines = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in "
        f"{', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in packages
        for flaw in one.get("vulns", [])
    ]
    audited = len(packages) - len(skipped)
    if not audited:
        return 3, ["the vulnerability service could not be reached: nothing was audited"]
    if skipped:
        more = ", ..." if len(skipped) > SHOWN else ""
        lines.append(f"not audited: {len(skipped)}: {', '.join(skipped[:SHOWN])}{more}")
    affected = sum(bool(one.get("vulns")) for one in packages)
    lines.append(f"{audited} of {len(packages)} packages audited, {affected} with vulnerabilities")
    return 1 if affected else 3 if skipped else 0, lines


def main() -> None:
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS)]
    words += ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        report = json.loads(ended.stdout)
    except ValueError:
        reason = ended.stderr.strip().splitlines()[-1:] or ["no answer"]
        print(f"the vulnerability service could not be reached: nothing was audited ({reason[0]})")
        sys.exit(3)
    code, lines = verdict(report)
    print("\n".join(lines))
    sys.exit(code)


if __name__ == "__main__":
    main()
