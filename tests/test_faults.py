"""One byte of a run's folder changes, or a file is cut: it is named, or nothing comes out differently."""

import random
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import flat
from hardball import Constant, fit, load_run, models, storage
from hardball.attacks import PGD
from hardball.data import Dataset, load_dataset
from hardball.errors import Damaged
from hardball.evaluation import Journal, evaluate, load_evaluation, save_evaluation
from hardball.evaluation.journal import scope_of
from hardball.runs import RunFolder
from hardball.training import Machine, checkpoint

FAULTS_PER_FILE = 24
ABOUT: dict[str, Any] = {
    "data": {"name": "digits", "root": "data"},
    "model": {"name": "digits_cnn", "args": {"width": 4}, "shape": [1, 8, 8], "classes": 10},
    "origin": None,
}


@dataclass(frozen=True)
class Made:
    """A small finished run with an evaluation, and what is read back from it."""

    folder: RunFolder
    fingerprint: str
    scope: dict[str, Any]
    some: Dataset

    def files(self) -> list[Path]:
        return sorted(p for p in self.folder.path.rglob("*") if p.is_file())

    def journal(self) -> Journal:
        return Journal(self.folder.path / "evaluation.state", self.scope)

    def everything(self) -> str:
        """All that hardball reads, as text to compare."""
        run = load_run(self.folder.path)
        found = load_evaluation(self.folder.path)
        kept = self.folder.path.glob("epochs/*.safetensors")
        return written(
            {
                "weights": run.model.state_dict(),
                "epochs": [weights(path) for path in sorted(kept)],
                "config": run.config,
                "outcome": run.outcome,
                "history": run.history,
                "state": checkpoint.load(self.folder.state, self.fingerprint),
                "records": dict(self.journal()._records),
                "evaluation": found.as_json(),
                "witnesses": [found.witnesses, found.broken_at, found.broken_by],
            }
        )


def network() -> torch.nn.Module:
    spec = ABOUT["model"]
    return models.build(spec["name"], spec["shape"], spec["classes"], spec["args"])


def weights(path: Path) -> dict[str, torch.Tensor]:
    model = network()
    storage.load_weights(model, path)
    return model.state_dict()


def written(value: object) -> str:
    """Text by which two values are equal, bit for bit."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)}{value.tolist()}"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{written(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(written(v) for v in value)}]"
    return repr(value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("faults") / "r")


def make(path: Path) -> Made:
    """Train and evaluate it (benchmarks/faults.py does too)."""
    data = load_dataset("digits")
    model = network()
    settings = flat.settings(steps=1, batch_size=64, validation=1000, machine=Machine(keep_every=1))
    run = fit(model, data, curriculum=Constant(0.1, 2), settings=settings, out=path, about=ABOUT)
    some = load_dataset("digits", split="test").rows(slice(0, 40))
    scope = scope_of(some, "linf", 0, weights_sha256="w", model=ABOUT["model"])
    journal = Journal(path / "evaluation.state", scope)
    found = evaluate(run.model, some, eps=[0.1], attacks={"pgd": PGD(steps=3)}, journal=journal)
    save_evaluation(found, path, run.model, some)
    assert run.folder is not None
    (point, *_) = path.glob("state/*.pt")
    fingerprint = storage.load_state(point)["fingerprint"]
    return Made(folder=run.folder, fingerprint=fingerprint, scope=scope, some=some)


def faults(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The content with one bit or one byte changed, or cut, at random places."""
    source = random.Random(seed)
    for number in range(count if content else 0):
        place = source.randrange(len(content))
        if number % 4 == 3:
            yield content[:place]
            continue
        change = 1 << source.randrange(8) if number % 2 else source.randrange(1, 256)
        yield content[:place] + bytes([content[place] ^ change]) + content[place + 1 :]


def judged(made: Made, path: Path, before: str) -> str:
    """detected, harmless or silent. What is detected names the file on one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            after = made.everything()
        except Damaged as error:
            after, said = "", [str(error)]
        else:
            said = [str(one.message) for one in caught]
    if any(str(path) in line and "\n" not in line for line in said):
        return "detected"
    return "harmless" if after == before else "silent"


def test_no_fault_in_any_file_is_silent(made: Made) -> None:
    before = made.everything()
    counts: dict[str, Counter[str]] = {}
    for seed, path in enumerate(made.files()):
        content = path.read_bytes()
        name = str(path.relative_to(made.folder.path))
        counts[name] = Counter()
        for damaged in faults(content, FAULTS_PER_FILE, seed):
            path.write_bytes(damaged)
            counts[name][judged(made, path, before)] += 1
            path.with_name(f"{path.name}.damaged").unlink(missing_ok=True)
        path.write_bytes(content)
    assert made.everything() == before
    assert not {name: found for name, found in counts.items() if found["silent"]}
    # of what hardball reads, nearly every fault is seen: the rest lies in the word before the digest
    newest = max(name for name in counts if name.startswith("state/epoch"))
    for name in ("config.yaml", "weights.safetensors", "outcome.json", "metrics.csv", newest):
        assert counts[name]["detected"] > 0.8 * FAULTS_PER_FILE, (name, counts[name])
    for name in ("evaluation.json", "witnesses.safetensors"):
        assert counts[name]["detected"] == FAULTS_PER_FILE, (name, counts[name])
