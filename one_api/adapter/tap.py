"""The short way of bytes that are passed on: from the connection to whoever sends them.

A model tells a token at a time, so that nearly every read from a provider holds one event. On its
way to the client each would pass the generators of the exchange, of the adapter and of whoever
asks it, to be handed on unchanged. Where none of them looks at it, it may be taken from the tap
instead; what is not more of the same is left to the generators, which wait where they were.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, Protocol

from typing_extensions import override

from one_api.events import Event


class Tap(Protocol):
    """The body of a reply, for whoever has the latest piece of it from its generators."""

    def news(self) -> Future[bool] | None:
        """True once there is something to `take`; to be awaited at once.

        None or False where there is nothing: the generators know what that means. They go on from
        where the tap was left, also when the wait was cancelled.
        """

    def take(self) -> bytes:
        """What has come, which the generators will not give any more."""


class TappedReply(ABC):
    """A `WireReply` whose body has a tap as well."""

    __slots__ = ()

    @property
    @abstractmethod
    def tap(self) -> Tap | None:
        """Where more of the `chunks` that were asked for may be had; None: nowhere."""


class TappedEvents(AsyncGenerator[Event, None]):
    """`events`, whose bytes may be had from the tap of what they put into `sources`.

    That is what each of them comes from unchanged, one for one. Whoever wraps them in a generator
    has all of them pass there: that has no tap.
    """

    __slots__ = ("_events", "_sources")

    def __init__(
        self, events: AsyncGenerator[Event, None], sources: Sequence[TappedEvents | TappedReply]
    ) -> None:
        self._events = events
        self._sources = sources

    @property
    def tap(self) -> Tap | None:
        """Where the bytes of `Relay` events after the latest one may be had; None: nowhere."""
        return self._sources[0].tap if self._sources else None

    @override
    def __anext__(self) -> Coroutine[Any, Any, Event]:
        return self._events.__anext__()

    @override
    def asend(self, value: None) -> Coroutine[Any, Any, Event]:
        return self._events.asend(value)

    @override
    def athrow(self, *error: Any) -> Coroutine[Any, Any, Event]:
        return self._events.athrow(*error)

    @override
    def aclose(self) -> Coroutine[Any, Any, None]:
        return self._events.aclose()
