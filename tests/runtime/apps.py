"""Applications for the runtimes to serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import flask
import orjson
from typing_extensions import override

from one_api.errors import GatewayError
from one_api.runtime import Drain, GatewayFlask, Services, StreamingResponse
from one_api.runtime.asgi import REJECTED


class RecordedServices(Services):
    """Notes each start and stop, and the loop it ran on."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.events: list[str] = []
        self.loops: list[asyncio.AbstractEventLoop] = []

    @override
    async def start(self) -> None:
        self.events.append("start")
        self.loops.append(asyncio.get_running_loop())
        if self.failure is not None:
            raise self.failure

    @override
    async def stop(self) -> None:
        self.events.append("stop")
        self.loops.append(asyncio.get_running_loop())


class Source:
    """A generator of pieces that the test feeds, and that tells how it ended."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.endings: list[str] = []
        self.waiting = asyncio.Event()

    def give(self, *pieces: bytes | Exception | None) -> None:
        """Let these come next; None ends, an exception is raised."""
        for piece in pieces:
            self._pieces.put_nowait(piece)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The pieces."""
        try:
            while True:
                self.waiting.set()
                piece = await self._pieces.get()
                if piece is None:
                    self.endings.append("ended")
                    return
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        except BaseException as exc:
            self.endings.append(type(exc).__name__)
            raise


def new_app(services: Services | None = None, *, drain_s: float = 30.0) -> GatewayFlask:
    """An application without routes that tells errors as the gateway does."""
    app = GatewayFlask(__name__, services=services or RecordedServices(), drain=Drain(drain_s))

    @app.before_request
    def refuse() -> None:
        rejected = flask.request.environ.get(REJECTED)
        if rejected is not None:
            raise rejected

    @app.errorhandler(GatewayError)
    def tell(error: GatewayError) -> flask.Response:
        body = orjson.dumps(error.to_wire())
        return flask.Response(body, error.status, content_type="application/json")

    return app


def add_stream(
    app: GatewayFlask, chunks: Callable[[], AsyncGenerator[bytes, None]], **options: Any
) -> None:
    """Serve `chunks` at `/stream`."""

    @app.route("/stream", methods=["GET", "POST"])
    async def stream() -> flask.Response:
        await asyncio.sleep(0)
        return StreamingResponse(chunks(), content_type="text/event-stream", **options)
