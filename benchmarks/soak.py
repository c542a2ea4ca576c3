"""Train, kill, resume, evaluate, again and again: does anything grow?

    python benchmarks/soak.py --minutes 60

Each cycle starts a training in a process of its own, kills it at a random moment, resumes it in this
process and evaluates it here. After each cycle this process's memory, file handles and threads are
noted, and the files that the cycle left. At the end a line is fitted to each over the cycles: flat is
what grows by less than a hundredth of its mean over the last half, and handles, threads and files not
at all. Every resumed run must end with the weights of the run that was never killed.
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hardball import environment, load_dataset, storage
from hardball.attacks import PGD
from hardball.commands import train
from hardball.evaluation import evaluate, save_evaluation
from hardball.runs import RunFolder, load_run

SPAWN = multiprocessing.get_context("forkserver")
VALUES: dict[str, Any] = {
    "eps": 0.1,
    "epochs": 4,
    "attack": {"steps": 2},
    "batch_size": 64,
    "validation": 1000,
    "model": {"args": {"width": 4}},
    "machine": {"save_minutes": 0.0, "accelerator": "cpu"},
}
WARM = 5
"""Cycles before the first note: what is imported or cached once is no growth."""


def begin(folder: Path) -> None:
    """The training, in a process that may be killed."""
    torch.set_num_threads(1)
    train.train(train.TrainConfig.of({**VALUES, "out": folder}))


def cycle(folder: Path, moments: random.Random, processes: int) -> bool:
    """One of them; whether the kill came before the end of the training."""
    shutil.rmtree(folder, ignore_errors=True)
    process = SPAWN.Process(target=begin, args=(folder,))
    process.start()
    until = time.monotonic() + 60
    while not (folder / "config.yaml").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.join(moments.uniform(0, 1.0))
    killed = process.is_alive()
    process.kill()
    process.join()
    process.close()
    if RunFolder(folder).outcome() is None:
        train.resume(folder)
    run = load_run(folder)
    some = load_dataset("digits", split="test").rows(slice(0, 60))
    attacks = {"pgd": PGD(steps=3), "fgsm": PGD(steps=1)}
    found = evaluate(run.model, some, eps=[0.1], attacks=attacks, processes=processes)
    save_evaluation(found, folder, run.model, some)
    return killed


def noted(folder: Path) -> dict[str, float]:
    """What might grow, without what Python has only not collected yet: it waits until that is a quarter
    of all objects."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    # a resumed run has an events file more than one that was not
    kept = [path for path in files if "tfevents" not in path.name]
    return {
        "memory_mib": resident / 1024,
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "files": len(kept),
        "disk_kib": sum(path.stat().st_size for path in kept) / 1024,
        "shared_memory_files": len(os.listdir("/dev/shm")),
    }


def trend(values: list[float]) -> dict[str, float | bool]:
    """A line through the last half, and whether it is flat."""
    half = np.asarray(values[len(values) // 2 :])
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0
    growth = slope * len(half) / max(1e-9, abs(float(half.mean())))
    return {
        "first": values[0],
        "last": values[-1],
        "least": min(values),
        "most": max(values),
        "growth_over_last_half": growth,
        "flat": growth < 0.01,
    }


def soak(minutes: float, seed: int = 0) -> dict[str, Any]:
    """See the module."""
    torch.set_num_threads(1)
    SPAWN.set_forkserver_preload(["hardball.commands.train", "lightning_fabric"])
    moments = random.Random(seed)
    notes: list[dict[str, float]] = []
    killed = cycles = 0
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        begin(Path(place, "whole"))
        whole = storage.digest(RunFolder(Path(place, "whole")).weights_file.read_bytes())
        folder, began, same = Path(place, "r"), time.monotonic(), 0
        while time.monotonic() - began < 60 * minutes or len(notes) < 2:
            killed += cycle(folder, moments, processes=2 if cycles % 10 == 9 else 1)
            same += storage.digest(RunFolder(folder).weights_file.read_bytes()) == whole
            cycles += 1
            if cycles > WARM:
                notes.append(noted(folder))
        seconds = time.monotonic() - began
    trends = {name: trend([note[name] for note in notes]) for name in notes[0]}
    return {
        "minutes": round(seconds / 60, 1),
        "cycles": cycles,
        "killed_before_the_end": killed,
        "same_weights_as_without_a_kill": same,
        "trends": trends,
        "flat": all(found["flat"] for found in trends.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/soak.json"))
    asked = parser.parse_args()
    found = soak(asked.minutes, asked.seed)
    content = {"command": f"python benchmarks/soak.py --minutes {asked.minutes:g}", **found}
    content["machine"] = environment.facts()
    storage.write_atomically(asked.out, (json.dumps(content, indent=2) + "\n").encode())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
