"""How evenly a stream flows."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections import Counter
from itertools import repeat
from operator import sub
from typing import Final

#: Upper bounds of the buckets for the time between two chunks, in seconds.
CHUNK_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: How many times are kept until they are sorted into buckets.
_MAX_KEPT: Final = 64


class Pace:
    """Times between the chunks of one stream, counted by bucket.

    When each went is kept for a while: to count many at a time takes half the steps.
    """

    __slots__ = ("_counts", "_sum_s", "_times_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(CHUNK_BOUNDS_S) + 1)
        self._sum_s = 0.0
        #: Those that are not counted yet, after the last one that is.
        self._times_s = array("d")

    def note(self) -> None:
        """A chunk goes to the client."""
        times_s = self._times_s
        times_s.append(time.perf_counter())
        if len(times_s) == _MAX_KEPT:
            self._count()

    @property
    def counts(self) -> list[int]:
        """How many fell into each of `CHUNK_BOUNDS_S`; the last is past them all."""
        if len(self._times_s) > 1:
            self._count()
        return self._counts

    @property
    def sum_s(self) -> float:
        """What they come to."""
        if len(self._times_s) > 1:
            self._count()
        return self._sum_s

    def _count(self) -> None:
        times_s = self._times_s
        gaps_s = map(sub, times_s[1:], times_s)
        for at, count in Counter(map(bisect_left, repeat(CHUNK_BOUNDS_S), gaps_s)).items():
            self._counts[at] += count
        self._sum_s += times_s[-1] - times_s[0]
        del times_s[:-1]
