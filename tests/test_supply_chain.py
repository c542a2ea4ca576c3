"""What hardball depends on, that each dependency is accounted for, and that nothing calls home."""

import re
import subprocess
import sys
from pathlib import Path

import audit
import pytest
import yaml

from hardball import __version__
from test_extras import PROJECT, bare

ROOT = Path(__file__).resolve().parents[1]

CONSTRAINTS = {
    bare(line): line.partition("==")[2].strip()
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
}
LOWEST = {
    bare(line): line.partition("==")[2].strip()
    for line in (ROOT / "constraints-lowest.txt").read_text().splitlines()
    if "==" in line
}


def test_no_import_opens_a_connection() -> None:
    """All modules of hardball, in an interpreter whose sockets refuse."""
    modules = sorted(
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "src" / "hardball").rglob("*.py")
        if path.name not in ("__main__.py", "plain.py")
    )
    code = (
        "import socket, importlib\n"
        "def refuse(*_, **__): raise SystemExit('a connection was asked for')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        f"for name in {modules}: importlib.import_module(name)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


# ------------------------------------------------------------------ dependencies


def named() -> dict[str, set[str]]:
    """ "" and each extra but dev and docs → the distributions it asks for."""
    optional = PROJECT["optional-dependencies"]
    wanted = {"": PROJECT["dependencies"]}
    wanted |= {name: needed for name, needed in optional.items() if name not in ("dev", "docs")}
    return {name: {bare(one) for one in needed} - {"hardball"} for name, needed in wanted.items()}


def test_every_dependency_is_justified_in_one_line() -> None:
    page = (ROOT / "docs" / "design.md").read_text()
    table = page[page.index("## Libraries") : page.index("## Randomness")].lower()
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| ")]
    explained = " ".join(row[0] for row in rows)
    for name in set().union(*named().values()):
        assert re.search(rf"\b{re.escape(name)}\b", explained), name
    assert all(row[1].strip() for row in rows)


def test_a_version_that_the_suite_passed_with_is_known_of_each() -> None:
    for name in set().union(*named().values()) - {"ray"}:
        assert name in CONSTRAINTS, name


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    needed = [*PROJECT["dependencies"]]
    for extra in ("report", "theory"):
        needed += PROJECT["optional-dependencies"][extra]
    bounds = {bare(one): one.partition(">=")[2] for one in needed}
    assert bounds == {name: LOWEST[name] for name in bounds}


# ------------------------------------------------------------------------- audit


def package(name: str, *flaws: str, skipped: bool = False) -> dict[str, object]:
    if skipped:
        return {"name": name, "skip_reason": "not found"}
    return {
        "name": name,
        "version": "1.0",
        "vulns": [{"id": flaw, "fix_versions": ["1.1"]} for flaw in flaws],
    }


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([package("a"), package("b")], 0, "2 of 2 packages audited, 0 with vulnerabilities"),
        ([package("a", "CVE-1"), package("b")], 1, "a 1.0: CVE-1, fixed in 1.1"),
        ([package("a"), package("b", skipped=True)], 3, "not audited: 1: b"),
        ([package("a", skipped=True)], 3, "nothing was audited"),
        ([], 3, "nothing was audited"),
    ],
)
def test_what_was_not_audited_is_never_called_clean(
    packages: list[dict[str, object]], code: int, said: str
) -> None:
    found, lines = audit.verdict({"dependencies": packages})
    assert found == code
    assert said in "\n".join(lines)


def test_what_the_targets_call_is_in_dev() -> None:
    dev = {bare(one) for one in PROJECT["optional-dependencies"]["dev"]}
    assert {"build", "hatchling", "pip-audit", "cyclonedx-bom"} <= dev


def test_changelog_and_citation_name_this_version_and_the_paper() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert cited["references"][0]["identifiers"][0]["value"] == "arXiv:2003.13370"


def test_the_workflow_and_the_forms_are_well_formed() -> None:
    for path in (ROOT / ".github").rglob("*.yml"):
        assert yaml.safe_load(path.read_text()), path
    form = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text()
    assert "hardball doctor" in form
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    pythons = jobs["newest"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    targets = (ROOT / "Makefile").read_text()
    asked = re.findall(r"run: make (\w+)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert asked
    for target in asked:
        assert f"\n{target}:" in targets
