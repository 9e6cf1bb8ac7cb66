"""Shared counters that may be gone for a while, and what counts in their place."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar

from typing_extensions import override

from one_api.counters import Ask, Counters, Grant
from one_api.errors import StorageUnavailable

logger = logging.getLogger(__name__)

OutagePolicy = Literal["fail_open", "fail_closed"]
T = TypeVar("T")

#: A Redis that is full is still read.
_Kind = Literal["read", "write"]

_CONSEQUENCES: dict[OutagePolicy, str] = {
    "fail_open": "this process counts for itself",
    "fail_closed": "requests that depend on them are refused",
}


class Resilient(Counters):
    """Counts in `shared`; while that does not answer, in `local` or not at all, as `policy` says.

    `fail_open`: each process counts for itself, up to the `processes`-th part of each limit, as so
    many count for themselves then. `fail_closed`: StorageUnavailable. Each change is logged once.
    What began in `local` ends there, also when `shared` is back by then.
    """

    def __init__(
        self, shared: Counters, local: Counters, policy: OutagePolicy, *, processes: int = 1
    ) -> None:
        self._shared = shared
        self._local = local
        self._policy = policy
        self._processes = processes
        self._failing: set[_Kind] = set()

    @property
    def is_degraded(self) -> bool:
        """Whether the shared counters failed when last asked."""
        return bool(self._failing)

    @override
    async def take(self, asks: Sequence[Ask]) -> Grant:
        return await self._write(
            lambda: self._shared.take(asks), lambda: self._local.take(self._shares(asks))
        )

    @override
    async def settle(self, grant: Grant, actual: Mapping[str, int]) -> None:
        await grant.origin.settle(grant, actual)

    @override
    async def release(self, grant: Grant) -> None:
        await grant.origin.release(grant)

    @override
    async def get(self, key: str) -> bytes | None:
        try:
            value = await self._shared.get(key)
        except StorageUnavailable as exc:
            self._lose("read", exc)
        else:
            self._find("read")
            if value is not None:
                return value
        return await self._local.get(key)

    @override
    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        return await self._write(
            lambda: self._shared.put(key, value, ttl_s), lambda: self._local.put(key, value, ttl_s)
        )

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        if await self._local.get(key) is not None:
            return await self._local.claim(key, owner, ttl_s)
        return await self._write(
            lambda: self._shared.claim(key, owner, ttl_s),
            lambda: self._local.claim(key, owner, ttl_s),
        )

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        if await self._local.replace(key, owner, value, ttl_s):
            return True
        return await self._write(
            lambda: self._shared.replace(key, owner, value, ttl_s),
            lambda: self._local.replace(key, owner, value, ttl_s),
        )

    @override
    async def delete(self, key: str, owner: str) -> bool:
        if await self._local.delete(key, owner):
            return True
        try:
            is_deleted = await self._shared.delete(key, owner)
        except StorageUnavailable as exc:
            self._lose("write", exc)
            return False
        self._find("read")  # a Redis that is full deletes all the same
        return is_deleted

    @override
    async def close(self) -> None:
        await self._shared.close()
        await self._local.close()

    async def _write(
        self, in_shared: Callable[[], Awaitable[T]], in_local: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            outcome = await in_shared()
        except StorageUnavailable as exc:
            self._lose("write", exc)
            return await in_local()
        self._find("write")
        return outcome

    def _lose(self, kind: _Kind, error: StorageUnavailable) -> None:
        """`shared` failed. Raises: `error`, unless the local counters may take its place."""
        if not self._failing:
            logger.warning(
                "The shared counters do not answer (%s): %s",
                type(error.__cause__ or error).__name__,
                _CONSEQUENCES[self._policy],
            )
        self._failing.add(kind)
        if self._policy == "fail_closed":
            raise error

    def _find(self, kind: _Kind) -> None:
        """`shared` did what it was asked for: where it writes, it reads as well."""
        if not self._failing:
            return
        self._failing -= {"read", kind}
        if not self._failing:
            logger.info("The shared counters answer again")

    def _shares(self, asks: Sequence[Ask]) -> Sequence[Ask]:
        """This process's part of what is asked for.

        What fits the limit but not the part takes all of the part: it is not refused for ever.
        """
        if self._processes == 1:
            return asks
        shares = []
        for ask in asks:
            limit = -(-ask.limit // self._processes)
            amount = ask.amount if ask.amount > ask.limit else min(ask.amount, limit)
            shares.append(Ask(ask.name, amount, limit, ask.kind, ask.window_s))
        return shares
