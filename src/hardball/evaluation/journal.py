"""What an evaluation has found so far, on disk as it comes: a killed one continues.

A journal is a folder of small files, each written atomically and never changed. Its records are
dicts of numbers, strings and tensors under keys; who writes them decides what they mean.
"""

import json
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardball import storage
from hardball.data import Dataset
from hardball.errors import UserError

Record = dict[str, Any]
Identity = Mapping[str, Any]

FLUSH_SECONDS = 10.0
"""Results are on disk at the latest so long after they came (and at the end of each attack)."""


def identity(
    data: Dataset, norm: str, seed: int, *, weights_sha256: str, model: Mapping[str, Any]
) -> dict[str, Any]:
    """What results must have in common to be used together."""
    return {
        "weights_sha256": weights_sha256,
        "model": dict(model),
        "data": data.name,
        "data_sha256": data.sha256,
        "n": len(data),
        "norm": norm,
        "seed": seed,
    }


class Journal:
    """The records of one evaluation.

    Args:
        folder: where journals are kept, each identity's in a folder of its own; None keeps the
            records in memory alone.
        identity: see `identity`. Records of another identity are neither used nor touched.

    Raises:
        UserError: a folder that cannot be written.
    """

    def __init__(self, folder: Path | None = None, identity: Identity | None = None) -> None:
        self.identity = dict(identity or {})
        self._records: dict[str, list[Record]] = defaultdict(list)
        self._pending: list[Record] = []
        self._flushed = time.monotonic()
        self._folder: Path | None = None
        self.others: list[Identity] = []
        """The identities of other evaluations kept in the same folder."""
        if folder is not None:
            text = json.dumps(self.identity, sort_keys=True)
            self._folder = folder / storage.digest(text.encode())[:16]
            self.others = [found for found in _identities(folder) if found != json.loads(text)]
            storage.write_atomically(self._folder / "identity.json", text.encode())
            self._load(self._folder)

    def _load(self, folder: Path) -> None:
        for path in sorted(folder.glob("*.pt")):
            try:
                records = storage.load_state(path)["records"]
                for record in records:
                    self._records[record["key"]].append(record["content"])
            except (UserError, KeyError, TypeError) as error:
                reason = str(error) if isinstance(error, UserError) else f"{path} is no journal"
                warnings.warn(f"{reason}; what it held is done again", stacklevel=3)

    def records(self, key: str) -> list[Record]:
        """What was recorded under `key`, oldest first."""
        return list(self._records.get(key, ()))

    def append(self, key: str, content: Record) -> None:
        """Record `content` (nested dicts and lists of numbers, strings, None and tensors)."""
        self._records[key].append(content)
        if self._folder is not None:
            self._pending.append({"key": key, "content": content})
            if time.monotonic() - self._flushed >= FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Everything recorded is on disk.

        Raises:
            UserError: no space left, a read-only place.
        """
        if self._folder is not None and self._pending:
            # two processes may keep the same journal: each writes its own files
            count = len(list(self._folder.glob("*.pt")))
            path = self._folder / f"{count:06}-{os.getpid()}.pt"
            storage.save_state({"records": self._pending}, path)
            self._pending = []
        self._flushed = time.monotonic()

    def check(self, data: Dataset, norm: str, seed: int) -> None:
        """Refuse to mix results.

        Raises:
            UserError: this journal is of other data, another norm or another seed.
        """
        if not self.identity:
            return
        asked = {"data_sha256": data.sha256, "norm": norm, "seed": seed}
        for name, value in asked.items():
            if self.identity.get(name) != value:
                raise UserError(
                    f"{name}={value} with a journal of {name}={self.identity.get(name)}; open the "
                    "journal with the identity of this evaluation"
                )

    def about_others(self) -> str | None:
        """One line on results that are there and cannot be used; None if there are none, or if this
        evaluation has results of its own."""
        if self._records or not self.others:
            return None
        nearest = min(self.others, key=lambda other: len(self._differing(other)))
        different = [
            f"{name}={_short(nearest.get(name))}, not {_short(self.identity.get(name))}"
            for name in self._differing(nearest)
        ]
        return f"starting anew: the results kept are for {'; '.join(different)}"

    def _differing(self, other: Identity) -> list[str]:
        return [name for name in self.identity if self.identity[name] != other.get(name)]


def _identities(folder: Path) -> list[Identity]:
    found: list[Identity] = []
    for path in sorted(folder.glob("*/identity.json")):
        try:
            content = json.loads(storage.read_bytes(path, "identity"))
        except (UserError, ValueError):
            continue
        if isinstance(content, dict):
            found.append(content)
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}…"
