"""How much callers have used of what is limited, and small values that expire.

`MemoryCounters` counts for one process, `RedisCounters` for all that share a Redis, and `Resilient`
joins the two. All of them count in the same way:

A **window** limits what is taken in any `window_s` seconds. Time is cut into windows of that
length; what counts is all that was taken in the current one, and of what was taken in the one
before it the share that `window_s` seconds still reach back into:

    used = previous * (window_ms - elapsed_ms) / window_ms + current

A **concurrency** limits how much is held at the same time, by leases that are given back, or end by
themselves when whoever held them has crashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, Self

AskKind = Literal["window", "concurrency"]

#: Highest limit, and longest window in seconds. Below these the counting is exact also in Lua,
#: whose only numbers are doubles: 10^9 * 3,600,000 ms < 2^53.
MAX_LIMIT = 1_000_000_000
MAX_WINDOW_S = 3600

#: Seconds until a lease ends that nobody gave back: longer than any request takes.
LEASE_S = 900.0

#: Seconds after which asking again makes sense when too much is held: nobody knows when one ends.
CONCURRENCY_RETRY_S = 1.0

#: Longest value that is kept.
MAX_VALUE_BYTES = 1 << 20


class _Asked(NamedTuple):
    name: str
    amount: int
    limit: int
    kind: AskKind
    window_s: int
    #: Which counter it is for.
    place: tuple[str, int]


class Ask(_Asked):
    """`amount` of what `name` counts, of which there is at most `limit`.

    A window of the same name but another length is another counter. An amount of 0 takes nothing
    and tells how things stand. Of a concurrency one is asked for at a time.
    Raises: ValueError for a negative amount, or a limit or a window out of range.
    """

    __slots__ = ()

    def __new__(
        cls, name: str, amount: int, limit: int, kind: AskKind = "window", window_s: int = 60
    ) -> Self:
        """An ask within the bounds."""
        if amount < 0 or not 0 <= limit <= MAX_LIMIT:
            raise ValueError(f"{name}: {amount} of {limit} cannot be asked for")
        if not 1 <= window_s <= MAX_WINDOW_S:
            raise ValueError(f"{name}: a window has 1 to {MAX_WINDOW_S} s")
        if kind == "concurrency" and amount != 1:
            raise ValueError(f"{name}: leases are asked for one at a time")
        place = name, 0 if kind == "concurrency" else window_s
        return super().__new__(cls, name, amount, limit, kind, window_s, place)

    def of(self, amount: int) -> Self:
        """The same ask for another amount of a window. Raises: ValueError for a negative one."""
        name, _, limit, kind, window_s, place = self
        if amount < 0 or kind == "concurrency":
            raise ValueError(f"{name}: {amount} cannot be asked for")
        # As `_make` does, which is a call more.
        return tuple.__new__(type(self), (name, amount, limit, kind, window_s, place))


class Standing(NamedTuple):
    """How things stand with what was asked for, after it was taken or refused.

    `remaining` is what may still be taken at once. `reset_s` is in how many seconds nothing counts
    any more of what has been taken so far; 0 for a concurrency, of which it is not known.
    `window` numbers the window that the amount was taken in.
    """

    ask: Ask
    remaining: int
    reset_s: float
    window: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class Grant:
    """What came of a `take`: everything that was asked for, or nothing of it.

    `refused` is the ask that stood in the way, of several the one to wait longest for, and
    `retry_after_s` says how long; None when no waiting helps, as more is asked for than there is.
    It is given back to the counters it is from, `origin`.
    """

    is_granted: bool
    standings: tuple[Standing, ...]
    lease: str = field(repr=False)
    origin: Counters = field(repr=False)
    refused: Ask | None = None
    retry_after_s: float | None = None
    is_settled: bool = False

    @property
    def leased(self) -> list[str]:
        """The names of the concurrencies that this holds."""
        if not self.is_granted:
            return []
        return [ask.name for ask, _, _, _ in self.standings if ask.kind == "concurrency"]

    def corrections(self, actual: Mapping[str, int]) -> list[tuple[Standing, int]]:
        """What each window is off by, now that `actual` is known; nothing at any later call."""
        if not self.is_granted or self.is_settled:
            return []
        self.is_settled = True
        return [
            (standing, difference)
            for standing in self.standings
            if (ask := standing.ask).name in actual and ask.kind == "window"
            if (difference := max(actual[ask.name], 0) - ask.amount)
        ]


class Counters(Protocol):
    """Counts what is limited, and keeps small values for a while.

    Every method may raise StorageUnavailable, but for `settle`, `release` and `close`. Amounts that
    are on their way when the counters stop answering may or may not be counted.
    """

    async def take(self, asks: Sequence[Ask]) -> Grant:
        """Take everything that is asked for or, if any of it is refused, nothing.

        Raises: ValueError when two asks are for the same counter.
        """

    async def settle(self, grant: Grant, actual: Mapping[str, int]) -> None:
        """Count `actual` amounts by name in place of those granted, in the windows they stand in.

        The first call for a grant counts. A window that is over is left as it was.
        """

    async def release(self, grant: Grant) -> None:
        """Give back the leases of `grant`; once or several times."""

    async def get(self, key: str) -> bytes | None:
        """The value of `key`: None when there is none, b"" while it is only claimed."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Set `key`, whoever owned it, for `ttl_s` seconds; False when the value is too long."""

    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        """Make `key` the property of `owner` if nobody has it: None then, else what `get` tells.

        An owner that claims again what it has not yet replaced keeps it for another `ttl_s`. One
        whose claim failed takes another name: whatever came of it is given back.
        """

    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        """Set `key` for `ttl_s` seconds; False when `owner` has it no more, or it is too long."""

    async def delete(self, key: str, owner: str) -> bool:
        """Remove `key`; False when `owner` does not have it."""

    async def close(self) -> None:
        """Let go of connections."""


def is_lease(ask: Ask) -> bool:
    """Whether what is asked for will be given back."""
    return ask.kind == "concurrency"


def require_distinct(asks: Sequence[Ask]) -> None:
    """Raises: ValueError when two of `asks` are for the same counter."""
    if len({ask.name for ask in asks}) == len(asks):
        return  # the usual case, and the quick one
    if len({ask.place for ask in asks}) != len(asks):
        raise ValueError("two asks of one take are for the same counter")
