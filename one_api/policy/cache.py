"""Complete replies kept for requests that are exactly the same.

What is kept is one complete chat completion, whatever the form it was asked in, so that it answers
the same request as a stream and in another format too. Nobody is answered from what another scope
(an API key, say) was told: the scope is part of the name that a reply is kept under.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from dataclasses import dataclass
from typing import Final, Protocol, Self

import orjson

from one_api.counters import MAX_VALUE_BYTES
from one_api.errors import StorageUnavailable
from one_api.policy.cached_reply import CachedReply, ReplyRecording, is_keepable
from one_api.schemas.body import RequestBody
from one_api.schemas.chat import ChatCompletionRequest

__all__ = [
    "CacheSlot",
    "CacheUse",
    "CachedReply",
    "Flight",
    "Flights",
    "ReplyCache",
    "ReplyRecording",
]

logger = logging.getLogger(__name__)

#: Changes whenever the same request would be answered differently.
_VERSION: Final = 1
#: What says who asks, or how the answer travels or is billed, and not what is answered.
#:
#: Everything else counts, what is unknown included. `models` and aliases count as the client named
#: them; `service_tier` is told in the reply.
_BESIDE_THE_POINT: Final = (
    "stream", "stream_options", "user", "safety_identifier", "metadata", "store",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
)  # fmt: skip


class Values(Protocol):
    """Where replies are kept; see `Counters` for what each method promises."""

    async def get(self, key: str) -> bytes | None:
        """The value of `key`."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> bool:
        """Set `key` for `ttl_s` seconds."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What a request may do with the cache."""

    reads: bool = True
    writes: bool = True

    @classmethod
    def of(cls, cache_control: str | None) -> CacheUse:
        """As the request's `Cache-Control` says: `no-store` is neither, `no-cache` only writes."""
        given = {part.strip().lower() for part in (cache_control or "").split(",")}
        stores = "no-store" not in given
        return cls(reads=stores and "no-cache" not in given, writes=stores)


@dataclass(frozen=True, slots=True)
class CacheSlot:
    """The place of one request's reply.

    `has_limit` says that the client limited the reply's length: only then is a reply of that
    length the whole of what was asked for.
    """

    name: str
    has_limit: bool = False


class ReplyCache:
    """Replies by request, each for `ttl_s` seconds and of `max_entry_bytes` at most.

    `secret` keys the names, so that nobody who reads them can tell what was asked. Requests that
    are answered at random are cached like others: that the same answer is given is what an
    operator asks for who turns this on. A store that fails is an empty one.
    """

    def __init__(
        self,
        store: Values,
        secret: bytes,
        *,
        ttl_s: float,
        max_entry_bytes: int = MAX_VALUE_BYTES,
    ) -> None:
        self._store = store
        self._secret = secret
        self._ttl_s = ttl_s
        self.max_entry_bytes = min(max_entry_bytes, MAX_VALUE_BYTES)

    def slot(self, scope: str, endpoint: str, request: RequestBody) -> CacheSlot | None:
        """Where the reply to `request` is kept; None for one whose reply must not be.

        `store` asks the provider to keep the conversation: a reply from here would not be kept.
        """
        body = request.to_wire()
        if body.get("store"):
            return None
        for name in _BESIDE_THE_POINT:
            body.pop(name, None)
        try:
            # Only the outermost names are sorted. The order within a JSON schema is part of what
            # is asked: models are told of properties in that order, and answer in it.
            said = orjson.dumps([_VERSION, scope, endpoint, dict(sorted(body.items()))])
        except orjson.JSONEncodeError:
            return None  # nested deeper than can be written
        name = hmac.new(self._secret, b"one_api.cache\n" + said, hashlib.sha256).hexdigest()
        limit = request.completion_limit if isinstance(request, ChatCompletionRequest) else None
        return CacheSlot(f"cache:{name}", has_limit=limit is not None)

    async def get(self, slot: CacheSlot) -> CachedReply | None:
        """The reply that is kept in `slot`."""
        try:
            value = await self._store.get(slot.name)
        except StorageUnavailable as exc:
            logger.info("the cache cannot be read: %s", exc)
            return None
        return CachedReply.from_bytes(value) if value else None

    async def put(self, slot: CacheSlot, reply: CachedReply) -> bool:
        """Keep `reply`; False when it is not complete, too large, or cannot be told again.

        Only replies whose usage the provider told should be given here: what is estimated once
        would be told again and again.
        """
        entry = reply.to_bytes()
        is_small = len(entry) <= self.max_entry_bytes
        if not is_small or not is_keepable(reply.body, has_limit=slot.has_limit):
            return False
        try:
            return await self._store.put(slot.name, entry, self._ttl_s)
        except StorageUnavailable as exc:
            logger.info("the cache cannot be written: %s", exc)
            return False


class Flights:
    """Lets identical requests that are under way in this process share one answer.

    Followers wait `wait_s` seconds at most. Belongs to one event loop.
    """

    def __init__(self, *, wait_s: float) -> None:
        self._wait_s = wait_s
        self._landings: dict[str, asyncio.Future[CachedReply | None]] = {}

    def __len__(self) -> int:
        """How many requests others may be waiting for."""
        return len(self._landings)

    def join(self, slot: CacheSlot) -> Flight:
        """Lead if nobody else asks for what `slot` is for, else follow whoever does."""
        landing = self._landings.get(slot.name)
        if landing is not None:
            return Flight(landing, self._wait_s)
        landing = self._landings[slot.name] = asyncio.get_running_loop().create_future()
        landing.add_done_callback(lambda _: self._landings.pop(slot.name))
        return Flight(landing, self._wait_s, is_leader=True)


class Flight:
    """One of the identical requests: the first leads, the others follow.

    The leader calls `land` with its reply, however late, and `close` when all is over, in any
    case; `with` does the latter. Followers call `wait`.
    """

    def __init__(
        self,
        landing: asyncio.Future[CachedReply | None],
        wait_s: float,
        *,
        is_leader: bool = False,
    ) -> None:
        self._landing = landing
        self._wait_s = wait_s
        self.is_leader = is_leader

    def land(self, reply: CachedReply | None) -> None:
        """Give all followers the leader's reply, or none; the first call counts."""
        if self.is_leader and not self._landing.done():
            self._landing.set_result(reply)

    def close(self) -> None:
        """Without a reply until now there will be none: followers ask for themselves."""
        self.land(None)

    async def wait(self) -> CachedReply | None:
        """The leader's reply; None when it has none or takes too long: ask for yourself then."""
        await asyncio.wait((self._landing,), timeout=self._wait_s)
        return self._landing.result() if self._landing.done() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
