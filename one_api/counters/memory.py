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
        #: By the places of what is asked for.
        self._counters: dict[tuple[str, int], _Window | _Leases] = {}
        self._grants = count()
        self._sweep_at = _MIN_SWEEP
        self._entries = Entries(clock, max_bytes=max_bytes)

    def __len__(self) -> int:
        """How many counters there are."""
        return len(self._counters)

    @property
    def bytes_used(self) -> int:
        """What the values take, with what is needed to keep them."""
        return self._entries.bytes_used

    def take_nowait(self, asks: Sequence[Ask]) -> Grant:
        """`take` for those who cannot await, and know that no two asks are for the same counter."""
        now_ms = int(self._clock() * 1000)
        lease = str(next(self._grants))
        standings: list[Standing] = []
        counters = self._counters
        for ask in asks:
            counter = counters.get(ask.place) or self._begun(ask, now_ms)
            standing = counter.take(ask, lease, now_ms)
            if standing is None:
                self._undo(standings, lease)
                return self._refuse(asks, lease, now_ms)
            standings.append(standing)
        return Grant(
            is_granted=True,
            standings=tuple(standings),
            lease=lease,
            origin=self,
            retry_after_s=0.0,
        )

    def give_back_nowait(self, grant: Grant, actual: Mapping[str, int]) -> None:
        """`settle` and `release` in one, for those who cannot await."""
        if not grant.is_granted:
            return
        is_settled, grant.is_settled = grant.is_settled, True
        for ask, _, _, index in grant.standings:
            if ask.kind == "concurrency":
                self._release(ask, grant.lease)
            elif not is_settled and (used := actual.get(ask.name)) is not None:
                self._correct(ask, index, max(used, 0) - ask.amount)

    @override
    async def take(self, asks: Sequence[Ask]) -> Grant:
        require_distinct(asks)
        return self.take_nowait(asks)

    @override
    async def settle(self, grant: Grant, actual: Mapping[str, int]) -> None:
        for (ask, _, _, index), difference in grant.corrections(actual):
            self._correct(ask, index, difference)

    @override
    async def release(self, grant: Grant) -> None:
        for ask, _, _, _ in grant.standings:
            if grant.is_granted and is_lease(ask):
                self._release(ask, grant.lease)

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

    def _begun(self, ask: Ask, now_ms: int) -> _Window | _Leases:
        """A new counter."""
        self._sweep(now_ms)
        counter: _Window | _Leases
        counter = _Leases(self._lease_ms) if is_lease(ask) else _Window(ask.window_s * 1000)
        self._counters[ask.place] = counter
        return counter

    def _undo(self, taken: Sequence[Standing], lease: str) -> None:
        for ask, _, _, index in taken:
            if is_lease(ask):
                self._release(ask, lease)
            else:
                self._correct(ask, index, -ask.amount)

    def _refuse(self, asks: Sequence[Ask], lease: str, now_ms: int) -> Grant:
        """Why `asks`, of which nothing is taken, cannot all be had."""
        refused: Ask | None = None
        wait_ms: int | None = 0
        standings: list[Standing] = []
        for ask in asks:
            counter = self._counters.get(ask.place) or self._begun(ask, now_ms)
            counter.advance(now_ms)
            ask_wait_ms = counter.wait_ms(ask, now_ms)
            if wait_ms is not None and (ask_wait_ms is None or ask_wait_ms > wait_ms):
                refused, wait_ms = ask, ask_wait_ms
            standings.append(counter.standing(ask, now_ms))
        return Grant(
            is_granted=False,
            standings=tuple(standings),
            lease=lease,
            origin=self,
            refused=refused,
            retry_after_s=None if wait_ms is None else wait_ms / 1000,
        )

    def _correct(self, ask: Ask, index: int, difference: int) -> None:
        window = self._counters.get(ask.place)
        if isinstance(window, _Window):
            window.correct(index, difference)

    def _release(self, ask: Ask, lease: str) -> None:
        leases = self._counters.get(ask.place)
        if isinstance(leases, _Leases):
            leases.ends_ms.pop(lease, None)

    def _sweep(self, now_ms: int) -> None:
        """Forget what counts nothing, each time that there is twice as much as had to be kept.

        So callers that come once, as by address, take no memory for ever, and finding them takes
        no time to speak of.
        """
        if len(self._counters) < self._sweep_at:
            return
        for place, counter in list(self._counters.items()):
            counter.advance(now_ms)
            if counter.is_idle:
                del self._counters[place]
        self._sweep_at = max(2 * len(self._counters), _MIN_SWEEP)


