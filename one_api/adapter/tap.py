"""The short way of bytes that are passed on: from the connection to whoever sends them.

A model tells a token at a time, so that nearly every read from a provider holds one event. On its
way to the client each would pass the generators of the exchange, of the adapter and of whoever
asks it, to be handed on unchanged. Where none of them looks at it, it may be taken from the tap
instead, or poured from there into the client's connection, without waking anybody; what is not more
of the same is left to the generators, which wait where they were.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import Future
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from typing_extensions import override

from one_api.events import Event

T = TypeVar("T")

#: Takes what has come, at once; whether there may be more. It never raises.
Pour: TypeAlias = Callable[[bytes], bool]


class Tap(Protocol):
    """The body of a reply, for whoever has the latest piece of it from its generators."""

    def news(self, pour: Pour | None = None) -> Future[bool] | None:
        """True once there is something to `take`; to be awaited at once.

        None or False where there is nothing: the generators know what that means. They go on from
        where the tap was left, also when the wait was cancelled. What comes during the wait is
        given to `pour` as long as that takes more, and is then no news.
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


class _Passed(AsyncGenerator[T, None]):
    """What another generator gives; a step of it is a step of that, without a frame between."""

    __slots__ = ("_given",)

    def __init__(self, given: AsyncGenerator[T, None]) -> None:
        self._given = given

    @override
    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._given.__anext__()

    @override
    def asend(self, value: None) -> Coroutine[Any, Any, T]:
        return self._given.asend(value)

    @override
    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        return self._given.athrow(*error)

    @override
    def aclose(self) -> Coroutine[Any, Any, None]:
        return self._given.aclose()


class TappedEvents(_Passed[Event]):
    """`events`, whose bytes may be had from the tap of what they put into `sources`.

    That is what each of them comes from unchanged, one for one. Whoever wraps them in a generator
    has all of them pass there: that has no tap.
    """

    __slots__ = ("_sources",)

    def __init__(
        self, events: AsyncGenerator[Event, None], sources: Sequence[TappedEvents | TappedReply]
    ) -> None:
        super().__init__(events)
        self._sources = sources

    @property
    def tap(self) -> Tap | None:
        """Where the bytes of `Relay` events after the latest one may be had; None: nowhere."""
        return self._sources[0].tap if self._sources else None


class Outlet:
    """Where chunks may leave at once.

    `send`, where there is one, returns False for what it cannot send now: that is to be given to
    whoever asks for chunks. It takes none before the first chunk was sent, and none that is empty.
    """

    __slots__ = ("send",)

    def __init__(self) -> None:
        self.send: Pour | None = None


class Relaying(Protocol):
    """Makes chunks of what a tap gives."""

    @property
    def is_ending(self) -> bool:
        """Whether a choice has finished, so that what follows is another matter."""

    def feed(self, data: bytes) -> bytes:
        """What `data` lets us send on. Raises: the provider's error where it tells one."""


class Flow:
    """What comes from a tap, relayed and sent in the callback that it came in.

    An event that comes alone took 490 opcodes when it woke the task that sends chunks; now 280.
    """

    __slots__ = ("_error", "_left", "_note", "_relay", "_send")

    def __init__(self, relay: Relaying, note: Callable[[], None], send: Pour | None) -> None:
        self._relay = relay
        self._note = note
        self._send = send
        self._left = b""
        self._error: Exception | None = None

    def pour(self, data: bytes) -> bool:
        """See `Pour`: what `data` comes to is `left` where it cannot be sent, or ends the reply."""
        relay = self._relay
        try:
            data = relay.feed(data)
            if relay.is_ending or self._send is None or (data and not self._send(data)):
                self._left = data
                return False
        except Exception as exc:  # noqa: BLE001 - raised where the stream is told
            self._error = exc
            return False
        if data:
            self._note()
        return True

    def left(self) -> bytes:
        """What was not sent, once. Raises: whatever `pour` met."""
        if self._error is not None:
            raise self._error
        left, self._left = self._left, b""
        return left


class PouredChunks(_Passed[bytes]):
    """`chunks`, which send what they can through `outlet`, and give the rest.

    Whoever asks for them may tell the outlet how to send before that. Whoever wraps them in a
    generator has all of them pass there.
    """

    __slots__ = ("outlet",)

    def __init__(self, chunks: AsyncGenerator[bytes, None], outlet: Outlet) -> None:
        super().__init__(chunks)
        self.outlet = outlet
