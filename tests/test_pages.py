"""The pages: their tables are made from the results, their links lead somewhere, the API is complete.

(make docs builds the site strictly: there, links to headings and the navigation are checked too.)
"""

import re
from pathlib import Path

import claims
import pictures
import pytest
from marked import commands, filled
from matplotlib.patches import Rectangle

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", claims.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_says_what_the_results_say(page: Path) -> None:
    """If this fails: python tools/claims.py --write"""
    text = page.read_text()
    assert claims.page(text) == text
    assert set(claims.named(page)) <= set(claims.PARTS)


def test_every_part_is_on_a_page() -> None:
    shown = {name for page in claims.pages() for name in claims.named(page)}
    assert shown == set(claims.PARTS)


def test_a_part_is_replaced_and_the_rest_is_kept() -> None:
    text = "a\n<!-- from here: python x.py --write one -->\nold\n<!-- to here -->\nb\n"
    text += "<!-- from here: python y.py --write -->\nkept\n<!-- to here -->\nc\n"
    assert commands(text) == ["python x.py --write one", "python y.py --write"]
    made = filled(text, {"python x.py --write one": lambda: "new \\1\n"})
    assert made == text.replace("old", "new \\1")


def test_the_pictures_of_the_concepts_show_the_results() -> None:
    rows = [row for row in claims.read("results/checklist_mnist.json").values() if "verdict" in row]
    (axes,) = pictures.claims().axes
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    assert [bar.get_width() for bar in bars] == [row["pgd"] for row in rows] + [
        row["strongest"] for row in rows
    ]
    shown = pictures.radii().axes
    assert len(shown) == 4 * len(pictures.RADII)
    grey = shown[2 * len(pictures.RADII) - 1].get_images()[0].get_array()
    assert grey is not None
    assert set(grey.flatten().tolist()) == {0.5}, "moved to grey by ε=0.5"


# --- links

WRITTEN = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")]
WRITTEN += [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    """In the site they are the same: its source folder is the repository's root."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = [link for link in LINK.findall(text) if "://" not in link]
    assert [link for link in found if not (page.parent / link).exists()] == []


def test_readme_is_one_screen_to_the_first_result() -> None:
    words = [word for word in (ROOT / "README.md").read_text().split() if word != "|"]
    assert len(words) <= 750


def test_the_readme_s_sentence_on_speed_is_that_of_the_benchmarks() -> None:
    text = (ROOT / "README.md").read_text().partition("## Speed")[2]
    training = claims.read("benchmarks/results/throughput.json")
    assert f"and {training['ratio_to_best_peer_channels_last']:.1f} times as many" in text
    assert "about twice as many" in text
    assert 1.8 <= training["ratio_to_best_peer"] <= 2.3
    assert "half of the fastest library's time" in text
    attacked = claims.read("benchmarks/results/evaluation.json")["pgd"]
    assert attacked["speedup_over_fastest_peer"] == pytest.approx(2, abs=0.15)


# --- the API


def public_names() -> list[str]:
    stub = (ROOT / "src" / "hardball" / "__init__.pyi").read_text()
    return [name for name in re.findall(r" as (\w+)$", stub, re.MULTILINE) if name != "__version__"]


def test_every_public_name_has_its_place_in_the_api() -> None:
    api = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    directives = set(re.findall(r"^\.\. auto\w+:: hardball\.([\w.]+)$", api, re.MULTILINE))
    last = {name.rpartition(".")[2] for name in directives}
    assert [name for name in public_names() if name not in last] == []
    index = (ROOT / "docs" / "api" / "index.md").read_text()
    assert [name for name in public_names() if f"`{name}`" not in index] == []