class _Window:
    """What was taken in a window and in the one before it; see the package's docstring."""

    __slots__ = ("_ends_ms", "_window_ms", "current", "index", "previous")

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._ends_ms = 0
        self.index = 0
        self.current = 0
        self.previous = 0

    @property
    def is_idle(self) -> bool:
        return not self.current and not self.previous

    def advance(self, now_ms: int) -> None:
        """Begin the window that it is time for."""
        index = now_ms // self._window_ms
        if index == self.index + 1:
            self.previous, self.current = self.current, 0
        elif index != self.index:
            self.previous = self.current = 0
        self.index = index
        self._ends_ms = (index + 1) * self._window_ms

    def take(self, ask: Ask, lease: str, now_ms: int) -> Standing | None:
        """How things stand with what was taken; None when there is too little left of it."""
        if now_ms >= self._ends_ms:
            self.advance(now_ms)
        current = self.current + ask.amount
        remaining = ask.limit - current
        reset_ms = self._ends_ms - now_ms
        if self.previous:
            remaining -= self._reached(reset_ms)
        if remaining < 0:
            return None
        self.current = current
        if current:
            reset_ms += self._window_ms
        elif not self.previous:
            reset_ms = 0
        return Standing(ask, remaining, reset_ms / 1000, self.index)

    def wait_ms(self, ask: Ask, now_ms: int) -> int | None:
        """In how many milliseconds there is room for `ask`, if nothing else is taken."""
        if ask.amount > ask.limit:
            return None
        left_ms = self._ends_ms - now_ms
        room = ask.limit - self.current - ask.amount
        if room >= 0:  # once enough of the previous window is out of reach
            if not self.previous:
                return 0
            return max(left_ms - room * self._window_ms // self.previous, 0)
        # This window fades only after it is over.
        reach_ms = (ask.limit - ask.amount) * self._window_ms // self.current
        return left_ms + self._window_ms - reach_ms

    def correct(self, index: int, difference: int) -> None:
        if index == self.index:
            self.current = max(self.current + difference, 0)
        elif index == self.index - 1:
            self.previous = max(self.previous + difference, 0)

    def standing(self, ask: Ask, now_ms: int) -> Standing:
        """How things stand without taking anything."""
        left_ms = self._ends_ms - now_ms
        remaining = max(ask.limit - self.current - self._reached(left_ms), 0)
        reset_ms = left_ms if self.previous else 0
        if self.current:
            reset_ms = left_ms + self._window_ms
        return Standing(ask, remaining, reset_ms / 1000, self.index)

    def _reached(self, left_ms: int) -> int:
        """What counts of the previous window: all that is not known to be out of reach."""
        return -(-self.previous * left_ms // self._window_ms)


class _Leases:
    """Who holds one of what there is a limited number of, and until when at most."""

    __slots__ = ("_first_ends_ms", "_lease_ms", "ends_ms")

    def __init__(self, lease_ms: int) -> None:
        self._lease_ms = lease_ms
        #: No lease ends before this, so that nobody needs to look for one that has ended.
        self._first_ends_ms = 0
        #: By lease, in the order in which they end.
        self.ends_ms: dict[str, int] = {}

    @property
    def is_idle(self) -> bool:
        return not self.ends_ms

    def advance(self, now_ms: int) -> None:
        """Forget what has ended."""
        if now_ms < self._first_ends_ms:
            return
        self._first_ends_ms = now_ms + self._lease_ms
        while self.ends_ms:
            first, ends_ms = next(iter(self.ends_ms.items()))
            if ends_ms > now_ms:
                self._first_ends_ms = ends_ms
                break
            del self.ends_ms[first]

    def take(self, ask: Ask, lease: str, now_ms: int) -> Standing | None:
        """How things stand with one taken; None when as many are held as may be."""
        if now_ms >= self._first_ends_ms:
            self.advance(now_ms)
        held = len(self.ends_ms) + 1
        if held > ask.limit:
            return None
        self.ends_ms[lease] = now_ms + self._lease_ms
        return Standing(ask, ask.limit - held, 0.0)

    def wait_ms(self, ask: Ask, now_ms: int) -> int | None:
        if ask.amount > ask.limit:
            return None
        is_free = len(self.ends_ms) + ask.amount <= ask.limit
        return 0 if is_free else int(CONCURRENCY_RETRY_S * 1000)

    def standing(self, ask: Ask, now_ms: int) -> Standing:
        return Standing(ask, max(ask.limit - len(self.ends_ms), 0), 0.0)
