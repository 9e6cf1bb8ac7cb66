"""A connection to a provider: one exchange at a time, one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Final, cast

from typing_extensions import override

from one_api.adapter.tap import Pour
from one_api.errors import UpstreamDisconnected, UpstreamError, UpstreamInvalidResponse
from one_api.upstream.errors import InvalidHTTPError, StaleConnection
from one_api.upstream.response import Response
from one_api.upstream.target import Origin

#: Bytes of a reply held in memory before reading from the provider pauses.
READ_BUFFER_BYTES: Final = 64 * 1024


class Connection(asyncio.Protocol):
    """What arrives goes to the reply of the exchange that `begin` began and `finish` will end.

    Who waits for `news` is woken by a future. The timer behind it stays armed when the news come:
    the next wait ends later than the last one nearly always, so that an exchange costs no timer
    (`asyncio.timeout` takes 5 us). When it fires, it looks at the clock and is set anew.
    """

    _transport: asyncio.Transport

    def __init__(
        self,
        origin: Origin,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[Connection], object],
    ) -> None:
        self.origin = origin
        #: When the last exchange ended, in the time of the loop.
        self.idle_since = 0.0
        #: Whether nothing more will come; `error` says what that means.
        self.is_broken = False
        #: Whether the last wait for news was in vain, and nothing has come since.
        self.is_late = False
        self._loop = loop
        self._on_lost = on_lost
        self._cause: Exception | None = None
        self._has_served = self._has_answered = False
        self._response: Response | None = None
        self._unread_bytes = 0
        self._is_paused = False
        self._waiter: asyncio.Future[bool] | None = None
        #: Who takes what comes while `news` are waited for; how long until it is late again.
        self._pour: Pour | None = None
        self._idle_s = self._ends_at = 0.0
        self._until = self._fires_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._upload: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def begin(self, response: Response, data: bytes) -> None:
        """Send `data`, the beginning of a request, whose reply will be `response`."""
        self._response = response
        self._has_answered = self.is_late = False
        self._unread_bytes = 0
        if not self._transport.is_closing():
            self._transport.write(data)

    def upload(self, body: AsyncIterable[bytes], length: int | None) -> None:
        """Send `body` meanwhile, of `length` bytes or in chunks."""
        self._upload = self._loop.create_task(self._send(body, length))

    def news(self, until: float) -> asyncio.Future[bool]:
        """True when something came or the connection broke, False when it is `until`."""
        waiter = self._waiter = self._loop.create_future()
        self._until = until
        self._pour = None
        if self._timer is None or self._fires_at > until:
            self._arm()
        return waiter

    def poured_news(self, pour: Pour, idle_s: float, ends_at: float) -> asyncio.Future[bool]:
        """`news` once `pour` does not take what came; until `ends_at`, or silence of `idle_s`."""
        self._idle_s, self._ends_at = idle_s, ends_at
        news = self.news(min(self._loop.time() + idle_s, ends_at))
        self._pour = pour
        return news

    def resume(self) -> None:
        """What had come was taken: there is room for more."""
        self._unread_bytes = 0
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def finish(self) -> bool:
        """End the exchange; whether the connection is good for another one, else it is closed."""
        response, self._response = self._response, None
        self._has_served = True
        self._pour = None
        if response is not None:
            response.close()
            if response.is_complete and response.is_reusable and self._upload is None:
                if self._unread_bytes:
                    self.resume()
                return not self._transport.is_closing()
        self.close()
        return False

    def close(self) -> None:
        """Close it at once: a body that is under way, either way, is not waited for."""
        self._transport.abort()

    def error(self) -> UpstreamError:
        """What it means for the exchange that the connection is broken."""
        error: UpstreamError
        if isinstance(self._cause, InvalidHTTPError):
            error = UpstreamInvalidResponse("The provider's reply is not valid HTTP.")
        elif self._response is not None and self._response.status:
            error = UpstreamDisconnected(
                "The connection to the provider was lost before its reply was complete."
            )
        else:
            is_stale = self._has_served and not self._has_answered
            kind = StaleConnection if is_stale else UpstreamDisconnected
            error = kind("The provider closed the connection before it answered.")
        error.__cause__ = self._cause
        return error

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None or response.is_complete:
            # What a provider says unasked would pass for the next reply.
            self.close()
            return
        try:
            response.feed(data)
        except InvalidHTTPError as exc:
            self._break(exc)
            return
        if not response.status:
            self._has_answered = True
            return
        waiter = self._waiter
        if waiter is None:
            self.is_late = False
        else:
            pour = self._pour
            is_poured = (
                pour is not None
                and not (response.is_complete or waiter.done())
                and pour(response.take())
            )
            if is_poured:
                until = self._loop.time() + self._idle_s
                self._until = until if until < self._ends_at else self._ends_at
                return
            self._waiter = None
            if not waiter.done():
                waiter.set_result(True)
        self._unread_bytes += len(data)
        if self._unread_bytes > READ_BUFFER_BYTES and response.pieces and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    @override
    def eof_received(self) -> None:
        if self._response is not None:
            self._response.feed_eof()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._upload is not None:
            self._upload.cancel()
        self._cause = self._cause or exc
        self.is_broken = True
        self._wake()
        self._on_lost(self)

    @override
    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    @override
    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _break(self, cause: Exception) -> None:
        """Nothing that comes from now on is of use."""
        self._cause = cause
        self.is_broken = True
        self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(True)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = self._until
        self._timer = self._loop.call_at(self._until, self._tick)

    def _tick(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._loop.time() < self._until:
            self._arm()
        else:
            self._waiter = None
            self.is_late = True
            waiter.set_result(False)

    async def _send(self, body: AsyncIterable[bytes], length: int | None) -> None:
        left = length
        try:
            async for data in body:
                if left is None:
                    await self._write(b"%x\r\n%b\r\n" % (len(data), data) if data else b"")
                    continue
                left -= len(data)
                if left < 0:
                    raise ValueError("the body is longer than it was said to be")
                await self._write(data)
            if left:
                raise ValueError("the body is shorter than it was said to be")
            await self._write(b"0\r\n\r\n" if length is None else b"")
        except Exception as exc:  # noqa: BLE001 - of whoever gives the body; told as the cause
            self._break(exc)
        else:
            self._upload = None

    async def _write(self, data: bytes) -> None:
        if data:
            self._transport.write(data)
        if self._writable is not None:
            await self._writable
