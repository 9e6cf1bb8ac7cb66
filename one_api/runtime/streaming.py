"""Responses whose body is an async generator, for either runtime."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import flask
from typing_extensions import override

if TYPE_CHECKING:
    from one_api.runtime.loop_thread import Conversation

#: Key in the WSGI environment under which the ASGI bridge offers to open a response early.
OPENER = "one_api.runtime.opener"
#: What stands before an error's body where it is told inside a stream.
ERROR_PREFIX = b"data: "


class StreamingResponse(flask.Response):
    """A response that is sent piece by piece, as `chunks` gives them.

    Whoever sends it closes `chunks`, however the response ends. `keep_alive` is sent whenever
    nothing was sent for `keep_alive_s` seconds; `cut_off` is the last piece when the server has to
    stop before the stream ends.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None] | None,
        *,
        content_type: str,
        keep_alive: bytes = b"",
        keep_alive_s: float = 15.0,
        cut_off: bytes = b"",
    ) -> None:
        super().__init__(None, content_type=content_type)
        self.headers.pop("Content-Length", None)
        self.chunks = chunks
        self.keep_alive = keep_alive
        self.keep_alive_s = keep_alive_s
        self.cut_off = cut_off
        #: What stands before an error's body where it is told inside this stream.
        self.error_prefix = ERROR_PREFIX
        #: The WSGI request's place on the loop thread; None on ASGI.
        self.conversation: Conversation | None = None

    @override
    def iter_encoded(self) -> Iterator[bytes]:
        """The body for a WSGI server, pulled through the loop thread."""
        if self.chunks is None or self.conversation is None:
            return
        pieces = self.conversation.pull(self.chunks, self.keep_alive, self.keep_alive_s)
        try:
            yield from pieces
        finally:
            pieces.close()

    @override
    def close(self) -> None:
        """Give back what no WSGI server pulled."""
        super().close()
        if self.conversation is not None and self.chunks is not None:
            self.conversation.leave(self.chunks)

    @property
    @override
    def is_sequence(self) -> bool:
        # Keeps werkzeug from reading the stream to measure it.
        return False


class Opener(Protocol):
    """Starts a response before its view has returned."""

    def open_after(self, delay_s: float, response: StreamingResponse) -> None:
        """Send the head of `response` and keep-alives unless the view returns within `delay_s`."""


def open_early(environ: dict[str, Any], delay_s: float, response: StreamingResponse) -> None:
    """Let the client know after `delay_s` seconds that its stream is coming.

    Proxies cut a connection that is silent for long. Once opened, an error is told inside the
    stream. `response` has the head to send and no chunks. Does nothing on WSGI, where a response
    begins when its view returns.
    """
    opener: Opener | None = environ.get(OPENER)
    if opener is not None:
        opener.open_after(delay_s, response)
