"""One reply in the making, whichever kind of events the adapter yields."""

from __future__ import annotations

import orjson

from one_api.converter import ChunkWriter, CompletionFold, ReplyForm, usage_to_wire
from one_api.errors import UpstreamDisconnected
from one_api.events import CONTENT_EVENTS, Event, Relay, Usage
from one_api.relay import StreamRelay, relay_body
from one_api.schemas import JsonObject


class ReplyStream:
    """Turns events into the bytes of a server-sent stream.

    Call `take` for each event, then `close` once. `is_committed` becomes true with the first
    content: from then on errors are told inside the stream.
    """

    def __init__(self, form: ReplyForm, *, choices: int = 1) -> None:
        self._form = form
        self._choices = choices
        self._writer: ChunkWriter | None = None
        self._relay: StreamRelay | None = None
        self._is_closed = False
        self.is_committed = False

    def take(self, event: Event) -> bytes:
        """What `event` adds to the stream; maybe nothing.

        Raises: the provider's error when a relayed stream tells one.
        """
        if isinstance(event, Relay):
            if self._relay is None:
                self._relay = StreamRelay(self._form, choices=self._choices)
            out = self._relay.feed(event.data)
            self.is_committed = self._relay.is_committed
            return out
        if self._writer is None:
            self._writer = ChunkWriter(self._form)
        if isinstance(event, CONTENT_EVENTS):
            self.is_committed = True
        return self._writer.write(event)

    def close(self) -> bytes:
        """The end of the stream; nothing when it was given before.

        Raises: UpstreamDisconnected, UpstreamInvalidResponse when the reply was not complete.
        """
        if self._is_closed:
            return b""
        self._is_closed = True
        source = self._relay or self._writer
        if source is None:
            raise UpstreamDisconnected("The provider's reply ended before it began.")
        return source.close()

    @property
    def is_done(self) -> bool:
        """Whether the provider said that nothing more will come."""
        return self._relay is not None and self._relay.is_done

    @property
    def usage(self) -> Usage | None:
        """The usage told so far; set it before `close` where the provider told none."""
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
    def relayed_frames(self) -> int:
        """How many pieces with content were relayed: about as many tokens."""
        return self._relay.content_frames if self._relay else 0


def texts_of(reply: JsonObject) -> list[str]:
    """What the model wrote in a complete reply, in pieces."""
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
    """A complete reply's body with `usage` in it."""
    return orjson.dumps({**reply, "usage": usage_to_wire(usage)})


class ReplyBody:
    """Turns events into the bytes of one complete reply; `take` each, then `close` once."""

    def __init__(self, form: ReplyForm) -> None:
        self._form = form
        self._fold: CompletionFold | None = None
        self._relayed = bytearray()
        self.usage: Usage | None = None

    def take(self, event: Event) -> None:
        """Take one more event in."""
        if isinstance(event, Relay):
            self._relayed += event.data
            return
        if self._fold is None:
            self._fold = CompletionFold(self._form)
        self._fold.write(event)

    def close(self) -> bytes:
        """The JSON body.

        Raises: the provider's error when the body tells one; UpstreamDisconnected,
        UpstreamInvalidResponse when the reply is not complete.
        """
        if self._fold is None:
            body, self.usage = relay_body(bytes(self._relayed), self._form)
            return body
        reply = self._fold.close()
        self.usage = self._fold.usage
        return orjson.dumps(reply)
