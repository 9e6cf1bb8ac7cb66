"""OpenAI's Responses as a dialect: streams of named events, and complete responses."""

from __future__ import annotations

import orjson
from typing_extensions import override

from one_api.converter.dialect import Dialect, Fold, StreamWriter
from one_api.converter.form import PING, ReplyForm
from one_api.converter.responses.builder import ResponseBuilder, error_event
from one_api.converter.responses.envelope import Envelope
from one_api.errors import GatewayError
from one_api.events import Event, KeepAlive, Usage
from one_api.schemas import JsonObject


class ResponseWriter:
    """Maps events to the bytes of a response stream: numbered from 0, without `[DONE]`."""

    def __init__(self, form: ReplyForm, envelope: Envelope) -> None:
        self._builder = ResponseBuilder(form, envelope)
        self._number = 0

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""
        return self._builder.usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._builder.usage = usage

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return self._builder.texts

    def write(self, event: Event) -> bytes:
        """What `event` adds to the stream; maybe nothing.

        Raises: UpstreamInvalidResponse for an event out of contract.
        """
        if isinstance(event, KeepAlive):
            return PING
        self._builder.take(event)
        return self._frames()

    def close(self) -> bytes:
        """The end of the stream.

        Raises: UpstreamDisconnected when the provider did not finish.
        """
        self._builder.close()
        return self._frames()

    def fail(self, error: GatewayError) -> bytes:
        """The end of a stream that fails."""
        self._builder.fail(error)
        return self._frames()

    def _frames(self) -> bytes:
        out = b""
        for event in self._builder.told:
            out += named_frame({**event, "sequence_number": self._number})
            self._number += 1
        self._builder.told.clear()
        return out


class ResponseFold:
    """Folds events into one complete response."""

    def __init__(self, form: ReplyForm, envelope: Envelope) -> None:
        self._builder = ResponseBuilder(form, envelope)

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""
        return self._builder.usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._builder.usage = usage

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return self._builder.texts

    def write(self, event: Event) -> None:
        """Take one more event in.

        Raises: UpstreamInvalidResponse for an event out of contract.
        """
        self._builder.take(event)
        self._builder.told.clear()  # Nobody is told on the way.

    def close(self) -> JsonObject:
        """The complete response.

        Raises: UpstreamDisconnected when the provider did not finish.
        """
        return self._builder.close()


class ResponsesDialect(Dialect):
    """OpenAI's Responses, for one request."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._writer: ResponseWriter | None = None

    @property
    @override
    def relays(self) -> bool:
        return False

    @override
    def stream_writer(self, form: ReplyForm) -> StreamWriter:
        self._writer = ResponseWriter(form, self._envelope)
        return self._writer

    @override
    def fold(self, form: ReplyForm) -> Fold:
        return ResponseFold(form, self._envelope)

    @override
    def error_frame(self, error: GatewayError) -> bytes:
        if self._writer is None:
            return named_frame({**error_event(error), "sequence_number": 0})
        return self._writer.fail(error)


def named_frame(event: JsonObject) -> bytes:
    """`event` as a server-sent event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))
