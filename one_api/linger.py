"""The wait for a reply's next event: how long, how it is given up, and what is owed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from typing_extensions import override

from one_api.adapter.tap import TappedEvents
from one_api.deadline import Deadline
from one_api.errors import GatewayError, UpstreamDisconnected, UpstreamTimeout
from one_api.events import Event, KeepAlive, Usage

#: How long a finished reply may take to say that it is over, and to tell its usage, in seconds.
_END_S, _USAGE_S = 0.25, 2.0
#: How long a provider is heard out that nobody listens to, in seconds.
_DRAIN_S = 30.0
#: Most bytes of a stream that are held back.
_MAX_HELD_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBack:
    """How much of a stream is kept from the client, so that an early cut can still be mended.

    Until `tokens` pieces of content have come, or `ms` milliseconds have passed since the first,
    whichever is first; 0 is no bound of its own, and nothing is held where both are 0.
    """

    tokens: int = 0
    ms: int = 0


class Ending(Protocol):
    """A reply being read, which may have no more to say."""

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""

    def has_finished(self, choices: int) -> bool:
        """Whether all `choices` choices have told why they ended."""


class Reply(Protocol):
    """A reply in the making."""

    @property
    def is_done(self) -> bool:
        """Whether the provider said that nothing more will come."""

    @property
    def pieces(self) -> int:
        """How many pieces of content it has."""

    def take(self, event: Event) -> bytes:
        """What `event` adds to it."""


async def next_event(
    events: AsyncGenerator[Event, None],
    reply: Ending | None,
    choices: int,
    deadline: float | None = None,
) -> Event | None:
    """The next event; None at the end, or when a finished reply owes nothing but its `[DONE]`.

    `deadline` is the client's, in the event loop's time.

    Some providers never send it and keep the connection open. Each wait is bounded on its own: a
    timeout around the caller's loop would end whatever else it waits for.
    Raises: whatever `events` raises before the reply has finished; UpstreamTimeout.
    """
    if reply is None or not reply.has_finished(choices):
        if deadline is None:
            return await anext(events, None)
        return await _before(deadline, events)
    try:
        with Deadline(_END_S if reply.usage else _USAGE_S):
            return await anext(events, None)
    except (TimeoutError, UpstreamDisconnected, UpstreamTimeout):
        return None  # Only `[DONE]` was lost, or the usage, which is then estimated.


async def _before(deadline: float, events: AsyncGenerator[Event, None]) -> Event | None:
    timeout = asyncio.timeout_at(deadline)
    try:
        async with timeout:
            return await anext(events, None)
    except TimeoutError as exc:
        if not timeout.expired():
            raise
        raise UpstreamTimeout(
            "The reply did not end within the time that 'x-request-timeout' allows."
        ) from exc


async def hold(
    hold_back: HoldBack, head: bytes, reply: Reply, events: AsyncGenerator[Event, None]
) -> tuple[bytes, AsyncGenerator[Event, None], bool]:
    """`head` and what follows it until enough has come, the events after it, and if they ended.

    Each event is waited for in a task of its own: a wait that is given up must not end the events.
    """
    loop = asyncio.get_running_loop()
    held = bytearray(head)
    ends_at = loop.time() + hold_back.ms / 1000 if hold_back.ms else None
    while not reply.is_done and len(held) < _MAX_HELD_BYTES:
        if hold_back.tokens and reply.pieces >= hold_back.tokens:
            break
        coming = asyncio.ensure_future(anext(events))
        left_s = None if ends_at is None else max(ends_at - loop.time(), 0.0)
        try:
            await asyncio.wait((coming,), timeout=left_s)
        except asyncio.CancelledError:
            await give_up(coming)
            raise
        if not coming.done():
            events = _resumed(coming, events)
            # Begun here: closing a generator that never ran would leave the events open.
            await anext(events)
            break
        try:
            held += reply.take(coming.result())
        except StopAsyncIteration:
            return bytes(held), events, True
    return bytes(held), events, False


async def _resumed(
    coming: asyncio.Future[Event], events: AsyncGenerator[Event, None]
) -> AsyncGenerator[Event, None]:
    """`events`, the next of which is on its way already; before all, a sign of life."""
    async with aclosing(events):
        try:
            yield KeepAlive()
            yield await coming
        except StopAsyncIteration:
            return
        finally:
            await give_up(coming)
        async for event in events:
            yield event


class Outlasting(TappedEvents):
    """`events`, of which a wait that is cancelled is taken up again by the next one."""

    def __init__(self, events: AsyncGenerator[Event, None]) -> None:
        super().__init__(events, (events,) if isinstance(events, TappedEvents) else ())
        self._coming: asyncio.Future[Event] | None = None

    @override
    async def __anext__(self) -> Event:
        # In a task of its own: a generator that is cancelled has ended.
        if self._coming is None:
            self._coming = asyncio.ensure_future(anext(self._given))
        await asyncio.wait((self._coming,))
        coming, self._coming = self._coming, None
        return coming.result()

    @override
    async def asend(self, value: None) -> Event:
        return await self.__anext__()

    @override
    async def aclose(self) -> None:
        if self._coming is not None:
            await give_up(self._coming)
        await self._given.aclose()


async def give_up(coming: asyncio.Future[Event]) -> None:
    """End the wait for an event, so that the generator it comes from can be closed."""
    if not coming.done():
        coming.cancel()
        await asyncio.wait((coming,))


async def finish_body(events: AsyncGenerator[Event, None]) -> None:
    """Read the end of an upstream's body after its `[DONE]`: the connection can be used again."""
    try:
        with Deadline(_END_S):
            async for _ in events:
                pass
    except (TimeoutError, GatewayError):
        pass  # The answer is complete; only the connection is not kept.


async def hear_out(reply: Reply, events: AsyncGenerator[Event, None]) -> None:
    """Hear a provider out for its usage, though nobody listens any more; closes `events`."""
    try:
        async with asyncio.timeout(_DRAIN_S), aclosing(events):
            async for event in events:
                reply.take(event)
                if reply.is_done:
                    break
    except (TimeoutError, GatewayError):
        pass  # What came until then is charged for.
