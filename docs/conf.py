"""How the documentation site is made: make docs.

The source folder is the root of the repository, so that links from a page to a result, a script or
CONTRIBUTING.md are the same files in the repository and in the site. Nothing is fetched, neither
here nor by a reader's browser.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from hardball import __version__  # noqa: E402 - found by the line before

project = "hardball"
copyright = "the authors of hardball, MIT licence"
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
    "CONTRIBUTING.md",
    "results/README.md",
    "benchmarks/README.md",
]
exclude_patterns = [".*", "runs", "site", "demo", "data", "src", "tests", "**/.*"]
nitpicky = False

myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings: list[str] = []

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"hardball {release}"
html_theme_options = {"source_repository": "", "footer_icons": []}
html_extra_path = ["site"]
html_copy_source = False
html_show_sourcelink = False
