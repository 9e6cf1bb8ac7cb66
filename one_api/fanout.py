"""Several replies as the choices of one, for providers that give one choice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import fields, replace

from one_api.errors import GatewayError, UpstreamInvalidResponse
from one_api.events import Event, KeepAlive, Relay, Start, Usage, UsageReport

#: Most replies asked for at once.
MAX_REPLIES = 8
#: Events that wait to be taken; a slow client slows the providers down.
_QUEUE_EVENTS = 64

_Queue = asyncio.Queue[Event | GatewayError | None]


async def fan_out(sources: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
    """The events of `sources`, run at the same time, each as the choice of its place.

    Each source runs in a task of its own and is closed there; it raises nothing but GatewayErrors.
    Usage is summed: that is what the provider charges for. The first error ends all.
    """
    queue: _Queue = asyncio.Queue(_QUEUE_EVENTS)
    usages: dict[int, Usage] = {}
    tasks = [
        asyncio.create_task(_pump(choice, source, queue, usages))
        for choice, source in enumerate(sources)
    ]
    try:
        running = len(tasks)
        while running:
            item = await queue.get()
            if item is None:
                running -= 1
            elif isinstance(item, GatewayError):
                raise item
            else:
                yield item
        if usages:
            yield UsageReport(sum_usage(list(usages.values())))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    choice: int, source: AsyncGenerator[Event, None], queue: _Queue, usages: dict[int, Usage]
) -> None:
    """Put one source's events into `queue`, then its error or None."""
    try:
        async with aclosing(source):
            async for event in source:
                if isinstance(event, UsageReport):
                    usages[choice] = event.usage
                elif not isinstance(event, Start) or choice == 0:
                    await queue.put(_as_choice(event, choice))
    except GatewayError as exc:
        await queue.put(exc)
    else:
        await queue.put(None)


def _as_choice(event: Event, choice: int) -> Event:
    if isinstance(event, Start | KeepAlive | UsageReport):
        return event
    if isinstance(event, Relay) or not hasattr(event, "choice"):
        raise UpstreamInvalidResponse("The adapter yielded what is no event of one choice.")
    return replace(event, choice=choice)


def sum_usage(usages: Sequence[Usage]) -> Usage:
    """`usages` added up; estimated if one of them is."""
    counts = [field.name for field in fields(Usage) if field.name != "estimated"]
    total = {name: sum(getattr(usage, name) for usage in usages) for name in counts}
    return Usage(**total, estimated=any(usage.estimated for usage in usages))
