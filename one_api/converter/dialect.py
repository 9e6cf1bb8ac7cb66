"""The formats in which clients are answered: what each must bring along.

A dialect is a pair of renderers of the same events, one for streams and one for complete replies,
and a way to tell an error inside a stream. Parsing the dialect's requests into a
`ChatCompletionRequest` is the business of its route.
"""

from __future__ import annotations

from typing import Final, Protocol

from typing_extensions import override

from one_api.converter.chunks import ChunkWriter
from one_api.converter.fold import CompletionFold
from one_api.converter.form import ReplyForm, error_frame
from one_api.errors import GatewayError
from one_api.events import Event, Usage
from one_api.schemas import JsonObject


class StreamWriter(Protocol):
    """Maps events to the bytes of a stream: `write` each, then `close` once.

    `usage` is what the provider told so far; it may be set before `close` where it told none.
    """

    usage: Usage | None

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""

    def write(self, event: Event) -> bytes:
        """What `event` adds to the stream; maybe nothing."""

    def close(self) -> bytes:
        """The end of the stream.

        Raises: UpstreamDisconnected when a choice was not finished.
        """


class Fold(Protocol):
    """Folds events into one complete reply: `write` each, then `close` once.

    `usage` as in `StreamWriter`.
    """

    usage: Usage | None

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""

    def write(self, event: Event) -> None:
        """Take one more event in."""

    def close(self) -> JsonObject:
        """The complete reply.

        Raises: UpstreamDisconnected when a choice was not finished.
        """


class Dialect(Protocol):
    """One format of replies; made anew for each request, whose particulars it may hold."""

    @property
    def relays(self) -> bool:
        """Whether a reply in OpenAI's chat format may be passed on as it is."""

    def stream_writer(self, form: ReplyForm) -> StreamWriter:
        """A renderer for a stream."""

    def fold(self, form: ReplyForm) -> Fold:
        """A renderer for a complete reply."""

    def error_frame(self, error: GatewayError) -> bytes:
        """The event that tells of `error` inside a stream; nothing follows it."""


class ChatDialect(Dialect):
    """OpenAI's Chat Completions."""

    @property
    @override
    def relays(self) -> bool:
        return True

    @override
    def stream_writer(self, form: ReplyForm) -> StreamWriter:
        return ChunkWriter(form)

    @override
    def fold(self, form: ReplyForm) -> Fold:
        return CompletionFold(form)

    @override
    def error_frame(self, error: GatewayError) -> bytes:
        return error_frame(error)


CHAT: Final = ChatDialect()
