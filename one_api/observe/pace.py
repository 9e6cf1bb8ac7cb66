"""How evenly a stream flows."""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Final

#: Upper bounds of the buckets for the time between two chunks, in seconds.
CHUNK_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Pace:
    """Times between the chunks of one stream, counted by bucket: a clock and a bisection each."""

    __slots__ = ("_last_s", "counts", "sum_s")

    def __init__(self) -> None:
        #: How many fell into each of `CHUNK_BOUNDS_S`; the last is past them all.
        self.counts = [0] * (len(CHUNK_BOUNDS_S) + 1)
        self.sum_s = 0.0
        self._last_s: float | None = None

    def note(self) -> None:
        """A chunk goes to the client."""
        now_s = time.perf_counter()
        if self._last_s is not None:
            gap_s = now_s - self._last_s
            self.counts[bisect_left(CHUNK_BOUNDS_S, gap_s)] += 1
            self.sum_s += gap_s
        self._last_s = now_s
