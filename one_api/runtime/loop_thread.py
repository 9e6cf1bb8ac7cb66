"""Async views under WSGI: one event loop in one thread, shared by all worker threads."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from one_api.runtime.application import Services

_END = object()


class Conversation:
    """What one WSGI request awaits, one coroutine after the other, in one task on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inbox: asyncio.Queue[
            tuple[Coroutine[Any, Any, Any], concurrent.futures.Future[Any]] | None
        ] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._working_on: concurrent.futures.Future[Any] | None = None
        self._is_closed = False
        #: Whether it goes on after its view, for as long as the response does.
        self.is_streaming = False
        context = contextvars.copy_context()
        loop.call_soon_threadsafe(lambda: loop.create_task(self._serve(), context=context))

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The result of `coroutine`; blocks this thread, not the loop."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, (coroutine, future))
        return future.result()

    def close(self) -> None:
        """End the task once it has done what it was given; may be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, None)

    def pull(
        self, chunks: AsyncGenerator[bytes, None], keep_alive: bytes, keep_alive_s: float
    ) -> Generator[bytes, None, None]:
        """The pieces of `chunks` for a WSGI server, with `keep_alive` while they are silent.

        Closing the generator closes `chunks`: that is how WSGI servers tell that a client left.
        """
        future: concurrent.futures.Future[Any] | None = None
        try:
            while True:
                if future is None:
                    future = concurrent.futures.Future()
                    step = anext(chunks, _END)
                    self._loop.call_soon_threadsafe(
                        self._inbox.put_nowait, (_awaited(step), future)
                    )
                try:
                    piece = future.result(keep_alive_s if keep_alive else None)
                except concurrent.futures.TimeoutError:
                    yield keep_alive
                    continue
                future = None
                if piece is _END:
                    return
                yield piece
        finally:
            if future is not None:
                # The client left while a piece was awaited: interrupt the wait.
                future.cancel()
                self._loop.call_soon_threadsafe(self._interrupt, future)
            self.leave(chunks)

    def leave(self, chunks: AsyncGenerator[bytes, None]) -> None:
        """Close `chunks` and end, whether or not any piece was pulled; may be called twice."""
        if not self._is_closed and not self._loop.is_closed():
            self.run(chunks.aclose())
            self.close()

    def _interrupt(self, future: concurrent.futures.Future[Any]) -> None:
        if self._working_on is future and self._task is not None:
            self._task.cancel()

    async def _serve(self) -> None:
        self._task = asyncio.current_task()
        while (work := await self._inbox.get()) is not None:
            coroutine, future = work
            self._working_on = future
            try:
                outcome = await coroutine
            except BaseException as exc:  # noqa: BLE001 - it belongs to the waiting thread
                if self._task is not None and isinstance(exc, asyncio.CancelledError):
                    self._task.uncancel()
                if future.set_running_or_notify_cancel():
                    future.set_exception(exc)
            else:
                if future.set_running_or_notify_cancel():
                    future.set_result(outcome)
            self._working_on = None


async def _awaited(step: Any) -> Any:
    return await step


class LoopThread:
    """The loop thread of this process, started on first use and again after a fork."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def converse(self) -> Conversation:
        """A place on the loop for one request."""
        return Conversation(self._running_loop())

    def close(self) -> None:
        """Stop the services, the loop and the thread; nothing when none runs here."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is None or thread is None or self._pid != os.getpid():
                return
        atexit.unregister(self.close)
        asyncio.run_coroutine_threadsafe(self._services.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=_run_loop, args=(loop,), name="one-api-loop", daemon=True
                )
                thread.start()
                try:
                    asyncio.run_coroutine_threadsafe(self._services.start(), loop).result()
                except BaseException:
                    loop.call_soon_threadsafe(loop.stop)
                    raise
                self._loop, self._thread, self._pid = loop, thread, os.getpid()
                atexit.register(self.close)
            return self._loop


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
