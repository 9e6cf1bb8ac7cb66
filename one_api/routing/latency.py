"""How fast a deployment has been of late: an average that shies at peaks, and a percentile."""

from __future__ import annotations

import math
from bisect import bisect_left, insort

#: How long a peak takes to fade to 37 %, in seconds. Longer than in load balancers of quick
#: services, since a gateway may see only a few requests a minute.
DECAY_S = 60.0
MAX_SAMPLES = 64


class PeakEwma:
    """A moving average that jumps to every peak at once and sinks slowly, in seconds.

    Unseen deployments sink as well, so that a once slow one is tried again in time.
    After Finagle's "Peak EWMA" balancer.
    """

    __slots__ = ("_at_s", "average_s")

    def __init__(self) -> None:
        #: As of the last observation; None before the first.
        self.average_s: float | None = None
        self._at_s = 0.0

    def observe(self, latency_s: float, now_s: float) -> None:
        """Take one observation in."""
        average = self.average_s
        if average is None or latency_s >= average:
            self.average_s = latency_s
        else:
            share = math.exp((self._at_s - now_s) / DECAY_S)
            self.average_s = average * share + latency_s * (1 - share)
        self._at_s = now_s

    def faded_s(self, now_s: float) -> float | None:
        """The average as of now; None before the first observation."""
        if self.average_s is None:
            return None
        return self.average_s * math.exp((self._at_s - now_s) / DECAY_S)


class RecentDurations:
    """The last `MAX_SAMPLES` durations in seconds, and their percentiles."""

    __slots__ = ("_next", "_recent", "_sorted")

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._sorted: list[float] = []
        self._next = 0

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, duration_s: float) -> None:
        """Take one more in, in the place of the oldest where there is no room."""
        if len(self._recent) < MAX_SAMPLES:
            self._recent.append(duration_s)
        else:
            oldest = self._recent[self._next]
            del self._sorted[bisect_left(self._sorted, oldest)]
            self._recent[self._next] = duration_s
            self._next = (self._next + 1) % MAX_SAMPLES
        insort(self._sorted, duration_s)

    def percentile_s(self, percent: int) -> float:
        """The smallest duration that `percent` of all do not exceed (1 to 100, nearest rank).

        Raises: IndexError while there are none.
        """
        rank = -(-percent * len(self._sorted) // 100)
        return self._sorted[rank - 1]


class Pace:
    """How long one thing takes that a deployment does again and again."""

    __slots__ = ("ewma", "recent")

    def __init__(self) -> None:
        self.recent = RecentDurations()
        self.ewma = PeakEwma()

    def observe(self, duration_s: float, now_s: float) -> None:
        """It took `duration_s` this time."""
        self.recent.add(duration_s)
        self.ewma.observe(duration_s, now_s)
