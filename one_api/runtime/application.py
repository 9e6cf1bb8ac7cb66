"""The Flask application whose async views run on one event loop, whoever serves it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import flask
from flask.sessions import NullSession, SecureCookieSessionInterface, SessionMixin
from greenlet import getcurrent, greenlet
from typing_extensions import override
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, RequestRedirect

from one_api.errors import ConfigurationError
from one_api.runtime.admission import Admission
from one_api.runtime.drain import Drain
from one_api.runtime.express import Express
from one_api.runtime.loop_thread import LoopThread
from one_api.runtime.streaming import OPENER, StreamingResponse
from one_api.runtime.uploads import UploadPolicy, is_upload_type

logger = logging.getLogger(__name__)


class Services(Protocol):
    """What lives on the event loop beside the requests."""

    async def start(self) -> None:
        """Begin; called once on the loop that will serve."""

    async def stop(self) -> None:
        """Give everything back; called once on the same loop."""

    async def reload(self) -> list[str]:
        """Read again what may change while requests run, and tell each change in a line.

        By default there is nothing to read.
        Raises: ConfigurationError; then nothing has changed.
        """
        return []


class DispatchGreenlet(greenlet):
    """Runs one Flask dispatch on the event loop; its parent awaits for it."""


def _is_on_loop() -> bool:
    """Whether the request at hand came over ASGI."""
    return flask.has_request_context() and OPENER in flask.request.environ


class _NoSessions(SecureCookieSessionInterface):
    """API clients have no cookies: nothing to read, sign or write."""

    @override
    def open_session(self, app: flask.Flask, request: flask.Request) -> NullSession:
        return self.make_null_session(app)

    @override
    def should_set_cookie(self, app: flask.Flask, session: SessionMixin) -> bool:
        return False

    @override
    def save_session(
        self, app: flask.Flask, session: SessionMixin, response: flask.Response
    ) -> None:
        """Nothing to save."""


class GatewayFlask(flask.Flask):
    """A Flask application that awaits.

    `services` start with the first loop that serves and stop with it: on ASGI by the server's
    lifespan, on WSGI with the loop thread. `close` ends the loop thread of this process, if any.
    """

    session_interface = _NoSessions()

    def __init__(self, import_name: str, *, services: Services, drain: Drain) -> None:
        super().__init__(import_name, static_folder=None, template_folder=None)
        self.services = services
        self.drain = drain
        #: Which bodies are taken piece by piece; none, unless the composition root says so.
        self.uploads = UploadPolicy()
        #: How many requests are let in at once, under ASGI; any, unless the root says so.
        self.admission = Admission()
        #: The short way, under ASGI; none, unless the composition root builds one.
        self.express: Express | None = None
        self._loop_thread = LoopThread(services)
        #: The event loop that the services have started on.
        self.started_on: asyncio.AbstractEventLoop | None = None
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        #: The process that passes SIGHUP on to this one and its siblings, where there are any.
        self.supervisor_pid: int | None = None

    async def start(self) -> None:
        """Start the services on the running loop, once.

        Raises: RuntimeError when they already run on another one.
        """
        loop = asyncio.get_running_loop()
        if self.started_on is loop:
            return
        if self.started_on is not None:
            raise RuntimeError("this application is already served by another event loop")
        self.started_on = loop
        try:
            await self.services.start()
        except BaseException:
            self.started_on = None
            raise

    async def stop(self) -> None:
        """Stop the services; `start` may follow."""
        if self.started_on is not None:
            self.started_on = None
            await self.services.stop()

    async def reload(self) -> list[str]:
        """Have the services read again what may change; a line for each change, also in the log.

        Raises: ConfigurationError; then nothing has changed.
        """
        async with self._reloading:
            try:
                lines = await self.services.reload()
            except ConfigurationError as exc:
                logger.error("nothing is reloaded: %s", exc)
                raise
        for line in lines:
            logger.info("reloaded: %s", line)
        return lines

    async def reload_all(self) -> list[str]:
        """As `reload`, and then in every other process that serves the same address."""
        lines = await self.reload()
        # An orphan has another parent: that number may by now belong to a stranger.
        if self.supervisor_pid is not None and self.supervisor_pid == os.getppid():
            os.kill(self.supervisor_pid, signal.SIGHUP)
        return lines

    def reload_on_signal(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reload on SIGHUP from now on, unless the server does something of its own then.

        Only the main thread can listen, and not every system has the signal.
        """
        if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, signal.SIG_IGN):
            return
        try:
            loop.add_signal_handler(signal.SIGHUP, self._begin_reload)
        except NotImplementedError:
            return
        # What came while the process was set up was kept back by whoever started it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _begin_reload(self) -> None:
        task = asyncio.ensure_future(self._reload_unattended())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_unattended(self) -> None:
        try:
            await self.reload()
        except ConfigurationError:
            pass  # It is in the log, and what served before goes on serving.
        except Exception:  # a signal has no caller to tell: a bug must not go unseen
            logger.exception("the gateway could not reload")

    def close(self) -> None:
        """Stop the loop thread and the services on it; for WSGI servers and tests."""
        self._loop_thread.close()

    def takes_upload(self, path: str, method: str, content_type: str) -> bool:
        """Whether a request's body goes to its view piece by piece, told before it is dispatched.

        Only what may be an upload is looked up: most requests are JSON and pay nothing for this.
        """
        if not self.uploads.endpoints or not is_upload_type(content_type):
            return False
        try:
            endpoint, _ = self.url_map.bind("localhost").match(path, method)
        except (HTTPException, RequestRedirect):
            return False
        return self.uploads.covers(endpoint, content_type)

    @override
    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        # The ASGI bridge has looked at the Host header; werkzeug would do so again, at 13 us
        # instead of 2. No URL is ever built of it.
        if request is None or OPENER not in request.environ:
            return super().create_url_adapter(request)
        environ = request.environ
        return self.url_map.bind(
            "localhost",
            url_scheme=environ["wsgi.url_scheme"],
            default_method=environ["REQUEST_METHOD"],
            path_info=environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
            query_args=environ["QUERY_STRING"],
        )

    @override
    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            # Only on the event loop's thread: greenlet keeps something of each thread that asks it,
            # and lets go of that while garbage is collected elsewhere. A WSGI server with a thread
            # for each request crashed after some hundreds.
            current = getcurrent() if _is_on_loop() else None
            if isinstance(current, DispatchGreenlet):
                parent = current.parent
                assert parent is not None, "a dispatch greenlet always has one"  # noqa: S101
                return parent.switch(func(*args, **kwargs))
            return self._run_in_loop_thread(func(*args, **kwargs))

        return run

    def _run_in_loop_thread(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        # One conversation per request: all that a request awaits runs in one task, so that what a
        # generator opened under a timeout or cancel scope is closed under the same one.
        conversation = flask.g.get("one_api_conversation")
        if conversation is None:
            try:
                conversation = self._loop_thread.converse()
            except BaseException:
                coroutine.close()
                raise
            flask.g.one_api_conversation = conversation
        result = conversation.run(coroutine)
        if isinstance(result, StreamingResponse):
            result.conversation = conversation
            # The request is torn down before the server pulls the first piece.
            conversation.is_streaming = True
        return result

    @override
    def do_teardown_request(self, *args: Any, **kwargs: Any) -> None:
        super().do_teardown_request(*args, **kwargs)
        conversation = flask.g.pop("one_api_conversation", None)
        if conversation is not None and not conversation.is_streaming:
            conversation.close()

    def respond(self, environ: dict[str, Any]) -> flask.Response:
        """The response to one request, as `wsgi_app` would make it but without sending it."""
        context = self.request_context(environ)
        error: BaseException | None = None
        context.push()
        try:
            try:
                return self.full_dispatch_request()
            except Exception as exc:  # noqa: BLE001 - Flask's own seam for a bug in a view: a 500
                error = exc
                return self.handle_exception(exc)
            except BaseException as exc:
                error = exc
                raise
        finally:
            context.pop(error)
