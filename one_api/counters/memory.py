"""Counters of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from typing_extensions import override

from one_api.counters import (
    CONCURRENCY_RETRY_S,
    LEASE_S,
    Ask,
    Counters,
    Grant,
    Standing,
    is_lease,
    require_distinct,
)
from one_api.counters.entries import Entries

#: So many counters may lie idle before they are looked for.
_MIN_SWEEP = 1024


class MemoryCounters(Counters):
    """Counts for this process alone; belongs to one event loop, and never waits for anything.

    `clock` gives seconds that only ever grow. Values take up to `max_bytes` bytes; those used
    longest ago make room for others, of which those that have an owner go last.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        lease_s: float = LEASE_S,
        max_bytes: int = 64 << 20,
    ) -> None:
        self._clock = clock
        self._lease_ms = int(lease_s * 1000)
        self._windows: dict[tuple[str, int], _Window] = {}
        self._leases: dict[str, _Leases] = {}
        self._grants = count()
        self._sweep_at = _MIN_SWEEP
        self._entries = Entries(clock, max_bytes=max_bytes)

    def __len__(self) -> int:
        """How many counters there are."""
        return len(self._windows) + len(self._leases)

    @property
    def bytes_used(self) -> int:
        """What the values take, with what is needed to keep them."""
        return self._entries.bytes_used

    def take_nowait(self, asks: Sequence[Ask]) -> Grant:
        """`take` for those who cannot await; it is a few microseconds' work."""
        require_distinct(asks)
        now_ms = int(self._clock() * 1000)
        asked = [(ask, self._counter(ask, now_ms)) for ask in asks]
        refused: Ask | None = None
        wait_ms: int | None = 0
        for ask, counter in asked:
            ask_wait_ms = counter.wait_ms(ask.amount, ask.limit)
            if wait_ms is not None and (ask_wait_ms is None or ask_wait_ms > wait_ms):
                refused, wait_ms = ask, ask_wait_ms
        lease = str(next(self._grants))
        if refused is None:
            for ask, counter in asked:
                counter.take(ask.amount, lease)
        return Grant(
            is_granted=refused is None,
            standings=tuple([counter.standing(ask) for ask, counter in asked]),
            lease=lease,
            origin=self,
            refused=refused,
            retry_after_s=None if wait_ms is None else wait_ms / 1000,
        )

    @override
    async def take(self, asks: Sequence[Ask]) -> Grant:
        return self.take_nowait(asks)

    @override
    async def settle(self, grant: Grant, actual: Mapping[str, int]) -> None:
        for standing, difference in grant.corrections(actual):
            window = self._windows.get((standing.ask.name, standing.ask.window_s))
            if window is not None:
                window.correct(standing.window, difference)

    @override
    async def release(self, grant: Grant) -> None:
        for name in grant.leased:
            leases = self._leases.get(name)
            if leases is not None:
                leases.release(grant.lease)
                if not leases.ends_ms:
                    del self._leases[name]

    @override
    async def get(self, key: str) -> bytes | None:
        return self._entries.get(key)

    @override
    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        return self._entries.put(key, value, ttl_s)

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        return self._entries.claim(key, owner, ttl_s)

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        return self._entries.replace(key, owner, value, ttl_s)

    @override
    async def delete(self, key: str, owner: str) -> bool:
        return self._entries.delete(key, owner)

    @override
    async def close(self) -> None:
        """Nothing is to be let go of."""

    def _counter(self, ask: Ask, now_ms: int) -> _Window | _Leases:
        """The counter of `ask`, as it is now."""
        if is_lease(ask):
            leases = self._leases.get(ask.name)
            if leases is None:
                self._sweep(now_ms)
                leases = self._leases[ask.name] = _Leases(self._lease_ms)
            leases.advance(now_ms)
            return leases
        key = (ask.name, ask.window_s)
        window = self._windows.get(key)
        if window is None:
            self._sweep(now_ms)
            window = self._windows[key] = _Window(ask.window_s * 1000)
        window.advance(now_ms)
        return window

    def _sweep(self, now_ms: int) -> None:
        """Forget what counts nothing, each time that there is twice as much as had to be kept.

        So callers that come once, as by address, take no memory for ever, and finding them takes
        no time to speak of.
        """
        if len(self) < self._sweep_at:
            return
        for key, window in list(self._windows.items()):
            window.advance(now_ms)
            if window.is_idle:
                del self._windows[key]
        for name, leases in list(self._leases.items()):
            leases.advance(now_ms)
            if not leases.ends_ms:
                del self._leases[name]
        self._sweep_at = max(2 * len(self), _MIN_SWEEP)


class _Window:
    """What was taken in a window and in the one before it; see the package's docstring."""

    __slots__ = ("_left_ms", "_window_ms", "current", "index", "previous")

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._left_ms = window_ms
        self.index = 0
        self.current = 0
        self.previous = 0

    @property
    def is_idle(self) -> bool:
        return not self.current and not self.previous

    def advance(self, now_ms: int) -> None:
        """Begin the window that it is time for."""
        index, elapsed_ms = divmod(now_ms, self._window_ms)
        if index == self.index + 1:
            self.previous, self.current = self.current, 0
        elif index != self.index:
            self.previous = self.current = 0
        self.index = index
        self._left_ms = self._window_ms - elapsed_ms

    def wait_ms(self, amount: int, limit: int) -> int | None:
        """In how many milliseconds there is room for `amount`, if nothing else is taken."""
        if amount > limit:
            return None
        room = limit - self.current - amount
        if room >= 0:  # once enough of the previous window is out of reach
            if not self.previous:
                return 0
            return max(self._left_ms - room * self._window_ms // self.previous, 0)
        # This window fades only after it is over.
        reach_ms = (limit - amount) * self._window_ms // self.current
        return self._left_ms + self._window_ms - reach_ms

    def take(self, amount: int, lease: str) -> None:
        self.current += amount

    def correct(self, index: int, difference: int) -> None:
        if index == self.index:
            self.current = max(self.current + difference, 0)
        elif index == self.index - 1:
            self.previous = max(self.previous + difference, 0)

    def standing(self, ask: Ask) -> Standing:
        faded = -(-self.previous * self._left_ms // self._window_ms)
        remaining = max(ask.limit - self.current - faded, 0)
        if self.current:
            reset_ms = self._left_ms + self._window_ms
        else:
            reset_ms = self._left_ms if self.previous else 0
        return Standing(ask, remaining, reset_ms / 1000, self.index)


class _Leases:
    """Who holds one of what there is a limited number of, and until when at most."""

    __slots__ = ("_lease_ms", "_now_ms", "ends_ms")

    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        self._now_ms = 0
        #: By lease, in the order in which they end.
        self.ends_ms: dict[str, int] = {}

    def advance(self, now_ms: int) -> None:
        """Forget what has ended."""
        self._now_ms = now_ms
        while self.ends_ms:
            first = next(iter(self.ends_ms))
            if self.ends_ms[first] > now_ms:
                break
            del self.ends_ms[first]

    def wait_ms(self, amount: int, limit: int) -> int | None:
        if amount > limit:
            return None
        return 0 if len(self.ends_ms) + amount <= limit else int(CONCURRENCY_RETRY_S * 1000)

    def take(self, amount: int, lease: str) -> None:
        self.ends_ms[lease] = self._now_ms + self._lease_ms

    def release(self, lease: str) -> None:
        self.ends_ms.pop(lease, None)

    def standing(self, ask: Ask) -> Standing:
        return Standing(ask, max(ask.limit - len(self.ends_ms), 0), 0.0)
