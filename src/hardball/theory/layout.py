"""How points lie in memory for the compiled loop over all pairs (`kernel`).

N points, F features, K blocks, C features per block.
"""

import numpy as np

from hardball.theory.arguments import Array

BLOCK = 64
LINF, L2, L0 = 0, 1, 2
"""The norms, as the compiled loop knows them."""


def blocked(points: Array) -> Array:
    """[N, F] → [K, N, C], the most variable features first so that pairs are given up early."""
    count, width = points.shape
    order = np.argsort(-points.var(axis=0, dtype=np.float64), kind="stable")
    blocks = max(1, -(-width // BLOCK))
    layout = np.zeros((blocks, count, BLOCK), dtype=points.dtype)
    for k in range(blocks):
        chosen = order[k * BLOCK : (k + 1) * BLOCK]
        layout[k, :, : chosen.size] = points[:, chosen]
    return layout
