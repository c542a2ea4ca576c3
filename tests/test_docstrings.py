"""The examples in the docstrings of the public names run, with what docs/api/index.md prepares."""

import doctest
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import hardball as hb
import hardball.theory
from test_pages import public_names

INDEX = Path(__file__).parents[1] / "docs" / "api" / "index.md"
WITHOUT = {"checklist", "verify"}
"""Whose examples are on their pages: one takes minutes, the other needs a run."""


@pytest.fixture(scope="module")
def prepared() -> dict[str, Any]:
    """What the page's own code makes."""
    (code,) = re.findall(r"```python\n(.*?)```", INDEX.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        exec(code, names)
    return names


def public() -> dict[str, Any]:
    """name → function or class."""
    found = {name: getattr(hb, name) for name in public_names()}
    return {name: one for name, one in found.items() if callable(one)}


def in_modules() -> dict[str, Any]:
    """ "theory.gaussian" → what the public modules list, if it has an example."""
    modules = (hardball.theory, hb.landscape, hb.interpretation)
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
        for module in modules
        for name in module.__all__
        if ">>>" in (inspect.getdoc(getattr(module, name)) or "")
    }


def test_every_public_function_and_class_has_an_example() -> None:
    bare = {name for name, one in public().items() if ">>>" not in (inspect.getdoc(one) or "")}
    assert bare == WITHOUT


@pytest.mark.parametrize("name", sorted((public() | in_modules()).keys() - WITHOUT))
def test_an_example_runs(name: str, prepared: dict[str, Any]) -> None:
    text = inspect.getdoc((public() | in_modules())[name])
    assert text is not None
    examples = doctest.DocTestParser().get_doctest(text, dict(prepared), name, None, None)
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    runner.run(examples, out=printed.append)
    assert not printed, "".join(printed)
