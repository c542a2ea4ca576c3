"""What an evaluation has found so far, on disk as it comes: a killed one continues.

A journal is a folder of small files, each written atomically and never changed. Its records are
dicts of numbers, strings and tensors under keys; the writer of a record decides what it means.
"""

import json
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch import nn

from hardball import storage
from hardball.data import Dataset
from hardball.errors import StorageError, UserError
from hardball.fingerprint import model_sha256

Record = dict[str, Any]
Scope = Mapping[str, Any]
"""What results must have in common to be used together."""

FORMAT = 3
"""Of the records and their files; those of another format are another scope."""

FLUSH_SECONDS = 10.0
"""Results are on disk at the latest so long after they came (and at the end of each attack)."""


def scope_of(
    data: Dataset, norm: str, seed: int, *, weights_sha256: str, model: Mapping[str, Any]
) -> dict[str, Any]:
    """The scope of an evaluation: results of another scope are never mixed with its own."""
    return {
        "journal": FORMAT,
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
        folder: where journals are kept, each scope's in a folder of its own; None keeps the records
            in memory alone.
        scope: see `scope_of`. Records of another scope are neither used nor changed.

    Raises:
        UserError: a folder that cannot be written.

    Example:
        >>> journal = hb.Journal()  # in memory; with a folder an evaluation outlives its process
        >>> attacks = {"pgd": hb.PGD(steps=5)}
        >>> found = hb.evaluate(model, test, eps=0.1, attacks=attacks, journal=journal)
    """

    def __init__(self, folder: Path | None = None, scope: Scope | None = None) -> None:
        self.scope = dict(scope or {})
        self._records: dict[str, list[Record]] = defaultdict(list)
        self._pending: list[Record] = []
        self._flushed = time.monotonic()
        self._folder: Path | None = None
        self.others: list[Scope] = []
        """The scopes of other evaluations kept in the same folder."""
        if folder is not None:
            self._folder = folder / _name(self.scope)
            for place in (folder, self._folder):
                storage.refuse_link(place)
                storage.remove_leftovers(place)
            text = _text(self.scope)
            self.others = [found for found in _scopes(folder) if found != json.loads(text)]
            storage.write_atomically(self._folder / "scope.json", text.encode())
            self._load(self._folder)

    @classmethod
    def of(
        cls,
        folder: Path | str,
        model: nn.Module,
        data: Dataset,
        *,
        norm: str = "linf",
        seed: int = 0,
    ) -> Self:
        """The journal in `folder` of a model and its data, known by their content.

        Raises:
            UserError: a folder that cannot be written.
        """
        digest = model_sha256(model)
        about = {"name": type(model).__qualname__}
        return cls(Path(folder), scope_of(data, norm, seed, weights_sha256=digest, model=about))

    def _load(self, folder: Path) -> None:
        for path in sorted(folder.glob("*.pt")):
            try:
                records = storage.load_state(path)["records"]
                for record in records:
                    self._records[record["key"]].append(record["content"])
            except (StorageError, KeyError, TypeError) as error:
                reason = str(error) if isinstance(error, StorageError) else f"{path} is no journal"
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

    def require(self, data: Dataset, norm: str, seed: int) -> None:
        """Refuse to mix results: this journal must be of these examples, this norm and this seed.

        Raises:
            UserError: it is not.
        """
        if not self.scope:
            return
        asked = {"data_sha256": data.sha256, "norm": norm, "seed": seed}
        for name, value in asked.items():
            if self.scope.get(name) != value:
                raise UserError(
                    f"{name}={value}, but the journal is of {name}={self.scope.get(name)}; open the "
                    "journal with the scope of this evaluation"
                )

    def about_others(self) -> str | None:
        """One line on results that are there and cannot be used; None if there are none, or if this
        evaluation has results of its own."""
        if self._records or not self.others:
            return None
        nearest = min(self.others, key=lambda other: len(self._differing(other)))
        different = [
            f"{name}={_short(nearest.get(name))}, not {_short(self.scope.get(name))}"
            for name in self._differing(nearest)
        ]
        return f"starting anew: the results kept are for {'; '.join(different)}"

    def _differing(self, other: Scope) -> list[str]:
        return [name for name in self.scope if self.scope[name] != other.get(name)]


def _text(scope: Scope) -> str:
    return json.dumps(scope, sort_keys=True)


def _name(scope: Scope) -> str:
    """Of the folder of a scope."""
    return storage.digest(_text(scope).encode())[:16]


def _scopes(folder: Path) -> list[Scope]:
    found: list[Scope] = []
    for path in sorted(folder.glob("*/scope.json")):
        try:
            content = json.loads(storage.read_bytes(path, "scope"))
        except (StorageError, ValueError, RecursionError):
            continue
        # the folder is named for its scope: one that has changed is nobody's
        if isinstance(content, dict) and _name(content) == path.parent.name:
            found.append(content)
    return found


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}…"
