"""How fast are all pairs of MNIST compared, and against what?

    python benchmarks/all_pairs.py --data-root data [--note "what else ran"]

1. One block, ROWS training images against 10,000 others as if of two classes: the nearest partner
   over all pairs, by hardball, by scipy's `cdist` and by faiss's exact ℓ∞ index (if installed; it
   is no dependency), all asked for the same distance.
2. The whole training set, 1.6·10⁹ pairs of different class (1.8·10⁹ in all): the closest pair, and
   all conflicts and the least forced error at ε = 0.4, for each norm at a radius of its own.

Writes benchmarks/results/all_pairs.json: seconds, pairs per second, peak memory of the process.
"""

import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
from record import RESULTS, command, parser, write
from scipy.spatial.distance import cdist

from hardball import environment
from hardball.data import load_dataset
from hardball.theory import closest_pair, forced_error

ROWS, COLUMNS = 1000, 10_000
RADII = {"linf": 0.4, "l2": 2.0, "l0": 40}


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - began


def block(images: np.ndarray) -> dict[str, Any]:
    """The same nearest distance by three programs."""
    few, many = images[:ROWS], images[ROWS : ROWS + COLUMNS]
    both = np.concatenate([few, many])
    labels = np.repeat([0, 1], [ROWS, COLUMNS])
    ways: dict[str, Callable[[], float]] = {
        "hardball": lambda: closest_pair(both, labels).distance,
        "scipy cdist": lambda: float(cdist(few, many, "chebyshev").min()),
    }
    try:
        import faiss  # optional, for the comparison only
    except ImportError:
        print("faiss is not installed: left out")
    else:
        faiss.omp_set_num_threads(numba.get_num_threads())
        index = faiss.IndexFlat(few.shape[1], faiss.METRIC_Linf)

        def by_faiss() -> float:
            index.add(many)
            return float(index.search(few, 1)[0].min())

        ways[f"faiss {faiss.__version__}"] = by_faiss
    found: dict[str, Any] = {"pairs": ROWS * COLUMNS}
    for name, way in ways.items():
        distance, seconds = timed(way)
        found[name] = {"distance": round(distance, 6), "seconds": round(seconds, 3)}
    return found


def whole(images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Closest pair and forced error of the full set, by norm."""
    sizes = np.bincount(labels)
    found: dict[str, Any] = {"pairs": int(len(labels) ** 2 - (sizes**2).sum()) // 2}
    for norm, eps in RADII.items():
        closest, search = timed(partial(closest_pair, images, labels, norm))
        forced, solve = timed(partial(forced_error, images, labels, norm, eps=eps))
        found[norm] = {
            "closest": closest.distance,
            "closest_seconds": round(search, 2),
            "eps": eps,
            "conflicts": forced.conflicts,
            "wrong": [forced.lower, forced.upper],
            "forced_error_seconds": round(solve, 2),
        }
        print(norm, found[norm])
    return found


def main() -> None:
    made = parser(__doc__, RESULTS / "all_pairs.json")
    made.add_argument("--data-root", type=Path, default=Path("data"))
    flags = made.parse_args()
    train = load_dataset("mnist", flags.data_root, "train")
    images, labels = train.images.numpy().reshape(len(train), -1), train.labels.numpy()
    for norm in RADII:  # compilation is cached on disk, and not what is measured
        closest_pair(images[:50], labels[:50], norm)
    result = {
        "command": command(data_root=flags.data_root),
        "block": block(images),
        "whole": whole(images, labels),
        "threads": numba.get_num_threads(),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "machine": environment.facts(),
        "note": flags.note,
    }
    write(result, flags.out)


if __name__ == "__main__":
    main()
