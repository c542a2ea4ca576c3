"""How the documentation site is made: make docs.

The source folder is the root of the repository, so that a link from a page to a result, a script or
CONTRIBUTING.md is the same file in the repository and in the site. Nothing is fetched, neither here
nor by a reader's browser.
"""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from hardball import __version__  # noqa: E402 - found by the line before

project = "hardball"
author = "the authors of hardball"
copyright = author
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "results/README.md",
    "benchmarks/README.md",
]
# folders that are not even looked into
exclude_patterns = [".*", "**/.*", "data", "demo", "runs", "site", "src", "tests", "docs/site"]

myst_heading_anchors = 4
# a link to a folder leads somewhere in the repository only: in the site it is its text
nitpick_ignore_regex = [("myst", ".*/")]
copybutton_exclude = ".linenos, .gp, .go"

highlight_language = "none"  # of a block that names no language
default_role = "code"  # `x` in a docstring
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_class_signature = "separated"
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"hardball {release}"
html_theme_options = {"footer_icons": []}
html_extra_path = ["site"]
html_copy_source = False
html_show_sourcelink = False

BARS = re.compile(r"(``.*?``|`.*?`)|(?<!\\)\|")
HELD = "\ue000"  # no text has it


def before_napoleon(
    app: Any, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """|x| in a docstring is an absolute value, and not a substitution of reStructuredText; and what
    comes before a colon in an attribute's text or in "Returns:" is a part of the sentence, not a type."""
    lines[:] = [BARS.sub(lambda found: found[1] or r"\|", line) for line in lines]
    plain = [number for number, line in enumerate(lines, 1) if line.strip() == "Returns:"]
    if what in ("attribute", "data", "property"):
        plain.append(0)
    for number in plain:
        if number < len(lines):
            lines[number] = lines[number].replace(":", HELD)


def after_napoleon(
    app: Any, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """The colons come back."""
    lines[:] = [line.replace(HELD, ":") for line in lines]


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
