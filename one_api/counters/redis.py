"""Counters that all who use one Redis share."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from typing_extensions import override

from one_api.counters import (
    LEASE_S,
    MAX_VALUE_BYTES,
    Ask,
    Counters,
    Grant,
    Standing,
    is_lease,
    require_distinct,
)
from one_api.counters.redis_link import LinkOptions, RedisLink, Script
from one_api.errors import StorageUnavailable

#: So much is remembered that could not be given back; what is forgotten ends by itself.
_MAX_OWED = 10_000

#: Between an owner and its value.
_END_OF_OWNER = b"\0"


def _script(name: str) -> Script:
    return Script(files("one_api.counters").joinpath(name).read_text(encoding="utf-8"))


_TAKE = _script("take.lua")
_SETTLE = _script("settle.lua")
_CLAIM = _script("claim.lua")
_REPLACE = _script("replace.lua")
_DELETE = _script("delete.lua")


class _Debt(NamedTuple):
    """What is to be given back: a lease, or an entry that was claimed."""

    key: str
    owner: str
    is_lease: bool


class RedisCounters(Counters):
    """Counts in the Redis at `url`, by its clock, under keys that begin with `prefix`.

    A `take` is one round trip, and one step for everyone. Leases and claims that cannot be given
    back now, or of which it is not known whether they were granted, are given back when Redis
    answers again.
    `clock` (seconds) takes the place of Redis's own where time is to stand still. Belongs to one
    event loop.
    Raises: ConfigurationError when `url` is not one of Redis.
    """

    def __init__(
        self,
        url: str,
        *,
        options: LinkOptions | None = None,
        prefix: str = "one_api:",
        lease_s: float = LEASE_S,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.link = RedisLink(url, options or LinkOptions())
        self._prefix = prefix
        self._lease_ms = int(lease_s * 1000)
        self._clock = clock
        self._owed: deque[_Debt] = deque(maxlen=_MAX_OWED)
        self._repayment: asyncio.Task[None] | None = None

    @property
    def owed(self) -> int:
        """How many leases and claims are still to be given back."""
        return len(self._owed)

    @override
    async def take(self, asks: Sequence[Ask]) -> Grant:
        require_distinct(asks)
        lease = secrets.token_hex(12)
        arguments: list[str | int] = [lease, self._lease_ms, self._now()]
        for ask in asks:
            arguments += [ask.kind, ask.amount, ask.limit, ask.window_s * 1000]
        leased = [ask.name for ask in asks if is_lease(ask)]
        try:
            reply = await self.link.run(_TAKE, tuple(map(self._counter, asks)), *arguments)
        except BaseException:  # also when cancelled: it may have been granted, and nobody knows
            self._owed.extend(self._debts(leased, lease))
            raise
        self._repay()
        return self._grant(asks, lease, reply)

    @override
    async def settle(self, grant: Grant, actual: Mapping[str, int]) -> None:
        keys: list[str] = []
        arguments: list[int] = []
        for standing, difference in grant.corrections(actual):
            keys.append(self._counter(standing.ask))
            arguments += [standing.window, difference]
        if keys:
            # Without Redis what was granted stays counted, until its window is over.
            with contextlib.suppress(StorageUnavailable):
                await self.link.run(_SETTLE, tuple(keys), *arguments)

    @override
    async def release(self, grant: Grant) -> None:
        leases = deque(self._debts(grant.leased, grant.lease))
        try:
            await self._give_back(leases)
        finally:
            self._owed.extend(leases)

    @override
    async def get(self, key: str) -> bytes | None:
        held: bytes | None = await self.link.call("GET", self._entry(key))
        return None if held is None else held.partition(_END_OF_OWNER)[2]

    @override
    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        if len(value) > MAX_VALUE_BYTES:
            return False
        held = _END_OF_OWNER + value
        await self.link.call("SET", self._entry(key), held, "PX", _milliseconds(ttl_s))
        return True

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        entry, ttl_ms = self._entry(key), _milliseconds(ttl_s)
        try:
            value: bytes | None = await self.link.run(_CLAIM, (entry,), owner, ttl_ms)
        except BaseException:  # as in `take`
            self._owed.append(_Debt(entry, owner, is_lease=False))
            raise
        self._repay()
        return value

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        if len(value) > MAX_VALUE_BYTES:
            return False
        ttl_ms = _milliseconds(ttl_s)
        is_kept = bool(await self.link.run(_REPLACE, (self._entry(key),), owner, value, ttl_ms))
        self._repay()
        return is_kept

    @override
    async def delete(self, key: str, owner: str) -> bool:
        debt = _Debt(self._entry(key), owner, is_lease=False)
        try:
            is_deleted = await self._pay(debt)
        except BaseException:  # as in `take`
            self._owed.append(debt)
            raise
        self._repay()
        return is_deleted

    @override
    async def close(self) -> None:
        """Close the connections; what is still owed ends by itself."""
        if self._repayment is not None:
            self._repayment.cancel()
            await asyncio.wait([self._repayment])
        await self.link.close()

    def _now(self) -> str | int:
        return "" if self._clock is None else int(self._clock() * 1000)

    def _counter(self, ask: Ask) -> str:
        if is_lease(ask):
            return self._leases(ask.name)
        return f"{self._prefix}window:{ask.window_s}:{ask.name}"

    def _leases(self, name: str) -> str:
        return f"{self._prefix}leases:{name}"

    def _entry(self, key: str) -> str:
        return f"{self._prefix}entry:{key}"

    def _grant(self, asks: Sequence[Ask], lease: str, reply: list[int]) -> Grant:
        is_granted, refused, wait_ms, *told = reply
        return Grant(
            is_granted=bool(is_granted),
            standings=tuple(
                Standing(ask, remaining, reset_ms / 1000, window)
                for ask, remaining, reset_ms, window in zip(
                    asks, told[::3], told[1::3], told[2::3], strict=True
                )
            ),
            lease=lease,
            origin=self,
            refused=asks[refused - 1] if refused else None,
            retry_after_s=None if wait_ms < 0 else wait_ms / 1000,
        )

    def _repay(self) -> None:
        """Give back what is owed, now that Redis answers, and let nobody wait for it."""
        if self._owed and (self._repayment is None or self._repayment.done()):
            self._repayment = asyncio.create_task(self._give_back(self._owed))

    async def _give_back(self, debts: deque[_Debt]) -> None:
        """Take from `debts` what was given back, as far as Redis answers."""
        with contextlib.suppress(StorageUnavailable):
            while debts:
                debt = debts[0]
                await self._pay(debt)
                if debts and debts[0] == debt:
                    debts.popleft()

    async def _pay(self, debt: _Debt) -> bool:
        """Give `debt` back; False when there was nothing left to be given back."""
        if debt.is_lease:
            return bool(await self.link.call("ZREM", debt.key, debt.owner))
        return bool(await self.link.run(_DELETE, (debt.key,), debt.owner))

    def _debts(self, names: Sequence[str], lease: str) -> list[_Debt]:
        return [_Debt(self._leases(name), lease, is_lease=True) for name in names]


def _milliseconds(duration_s: float) -> int:
    """Whole milliseconds, at least the one that Redis asks for."""
    return max(int(duration_s * 1000), 1)
