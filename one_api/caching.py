"""Replies that were given before, given again: as a whole, as a stream, and in any dialect."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from one_api.delivery import Answer, CompleteReply, StreamedReply
from one_api.events import UsageReport
from one_api.policy.cache import CachedReply, CacheSlot, Flight, Flights, ReplyCache, ReplyRecording
from one_api.reply import ReplyBody, ReplyStream

if TYPE_CHECKING:
    from one_api.converter import Dialect, ReplyForm
    from one_api.events import Event
    from one_api.failover import RequestContext
    from one_api.schemas.chat import ChatCompletionRequest

#: The header that tells whether a reply was given before.
CACHE_HEADER = "x-one-api-cache"
_ENDPOINT = "chat"
#: How long identical requests wait for the first of them, in seconds.
_SHARE_WAIT_S = 60.0


class Caching:
    """The cache as the gateway uses it; with `shares_in_flight`, identical requests ask once."""

    def __init__(self, cache: ReplyCache, *, shares_in_flight: bool) -> None:
        self._cache = cache
        self._flights = Flights(wait_s=_SHARE_WAIT_S) if shares_in_flight else None

    def recall(self, request: ChatCompletionRequest, context: RequestContext) -> Recall | None:
        """What is to be done with the cache for `request`; None where it has no part in it."""
        use = context.cache_use
        if use is not None and not (use.reads or use.writes):
            return None
        scope = context.account.caller.id if context.account is not None else ""
        slot = self._cache.slot(scope, _ENDPOINT, request)
        if slot is None:
            return None
        reads = use is None or use.reads
        flight = self._flights.join(slot) if self._flights is not None and reads else None
        return Recall(self._cache, slot, flight, reads=reads)


class Recall:
    """One request's part in the cache: found there, or put there once it is answered.

    `close` it when nothing comes of the request; others may be waiting for its reply.
    """

    def __init__(
        self, cache: ReplyCache, slot: CacheSlot, flight: Flight | None, *, reads: bool
    ) -> None:
        self._cache = cache
        self._slot = slot
        self._flight = flight
        self._reads = reads

    async def find(self) -> CachedReply | None:
        """The reply that was given before, or just now to the same request of somebody else."""
        found = await self._cache.get(self._slot) if self._reads else None
        if found is not None:
            self.close()
        elif self._flight is not None and not self._flight.is_leader:
            found = await self._flight.wait()
        return found

    async def recorded(self, answer: Answer) -> AsyncGenerator[Event, None]:
        """The events of `answer`, kept for the next one who asks once they have all come."""
        recording = ReplyRecording(
            answer.form,
            is_stream=answer.request.wants_stream,
            max_bytes=self._cache.max_entry_bytes,
        )
        try:
            async with aclosing(answer.events) as events:
                async for event in events:
                    recording.take(event)
                    yield event
            body = recording.close()
            if body is None:
                return
            reply = CachedReply(
                body=body,
                deployment=answer.deployment.name,
                upstream_model=answer.deployment.upstream_model,
                created_ms=time.time_ns() // 1_000_000,
            )
            if await self._cache.put(self._slot, reply) and self._flight is not None:
                self._flight.land(reply)
        finally:
            self.close()

    def close(self) -> None:
        """Nothing more will come of this request."""
        if self._flight is not None:
            self._flight.close()


async def replayed(
    hit: CachedReply,
    request: ChatCompletionRequest,
    form: ReplyForm,
    dialect: Dialect,
    context: RequestContext,
) -> CompleteReply | StreamedReply:
    """`hit` in the form that `request` asks for; it costs nothing."""
    headers = {
        "x-one-api-model": hit.upstream_model,
        "x-one-api-deployment": hit.deployment,
        "x-one-api-attempts": "0",
        CACHE_HEADER: "hit",
    }
    form, account = hit.form(form), context.account
    if account is not None:
        account.exchange.cache = "hit"
        for event in hit.events():
            if isinstance(event, UsageReport):
                account.note_usage(event.usage)
    if request.wants_stream:
        if account is not None:
            account.hand_over()
        chunks = _streamed(hit, ReplyStream(form, dialect=dialect), context)
        # Begun here: a generator that never ran would not close the account.
        await anext(chunks)
        return StreamedReply(chunks=chunks, headers=headers)
    reply = ReplyBody(form, dialect=dialect)
    for event in hit.events():
        reply.take(event)
    reply.end()
    return CompleteReply(body=reply.close(), headers=headers)


async def _streamed(
    hit: CachedReply, reply: ReplyStream, context: RequestContext
) -> AsyncGenerator[bytes, None]:
    try:
        yield b""
        for event in hit.events():
            data = reply.take(event)
            if data:
                yield data
        yield reply.close()
    finally:
        if context.account is not None:
            context.account.close(200)
