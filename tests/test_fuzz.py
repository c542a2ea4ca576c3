"""Malformed input is read or refused in one line: a short form of benchmarks/fuzz.py, and what longer
searches reached."""

import warnings
import zipfile
from pathlib import Path

import fuzz
from fuzz_guided import CORPUS, KINDS
from fuzz_readers import readers

from hardball.errors import UserError


def test_malformed_input_is_read_or_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        for kind, seeds, read in readers(tmp_path):
            found = fuzz.fuzz(kind, seeds, read, 60, 20.0)
            assert found["tracebacks"] == found["hangs"] == 0, (kind, found["bad"])
            if kind != "command_lines":  # most of the flags' values are refused
                assert found["refused"] < found["tried"], kind


def test_what_the_guided_search_reached_is_read_or_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(CORPUS) as file:
        inputs = {name: file.read(name) for name in file.namelist()}
    assert {name.partition("/")[0] for name in inputs} == set(KINDS)
    with warnings.catch_warnings(action="ignore"):
        for kind, _, read in readers(tmp_path):
            for name in [name for name in inputs if name.startswith(f"{kind}/")]:
                try:
                    read(inputs[name])
                except UserError as error:
                    assert "\n" not in str(error), name  # noqa: PT017 - reading it may succeed as well
