"""A listener of its own for metrics, which one process of the gateway holds at a time."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

logger = logging.getLogger(__name__)

#: The text for an `Accept` header, and its content type.
Render = Callable[[str], Awaitable[tuple[bytes, str]]]


class MetricsListener:
    """Answers `GET` for `paths` at `host` and `port` to whoever can reach them.

    `try_open` again and again: the processes of a gateway share the address, and when the one that
    holds it ends, another one takes it over.
    """

    def __init__(self, host: str, port: int, paths: tuple[str, ...], render: Render) -> None:
        self._host = host
        self._port = port
        self._paths = paths
        self._render = render
        self._runner: web.AppRunner | None = None
        self._has_failed = False

    async def try_open(self) -> bool:
        """Whether this process holds the address now; never raises for one that is taken."""
        if self._runner is not None:
            return True
        app = web.Application()
        for path in self._paths:
            app.router.add_get(path, self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as exc:
            await runner.cleanup()
            self._tell(exc)
            return False
        self._runner, self._has_failed = runner, False
        return True

    async def close(self) -> None:
        """Leave the address to others."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        body, content_type = await self._render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _tell(self, error: OSError) -> None:
        # Another process of this gateway has it, most of the time.
        is_taken = error.errno == errno.EADDRINUSE
        if not self._has_failed:
            level = logging.DEBUG if is_taken else logging.ERROR
            logger.log(level, "no metrics at %s:%d: %s", self._host, self._port, error)
        self._has_failed = True
