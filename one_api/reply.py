"""One reply in the making, whichever kind of events the adapter yields."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from one_api.adapter.http import MAX_REPLY_BYTES
from one_api.converter import CHAT, Dialect, Fold, ReplyForm, StreamWriter, usage_to_wire
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import CONTENT_EVENTS, Event, Relay, Usage
from one_api.relay import ChunkReader, StreamRelay, read_body, relay_body
from one_api.schemas import JsonObject

_MIXED = "The adapter yielded both relayed bytes and events of its own."


class ReplyStream:
    """Turns events into the bytes of a server-sent stream.

    Call `take` for each event, then `close` once. `is_committed` becomes true with the first
    content: from then on errors are told inside the stream. `is_closed` says that its end was
    given.
    """

    def __init__(self, form: ReplyForm, *, dialect: Dialect = CHAT) -> None:
        self._form = form
        self._dialect = dialect
        self._writer: StreamWriter | None = None
        self._relay: StreamRelay | None = None
        self._reader: ChunkReader | None = None
        self.is_closed = False
        self.is_committed = False
        #: Whether the provider speaks OpenAI's format, in which a reply says itself that it ends.
        self.is_relayed = False

    def take(self, event: Event) -> bytes:
        """What `event` adds to the stream; maybe nothing.

        Raises: the provider's error when a relayed stream tells one; UpstreamInvalidResponse.
        """
        if not isinstance(event, Relay):
            if self.is_relayed:
                raise UpstreamInvalidResponse(_MIXED)
            return self._write(event)
        if self._writer is not None and self._reader is None:
            raise UpstreamInvalidResponse(_MIXED)
        self.is_relayed = True
        if not self._dialect.relays:
            if self._reader is None:
                self._reader = ChunkReader(self._form)
                self._writer = self._dialect.stream_writer(self._form)
            return b"".join(map(self._write, self._reader.feed(event.data)))
        if self._relay is None:
            self._relay = StreamRelay(self._form)
        out = self._relay.feed(event.data)
        self.is_committed = self._relay.is_committed
        return out

    @property
    def relay(self) -> StreamRelay | _Translation | None:
        """What takes the bytes of a committed reply, as `take` does relayed events."""
        if self._reader is not None:
            return _Translation(self._reader, self._write)
        return self._relay

    def _write(self, event: Event) -> bytes:
        if self._writer is None:
            self._writer = self._dialect.stream_writer(self._form)
        if not self.is_committed:
            self.is_committed = isinstance(event, CONTENT_EVENTS)
        return self._writer.write(event)

    def close(self) -> bytes:
        """The end of the stream; nothing when it was given before.

        Raises: UpstreamDisconnected, UpstreamInvalidResponse when the reply was not complete.
        """
        if self.is_closed:
            return b""
        self.is_closed = True
        if self._relay is not None:
            return self._relay.close()
        if self._writer is None:
            raise UpstreamDisconnected("The provider's reply ended before it began.")
        owed = b"".join(map(self._write, self._reader.close())) if self._reader else b""
        return owed + self._writer.close()

    @property
    def is_done(self) -> bool:
        """Whether the provider said that nothing more will come."""
        source = self._relay or self._reader
        return source is not None and source.is_done

    def has_finished(self, choices: int) -> bool:
        """Whether all choices have a finish reason; told of relayed replies only."""
        source = self._relay or self._reader
        return source is not None and source.has_finished(choices)

    @property
    def malformed(self) -> int:
        """How many frames of the provider were no chunks, and were left out."""
        source = self._relay or self._reader
        return source.malformed if source else 0

    @property
    def usage(self) -> Usage | None:
        """The usage told so far; set it before `close` where the provider told none."""
        if self._reader is not None and self._reader.usage is not None:
            return self._reader.usage
        source = self._relay or self._writer
        return source.usage if source else None

    @usage.setter
    def usage(self, usage: Usage) -> None:
        source = self._relay or self._writer
        if source is not None:
            source.usage = usage

    @property
    def texts(self) -> list[str]:
        """What the model wrote so far, in pieces; of a relayed stream nothing is kept."""
        return self._writer.texts if self._writer else []

    @property
    def pieces(self) -> int:
        """How many pieces of content came so far: about as many tokens."""
        return self.relayed_frames + len(self.texts)

    @property
    def relayed_frames(self) -> int:
        """How many pieces with content were relayed: about as many tokens."""
        return self._relay.content_frames if self._relay else 0


class _Translation:
    """A relayed stream in another format; `write` gives the bytes of an event."""

    def __init__(self, reader: ChunkReader, write: Callable[[Event], bytes]) -> None:
        self._reader = reader
        self._write = write

    @property
    def is_ending(self) -> bool:
        """Whether a choice has finished, or all is said."""
        return self._reader.is_ending

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the stream."""
        return b"".join(map(self._write, self._reader.feed(data)))


