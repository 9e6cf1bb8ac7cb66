"""Sums over the last so many seconds."""

from __future__ import annotations

import math
from collections import deque


class RollingCounter:
    """How much was added within the last `window_s` seconds.

    What was added is forgotten in steps of `window_s / steps`, a step at a time and never too
    early: up to one step more than the window counts. So a limit that is kept by this count is
    kept in every window. Holds at most `steps + 1` numbers.
    """

    __slots__ = ("_buckets", "_step_ends_s", "_step_s", "_steps", "_total")

    def __init__(self, window_s: float, *, steps: int) -> None:
        self._steps = steps
        self._step_s = window_s / steps
        #: When the step of the last bucket is over; long ago where there is none.
        self._step_ends_s = -math.inf
        # [number of the step, what was added in it], the oldest first.
        self._buckets: deque[list[int]] = deque()
        self._total = 0

    def add(self, now_s: float, amount: int = 1) -> None:
        """Count `amount` as of now."""
        if now_s >= self._step_ends_s:  # Before, nothing has to be forgotten.
            self._begin_step(int(now_s // self._step_s))
        self._buckets[-1][1] += amount
        self._total += amount

    def total(self, now_s: float) -> int:
        """What was added within the window that ends now."""
        if self._buckets:
            self._forget(int(now_s // self._step_s))
        return self._total

    def falls_below_s(self, limit: int, now_s: float) -> float:
        """Seconds until the total is less than `limit`, if nothing is added; infinity for never."""
        left = self.total(now_s)
        if left < limit:
            return 0.0
        for step, amount in self._buckets:
            left -= amount
            if left < limit:
                return max((step + self._steps + 1) * self._step_s - now_s, 0.0)
        return math.inf

    def clear(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        self._step_ends_s = -math.inf
        self._total = 0

    def _begin_step(self, step: int) -> None:
        buckets = self._buckets
        self._forget(step)
        if not buckets or buckets[-1][0] != step:
            buckets.append([step, 0])
        self._step_ends_s = (step + 1) * self._step_s

    def _forget(self, step: int) -> None:
        buckets = self._buckets
        while buckets and buckets[0][0] < step - self._steps:
            self._total -= buckets.popleft()[1]
        if not buckets:
            self._step_ends_s = -math.inf
