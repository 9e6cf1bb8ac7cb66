"""The ASGI side: each Flask dispatch runs in a greenlet on the server's own event loop.

`async def` views await natively: Flask's `async_to_sync` switches to the parent greenlet, which
awaits for them. No thread and no event loop per request.

What the servers leave to the application is done here: a byte limit and a deadline for bodies,
watching for clients that leave (`send` never tells), keep-alives for silent streams, and an
orderly end when the process drains. A body is read before its request is dispatched, unless the
endpoint takes it piece by piece. What may go the short way (`runtime.express`) never sees Flask.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import flask
from greenlet import getcurrent

from one_api.adapter.tap import Pour, PouredChunks
from one_api.errors import ConfigurationError, GatewayError
from one_api.errors import ShuttingDown as ShuttingDownError
from one_api.runtime.application import DispatchGreenlet, GatewayFlask
from one_api.runtime.batches import send_batches
from one_api.runtime.body import (
    BodyLimits,
    ClientLeftError,
    Receive,
    Send,
    declared_length,
    read_body,
)
from one_api.runtime.environ import Scope, environ_headers, environ_of
from one_api.runtime.express import Outgoing, turn_away
from one_api.runtime.streaming import OPENER, StreamingResponse
from one_api.runtime.uploads import UPLOAD, ReceivedUpload

logger = logging.getLogger(__name__)


#: Key in the WSGI environment for an error found before Flask saw the request.
REJECTED = "one_api.runtime.rejected"
#: Key of `extensions` in a scope, of a server that can be given a piece of a stream at once: its
#: "send" says whether it was, as that of an `Outlet` does.
_PASS_ON = "one_api.pass_on"  # noqa: S105 - a name
#: How long a request runs before anybody looks whether its client has left, in seconds.
_WATCH_AFTER_S = 0.02


class ASGIBridge:
    """An ASGI application around a `GatewayFlask`; `on_started` is called once it can serve."""

    def __init__(self, app: GatewayFlask, limits: BodyLimits | None = None) -> None:
        self.app = app
        self.on_started: Callable[[], None] | None = None
        self._limits = limits or BodyLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event of the server."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.app.start()
        except Exception as exc:
            # What the operator can mend is told in a line: a traceback would only bury it.
            is_told = isinstance(exc, ConfigurationError | GatewayError)
            logger.error("the gateway could not start: %s", exc, exc_info=not is_told)
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        loop = asyncio.get_running_loop()
        self.app.drain.listen(loop)
        self.app.reload_on_signal(loop)
        await send({"type": "lifespan.startup.complete"})
        if self.on_started is not None:
            self.on_started()
        await receive()
        await self.app.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        loop = asyncio.get_running_loop()
        if app.started_on is not loop:
            await app.start()
        admission = app.admission
        refusal = admission.refusal(scope["path"])
        if refusal is not None:
            await turn_away(refusal, scope, send)
            return
        admission.in_flight += 1
        try:
            await self._answer(_Exchange(scope, send, app, loop), scope, receive)
        finally:
            admission.in_flight -= 1

    async def _answer(self, exchange: _Exchange, scope: Scope, receive: Receive) -> None:
        express = self.app.express
        inbound = express.take(scope) if express is not None else None
        if express is None or inbound is None:
            await self._answer_through_flask(exchange, scope, receive)
            return
        try:
            inbound.body = await read_body(scope, receive, self._limits)
        except ClientLeftError:
            return
        except GatewayError as exc:
            await self._reject(exc, exchange, scope, receive)
            return
        exchange.watch_soon(receive)
        responding = express.respond(inbound, exchange)
        # The response may last, and what the client sent may be large.
        del inbound
        scope["headers"] = ()
        await exchange.run(responding)

    async def _answer_through_flask(
        self, exchange: _Exchange, scope: Scope, receive: Receive
    ) -> None:
        try:
            headers = environ_headers(scope["headers"])
            upload = self._upload(scope, headers)
            body = b"" if upload is not None else await read_body(scope, receive, self._limits)
        except GatewayError as exc:
            await self._reject(exc, exchange, scope, receive)
            return
        except ClientLeftError:
            return
        environ = environ_of(scope, headers, body)
        environ[OPENER] = exchange
        if upload is not None:
            environ[UPLOAD] = upload
            environ["CONTENT_LENGTH"] = headers.get("CONTENT_LENGTH", "")
            exchange.watch(receive, upload)
        else:
            exchange.watch_soon(receive)
        await exchange.run(exchange.dispatch(environ))

    async def _reject(
        self, error: GatewayError, exchange: _Exchange, scope: Scope, receive: Receive
    ) -> None:
        """Have Flask tell `error`, which was found before it could see the request."""
        try:
            headers = environ_headers(scope["headers"])
        except GatewayError:
            headers = {}
        environ = environ_of(scope, headers, b"")
        environ.update({OPENER: exchange, REJECTED: error})
        await exchange.run(exchange.dispatch(environ))

    def _upload(self, scope: Scope, headers: dict[str, str]) -> ReceivedUpload | None:
        """The body as an upload, where the endpoint takes it piece by piece.

        Raises: RequestTooLarge for one that says it is.
        """
        content_type = headers.get("CONTENT_TYPE", "")
        if not self.app.takes_upload(scope["path"], scope["method"], content_type):
            return None
        if declared_length(scope["headers"]) > self.app.uploads.max_bytes:
            raise self.app.uploads.too_large()
        return ReceivedUpload(self.app.uploads)


class _Exchange:
    """One request and its response."""

    def __init__(
        self, scope: Scope, send: Send, app: GatewayFlask, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._scope = scope
        self._send = send
        self._app = app
        self.loop = loop
        task = asyncio.current_task(loop)
        assert task is not None, "ASGI servers run applications in tasks"  # noqa: S101
        self._task: asyncio.Task[Any] = task
        self._has_client_left = False
        self._is_started = False
        self._is_ended = False
        self._error_prefix = b""
        self._sent_at = 0.0
        self._pass_on: Pour | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._beats: set[asyncio.Task[None]] = set()

    # -- the request

    def watch_soon(self, receive: Receive) -> None:
        """Cancel the request when the client leaves, unless it is answered at once.

        The server remembers who left until it is asked: a task that asks is left to requests that
        take longer than a local cache.
        """
        self._watcher = self.loop.call_later(_WATCH_AFTER_S, self.watch, receive)

    def watch(self, receive: Receive, upload: ReceivedUpload | None = None) -> None:
        """Cancel the request when the client leaves; hand what comes until then to `upload`."""
        self._watcher = self.loop.create_task(self._watch(receive, upload))

    async def _watch(self, receive: Receive, upload: ReceivedUpload | None) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            if upload is not None:
                await upload.put(message)
        if not self._is_ended:
            self._has_client_left = True
            self._task.cancel()

    def _stop_watching(self) -> None:
        # A cancelled task refers to where it was cancelled, and from there to this exchange: one
        # that referred to it as well would stay until garbage is collected, with all it has.
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()

    # -- the response

    async def run(self, responding: Awaitable[Outgoing]) -> None:
        """Send what comes of `responding`, or tell why nothing does."""
        drain = self._app.drain
        drain.enter(self._task)
        try:
            await self._send_response(await responding)
        except asyncio.CancelledError:
            if self._has_client_left:
                self._task.uncancel()
            elif drain.is_cut(self._task):
                self._task.uncancel()
                await self._send_response(Outgoing.of_error(_cut_error()))
            else:
                raise
        finally:
            self._is_ended = True
            self._stop_beating()
            self._stop_watching()
            drain.leave(self._task)

    async def dispatch(self, environ: dict[str, Any]) -> Outgoing:
        """The response of the Flask application."""
        dispatch = DispatchGreenlet(self._app.respond)
        # One context for the dispatch and for what it awaits: `flask.request` works in both.
        dispatch.gr_context = getcurrent().gr_context
        outcome = dispatch.switch(environ)
        while not dispatch.dead:
            try:
                value = await outcome
            except BaseException as exc:  # noqa: BLE001 - raised where the view awaits
                outcome = dispatch.throw(exc)
            else:
                outcome = dispatch.switch(value)
        response: flask.Response = outcome
        return _outgoing(response)

    async def _send_response(self, response: Outgoing) -> None:
        chunks, body = response.chunks, response.body
        if chunks is not None:
            await self._send_stream(response, chunks)
            return
        if self._is_started:
            # The head of a stream is out already: the error is told inside it.
            await self._end(self._error_prefix + body + b"\n\n")
            return
        is_bodyless = self._scope["method"] == "HEAD" or response.status in (204, 304)
        response.headers.append((b"content-length", b"%d" % len(body)))
        await self._start(response)
        await self._end(b"" if is_bodyless else body)

    async def _send_stream(self, response: Outgoing, chunks: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(chunks):
            if self._scope["method"] == "HEAD":
                await self._start(response)
                await self._end(b"")
                return
            try:
                if self._is_started:
                    response.headers.clear()
                    await self._settle()
                else:
                    await self._start(response)
                self._beat_every(response)
                if isinstance(chunks, PouredChunks):
                    self._pour(chunks)
                last = await send_batches(chunks, self._send_piece)
            except asyncio.CancelledError:
                if self._has_client_left or not self._app.drain.is_cut(self._task):
                    raise
                self._task.uncancel()
                await self._end(response.cut_off)
                return
        await self._end(last)

    def _pour(self, chunks: PouredChunks) -> None:
        """Let `chunks` send past the task of this, where the server can."""
        offered = self._scope.get("extensions", {}).get(_PASS_ON)
        if offered is not None:
            self._pass_on = offered["send"]
            chunks.outlet.send = self._pass

    def _pass(self, data: bytes) -> bool:
        self._sent_at = self.loop.time()
        return self._pass_on is not None and self._pass_on(data)

    async def _start(self, response: Outgoing) -> None:
        self._is_started = True
        self._sent_at = self.loop.time()
        # Kept no longer than it takes to send them: there may be many streams, of many pieces.
        headers, response.headers = response.headers, []
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )

    async def _end(self, body: bytes) -> None:
        self._is_ended = True
        self._stop_beating()
        if self._beats:
            await self._settle()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _settle(self) -> None:
        """Wait for what is being sent beside the response."""
        if self._beats:
            await asyncio.wait(self._beats)

    # Keep-alives run beside the stream, by one timer that looks at the time of the last send:
    # a busy stream pays one assignment per piece.

    def open_after(self, delay_s: float, head: StreamingResponse | Callable[[], Outgoing]) -> None:
        """Send `head` and keep-alives unless there is a response in `delay_s`."""
        self._timer = self.loop.call_later(delay_s, self._open, head)

    def _open(self, head: StreamingResponse | Callable[[], Outgoing]) -> None:
        if not self._is_started and not self._is_ended:
            self._is_started = True  # At once: the view may return before the head is sent.
            response = _outgoing(head) if isinstance(head, StreamingResponse) else head()
            self._error_prefix = response.error_prefix
            self._spawn(self._announce(response))
            self._beat_every(response)

    async def _announce(self, response: Outgoing) -> None:
        await self._start(response)
        await self._send_piece(response.keep_alive)

    def _beat_every(self, response: Outgoing) -> None:
        self._stop_beating()
        if response.keep_alive:
            self._timer = self.loop.call_later(response.keep_alive_s, self._beat, response)

    def _beat(self, response: Outgoing) -> None:
        if self._is_ended:
            return
        silent_s = self.loop.time() - self._sent_at
        wait_s = response.keep_alive_s - silent_s
        if wait_s <= 0:
            self._spawn(self._send_piece(response.keep_alive))
            wait_s = response.keep_alive_s
        self._timer = self.loop.call_later(wait_s, self._beat, response)

    def _stop_beating(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _spawn(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._beats.add(task)
        task.add_done_callback(self._beats.discard)

    async def _send_piece(self, data: bytes) -> None:
        self._sent_at = self.loop.time()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


def _cut_error() -> ShuttingDownError:
    return ShuttingDownError(
        "The gateway is shutting down and could not finish this request; send it again.",
        retry_after_s=1,
    )


def _outgoing(response: flask.Response) -> Outgoing:
    """What Flask made, as it is sent; of a stream's head that is sent early, without a body."""
    if isinstance(response, StreamingResponse):
        outgoing = Outgoing(response.status_code, response.headers, chunks=response.chunks)
        outgoing.keep_alive, outgoing.keep_alive_s = response.keep_alive, response.keep_alive_s
        outgoing.cut_off, outgoing.error_prefix = response.cut_off, response.error_prefix
        return outgoing
    body = b"".join(response.iter_encoded())
    response.close()
    response.headers.pop("Content-Length", None)
    return Outgoing(response.status_code, response.headers, body)