def texts_of(reply: JsonObject) -> list[str]:
    """What the model wrote in a complete reply in OpenAI's format, in pieces."""
    texts = []
    for choice in reply["choices"]:
        message = choice["message"]
        texts += [message.get(key) or "" for key in ("content", "refusal", "reasoning_content")]
        for call in message.get("tool_calls") or ():
            function = call.get("function")
            if isinstance(function, dict):
                texts += [function.get("name") or "", function.get("arguments") or ""]
    return [text for text in texts if isinstance(text, str)]


def with_usage(reply: JsonObject, usage: Usage) -> bytes:
    """The body of a complete reply in OpenAI's format, with `usage` in it."""
    return orjson.dumps({**reply, "usage": usage_to_wire(usage)})


class ReplyBody:
    """Turns events into the bytes of one complete reply.

    Call `take` for each event, `end` when there are no more, then `close` once.
    """

    def __init__(self, form: ReplyForm, *, dialect: Dialect = CHAT) -> None:
        self._form = form
        self._dialect = dialect
        self._fold: Fold | None = None
        self._relayed = bytearray()
        self._body: bytes | None = None
        self.usage: Usage | None = None

    def take(self, event: Event) -> None:
        """Take one more event in.

        Raises: UpstreamInvalidResponse for an event out of contract.
        """
        if isinstance(event, Relay):
            self._relayed += event.data
            if len(self._relayed) > MAX_REPLY_BYTES:
                raise UpstreamInvalidResponse("The provider's reply is too large.")
        else:
            self._write(event)
        if self._relayed and self._fold is not None:
            raise UpstreamInvalidResponse(_MIXED)

    def _write(self, event: Event) -> None:
        if self._fold is None:
            self._fold = self._dialect.fold(self._form)
        self._fold.write(event)

    def end(self) -> None:
        """There are no more events: from now on `usage` and `texts` are known.

        Raises: the provider's error when the body tells one; UpstreamInvalidResponse.
        """
        if self._fold is None and self._dialect.relays:
            self._body, self.usage = relay_body(bytes(self._relayed), self._form)
            return
        if self._fold is None:
            for event in read_body(bytes(self._relayed), self._form):
                self._write(event)
        if self._fold is not None:
            self.usage = self._fold.usage

    @property
    def texts(self) -> list[str]:
        """What the model wrote, in pieces."""
        if self._fold is not None:
            return self._fold.texts
        return texts_of(orjson.loads(self._body or b"{}"))

    def close(self, estimated: Usage | None = None) -> bytes:
        """The JSON body; `estimated` is told where the provider told no usage.

        Raises: UpstreamDisconnected when the reply is not complete.
        """
        if self._fold is not None:
            self._fold.usage = self.usage or estimated
            return orjson.dumps(self._fold.close())
        body = self._body or b""
        if self.usage is None and estimated is not None:
            return with_usage(orjson.loads(body), estimated)
        return body
