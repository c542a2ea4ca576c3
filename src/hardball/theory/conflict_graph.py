"""Conflicts at several radii, from one pass over all pairs and within a bound on memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hardball.theory.arguments import Array
from hardball.theory.distances import Norm, Points, pairs_within
from hardball.theory.vertex_cover import Indices

Part = tuple[Array, Array, Array]


class Pile:
    """The conflicts at several radii, gathered in one pass within a bound on memory.

    Pairs are kept with their distance, so the list at a smaller radius is a part of it. When there
    are too many, the largest radius is shed: from then on only its count and a greedy maximal
    matching are kept up. At a radius beyond the data's diameter nothing need be compared at all.

    radii: ascending.
    kept: how many of them, from the smallest, have all their conflicts in memory.
    """

    def __init__(self, points: Points, norm: Norm, ascending: Sequence[float], most: int) -> None:
        self.points = points
        self.radii = list(ascending)
        self.kept = len(self.radii)
        self._caps = [points.cap(eps, norm) for eps in self.radii]
        self._norm = norm
        self._most = most
        self._counts = [0] * len(self.radii)
        self._parts: list[Part] = []
        self._free: dict[int, NDArray[np.bool_]] = {}
        self._greedy: dict[int, list[Indices]] = {}
        diameter = points.diameter(norm)
        self._compared = sum(cap < diameter for cap in self._caps)
        self._gather()

    def saturated(self, k: int) -> bool:
        """Whether radius k is so large that every two balls meet."""
        return k >= self._compared

    def count(self, k: int) -> int:
        """The number of conflicts at radius k."""
        if not self.saturated(k):
            return self._counts[k]
        sizes = np.unique(self.points.labels, return_counts=True)[1]
        return int(sizes.sum() ** 2 - (sizes**2).sum()) // 2

    def within(self, k: int) -> Part:
        """The kept conflicts at radius k < `kept`: sorted indices i, j and accumulated values."""
        parts = [self._cut(part, k) for part in self._parts]
        i, j, accumulated = (np.concatenate(column) for column in zip(*parts, strict=True))
        return i, j, accumulated

    def matching(self, k: int) -> Indices:
        """A maximal matching [M, 2] at a shed radius."""
        return np.concatenate(self._greedy[k])

    def _gather(self) -> None:
        self.kept = self._compared
        if not self._compared:
            return
        for strip in pairs_within(self.points, self._norm, self._caps[self._compared - 1]):
            for k in range(self._compared):
                self._counts[k] += int((strip[2] <= self._caps[k]).sum())
            for k in self._free:
                self._match(k, strip)
            self._parts.append(self._cut(strip, self.kept - 1))
            self._shed_excess()

    def _cut(self, part: Part, k: int) -> Part:
        i, j, accumulated = part
        near = accumulated <= self._caps[k] if k >= 0 else np.zeros(len(i), dtype=bool)
        return i[near], j[near], accumulated[near]

    def _shed_excess(self) -> None:
        while self.kept and sum(len(i) for i, _, _ in self._parts) > self._most:
            self.kept -= 1
            k = self.kept
            self._free[k] = np.ones(len(self.points.values), dtype=bool)
            self._greedy[k] = []
            for part in self._parts:
                self._match(k, part)
            self._parts = [self._cut(part, k - 1) for part in self._parts]

    def _match(self, k: int, part: Part) -> None:
        from hardball.theory.kernel import match_greedily

        i, j, _ = self._cut(part, k)
        self._greedy[k].append(match_greedily(i, j, self._free[k]))
