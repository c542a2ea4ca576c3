"""The pages: their tables are made from the results."""

from pathlib import Path

import claims
import pytest
from marked import commands, filled

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
