"""A short form of benchmarks/fuzz.py: malformed input is read or refused in one line."""

import warnings
from pathlib import Path

import fuzz


def test_malformed_input_is_read_or_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        for kind, seeds, read in fuzz.readers(tmp_path):
            found = fuzz.fuzz(kind, seeds, read, 60, 20.0)
            assert found["tracebacks"] == found["hangs"] == 0, (kind, found["bad"])
            if kind != "command_lines":  # most of the flags' values are refused
                assert found["refused"] < found["tried"], kind
