"""The stored API keys, as one process remembers them for a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

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
#: Most keys that are remembered; wrong ones come from anybody.
MAX_REMEMBERED = 10_000


class _Memory(NamedTuple):
    caller: ApiKey | None
    at_s: float


class StoredKeys:
    """What the database says of keys, asked once a second for each key in use.

    `has_any` is whether there are keys at all. Belongs to one event loop.
    """

    def __init__(self, store: KeyStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._memories: OrderedDict[bytes, _Memory] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[ApiKey | None]] = {}
        self._census: asyncio.Task[None] | None = None
        self.has_any = False

    async def start(self) -> None:
        """Learn whether there are keys, and keep learning it.

        Raises: StorageUnavailable.
        """
        self.has_any = bool(await self._store.list(limit=1))
        self._census = asyncio.create_task(self._keep_counting())

    async def close(self) -> None:
        """Stop asking."""
        if self._census is not None:
            self._census.cancel()
            await asyncio.gather(self._census, return_exceptions=True)

    def remembered(self, digest: bytes) -> tuple[bool, ApiKey | None]:
        """Whether the key of this digest was asked about just now, and who it is."""
        memory = self._memories.get(digest)
        if memory is None or self._clock() - memory.at_s > FRESH_S:
            return False, None
        return True, memory.caller

    async def look_up(self, presented: str, digest: bytes) -> ApiKey | None:
        """Who has the key `presented`; None when it opens nothing.

        While the database does not answer, those are let in who were a little while ago.
        Raises: StorageUnavailable for others.
        """
        # One question for all that present the same key at the same time.
        task = self._asked.get(digest)
        if task is None:
            task = asyncio.create_task(self._ask(presented, digest))
            self._asked[digest] = task
            task.add_done_callback(lambda _: self._asked.pop(digest, None))
        return await asyncio.shield(task)

    async def _ask(self, presented: str, digest: bytes) -> ApiKey | None:
        try:
            stored = await self._store.find(presented)
        except StorageUnavailable:
            memory = self._memories.get(digest)
            if memory is None or memory.caller is None or self._clock() - memory.at_s > STALE_S:
                raise
            return memory.caller
        caller = None if stored is None else caller_of(stored)
        self._memories[digest] = _Memory(caller, self._clock())
        self._memories.move_to_end(digest)
        if len(self._memories) > MAX_REMEMBERED:
            self._memories.popitem(last=False)
        self.has_any = self.has_any or caller is not None
        return caller

    async def _keep_counting(self) -> None:
        while True:
            await asyncio.sleep(CENSUS_S)
            try:
                # Once there were keys, an empty table does not open the gateway to everybody.
                self.has_any = self.has_any or bool(await self._store.list(limit=1))
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
