"""The stored API keys, as one process remembers them for a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from one_api.errors import StorageUnavailable
from one_api.policy.auth import ApiKey, KeyLimits
from one_api.storage.keys import KeyStore, StoredKey

logger = logging.getLogger(__name__)

#: How long a key is believed without asking the database, in seconds: so long after it was revoked
#: it may still open the gateway.
FRESH_S = 1.0
#: How long one that was good is believed while the database does not answer, in seconds.
STALE_S = 300.0
#: How often the database is asked whether there are keys at all, in seconds.
CENSUS_S = 5.0
#: Most keys that are remembered, and as many wrong ones: those come from anybody.
MAX_REMEMBERED = 10_000


class _Memory(NamedTuple):
    caller: ApiKey | None
    at_s: float
    expires_ms: int | None = None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class StoredKeys:
    """What the database says of keys, asked once a second for each key in use.

    A key that has expired since is not believed without asking, however short a while ago it was
    good. `has_any` is whether there are keys at all. Belongs to one event loop, but for
    `remembered`.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = _now_ms,
    ) -> None:
        """`clock` is any in seconds; `now_ms` is the time in UTC epoch milliseconds."""
        self._store = store
        self._clock = clock
        self._now_ms = now_ms
        # Apart, so that nobody can make the gateway forget good keys by trying wrong ones.
        self._good: OrderedDict[bytes, _Memory] = OrderedDict()
        self._wrong: OrderedDict[bytes, _Memory] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._census: asyncio.Task[None] | None = None
        self._is_out = False
        self.has_any = False

    async def start(self) -> None:
        """Learn whether there are keys, and keep learning it.

        Raises: StorageUnavailable.
        """
        self.has_any = bool(await self._store.list(limit=1))
        self._census = asyncio.create_task(self._keep_counting())

    async def close(self) -> None:
        """Stop asking."""
        tasks: list[asyncio.Task[Any]] = list(self._asked.values())
        if self._census is not None:
            tasks.append(self._census)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def remembered(self, digest: bytes) -> tuple[bool, ApiKey | None]:
        """Whether the key of this digest was asked about just now, and who it is."""
        memory = self._good.get(digest) or self._wrong.get(digest)
        if memory is None or not self._holds(memory, FRESH_S):
            return False, None
        return True, memory.caller

    async def look_up(self, presented: str, digest: bytes) -> ApiKey | None:
        """Who has the key `presented`; None when it opens nothing.

        While the database does not answer, those are let in who were a little while ago; they wait
        for it only once.
        Raises: StorageUnavailable for others.
        """
        # One question for all that present the same key at the same time.
        task = self._asked.get(digest)
        if task is None:
            task = asyncio.create_task(self._ask(presented, digest))
            self._asked[digest] = task
            task.add_done_callback(partial(self._forget, digest))
        stale = self._stale(digest) if self._is_out else None
        return await asyncio.shield(task) if stale is None else stale

    def _stale(self, digest: bytes) -> ApiKey | None:
        memory = self._good.get(digest)
        return None if memory is None or not self._holds(memory, STALE_S) else memory.caller

    def _holds(self, memory: _Memory, for_s: float) -> bool:
        """Whether what was learnt is believed, `for_s` seconds and no longer than the key lasts."""
        if self._clock() - memory.at_s > for_s:
            return False
        return memory.expires_ms is None or self._now_ms() < memory.expires_ms

    def _forget(self, digest: bytes, task: asyncio.Task[ApiKey | None]) -> None:
        self._asked.pop(digest, None)
        if not task.cancelled():
            task.exception()  # Whoever waited has heard it; maybe nobody did.

    async def _ask(self, presented: str, digest: bytes) -> ApiKey | None:
        # From before the question: the answer may be as old as that when it comes.
        asked_s = self._clock()
        try:
            stored = await self._store.find(presented)
        except StorageUnavailable:
            self._is_out = True
            stale = self._stale(digest)
            if stale is None:
                raise
            return stale
        self._is_out = False
        caller = None if stored is None else caller_of(stored)
        known, other = (self._wrong, self._good) if caller is None else (self._good, self._wrong)
        known[digest] = _Memory(caller, asked_s, None if stored is None else stored.expires_ms)
        known.move_to_end(digest)
        other.pop(digest, None)
        if len(known) > MAX_REMEMBERED:
            known.popitem(last=False)
        self.has_any = self.has_any or caller is not None
        return caller

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(CENSUS_S)
            try:
                # Once there were keys, an empty table does not open the gateway to everybody.
                self.has_any = bool(await self._store.list(limit=1)) or self.has_any
                self._is_out = False
            except StorageUnavailable as exc:
                logger.debug("cannot ask whether there are keys: %s", exc.message)


def caller_of(stored: StoredKey) -> ApiKey:
    """What the gateway needs to know of a stored key."""
    return ApiKey(
        stored.id,
        may_route=stored.may_route,
        models=stored.models,
        limits=KeyLimits(
            requests_per_minute=stored.requests_per_minute,
            tokens_per_minute=stored.tokens_per_minute,
            concurrent_requests=stored.concurrent_requests,
            budget_day_microusd=stored.budget_day_microusd,
            budget_month_microusd=stored.budget_month_microusd,
            budget_total_microusd=stored.budget_total_microusd,
            max_tokens=stored.max_tokens,
        ),
    )
