"""How many threads compute: fewer while something else wants the cores.

llama.cpp's threads meet at barriers, hundreds of times per token. Where one of them has to wait for
a core, all others wait for it there; one thread fewer leaves that core to whoever wants it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: How much is computed between two looks, in seconds.
_LOOK_S: Final = 0.2
#: How long threads are left out before it is tried with one more, at first and at most.
_SHORTEST_S, _LONGEST_S = 2.0, 60.0
_TASKS: Final = Path("/proc/self/task")


class ThreadCount:
    """Tells how many of up to `most` threads to leave out.

    `waited_s` gives for how long all threads of the process, since it began, could have run and had
    no core, in seconds; without it none is ever left out. `clock` is any in seconds.
    """

    def __init__(
        self,
        most: int,
        *,
        waited_s: Callable[[], float] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._waited_s = waited_s
        self._clock = clock
        self._waited_before_s = waited_s() if waited_s is not None else 0.0
        self._computed_s = 0.0
        self._pause_s = _SHORTEST_S
        self._try_at_s = 0.0
        self.left_out = 0

    def note(self, computed_s: float) -> None:
        """Look how it goes, once in a while; the last evaluation took so many seconds."""
        self._computed_s += computed_s
        if self._waited_s is None or self._most == 1 or self._computed_s < _LOOK_S:
            return
        waited_s = self._waited_s()
        # Less than before where a thread has ended, and its waiting with it.
        waiting = max(waited_s - self._waited_before_s, 0.0) / self._computed_s
        self._waited_before_s, self._computed_s = waited_s, 0.0
        self._decide(waiting, self._clock())

    def _decide(self, waiting: float, now_s: float) -> None:
        """`waiting` is how many threads waited at a time, on average.

        That many are missed at the barriers by all n: what is left is n * (1 - waiting), which is
        less than n - 1 threads alone achieve where `waiting` is more than 1 / n.
        """
        threads = self._most - self.left_out
        if threads > 1 and waiting > 1 / threads:
            self.left_out += 1
            self._try_at_s = now_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_S)
        elif self.left_out and now_s >= self._try_at_s:
            self.left_out -= 1
            self._try_at_s = now_s + _SHORTEST_S
        elif not self.left_out and now_s >= self._try_at_s:
            self._pause_s = _SHORTEST_S


def waited_s() -> float:
    """For how long the threads of this process have waited for a core, in seconds; Linux tells.

    Source: https://docs.kernel.org/scheduler/sched-stats.html, second field, 2026-11.
    """
    waited_ns = 0
    for task in os.listdir(_TASKS):
        try:
            waited_ns += int((_TASKS / task / "schedstat").read_bytes().split()[1])
        except OSError:
            continue  # it has just ended
    return waited_ns / 1e9


def can_tell_waiting() -> bool:
    """Whether `waited_s` works here."""
    return Path("/proc/self/schedstat").exists()
