"""YAML files of settings, which may come from anyone."""

from typing import Any

import yaml

LARGEST = 2**20
"""Bytes of a YAML file; a run's config has two thousand."""
MOST_VALUES = 10_000
DEEPEST = 32
LARGEST_NUMBER = 10**300
"""A float can still hold it."""


def parse(content: bytes) -> dict[str, Any]:
    """The mapping that a YAML file of settings holds. A stranger's may be anything: one of a hundred
    megabytes, one that contains itself, or one whose references unfold to billions of values.

    Raises:
        ValueError: it is no mapping from names to values, or too large, deep or long; in one line.
    """
    if len(content) > LARGEST:
        raise ValueError(f"{len(content):,} bytes; allowed are {LARGEST:,}")
    try:
        found = yaml.safe_load(content)
    # attribute and type errors are PyYAML's own, at tags and keys of other kinds
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    if not isinstance(found, dict):
        raise ValueError("no YAML mapping; write lines like eps: 0.3")
    left, seen = [(found, 0)], 0
    while left:
        value, depth = left.pop()
        seen += 1
        if depth > DEEPEST or seen > MOST_VALUES:
            raise ValueError(f"it unfolds to more than {MOST_VALUES:,} values or {DEEPEST} levels")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"the key {str(key)[:40]!r} is no name")
            left += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list | tuple | set):
            left += [(inner, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise ValueError(
                f"{str(value)[:20]}... has {len(str(value))} digits; no setting has so many"
            )
    return found
