"""The wait for the end of a reply that has told everything but that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from one_api.errors import UpstreamDisconnected, UpstreamTimeout
from one_api.events import Event, Usage

#: How long a finished reply may take to say that it is over, and to tell its usage, in seconds.
_END_S, _USAGE_S = 0.25, 2.0


class Ending(Protocol):
    """A reply being read, which may have no more to say."""

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""

    def has_finished(self, choices: int) -> bool:
        """Whether all `choices` choices have told why they ended."""


async def next_event(
    events: AsyncGenerator[Event, None], reply: Ending | None, choices: int
) -> Event | None:
    """The next event; None at the end, or when a finished reply owes nothing but its `[DONE]`.

    Some providers never send it and keep the connection open. Each wait is bounded on its own: a
    timeout around the caller's loop would end whatever else it waits for.
    Raises: whatever `events` raises before the reply has finished.
    """
    if reply is None or not reply.has_finished(choices):
        return await anext(events, None)
    try:
        async with asyncio.timeout(_END_S if reply.usage else _USAGE_S):
            return await anext(events, None)
    except (TimeoutError, UpstreamDisconnected, UpstreamTimeout):
        return None  # Only `[DONE]` was lost, or the usage, which is then estimated.
