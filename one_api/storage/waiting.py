"""Waiting for so long and no longer, also for what does not stop when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from one_api.errors import StorageUnavailable

T = TypeVar("T")


class Waiting:
    """What is being waited for at one place, up to `limit` at once.

    Each has a task of its own. What is late, or is wanted by nobody any more, is cancelled, or
    undone when it is there, behind the backs of those who waited: that takes a server that hangs
    some time, too.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(
        self,
        work: Coroutine[Any, Any, T],
        timeout_s: float,
        undo: Callable[[T], Coroutine[Any, Any, None]] | None = None,
    ) -> T:
        """What `work` returns.

        With `undo` it is not cancelled, and ends by itself before long; `undo` is called with what
        comes when nobody waits any more.
        Raises: StorageUnavailable when it is late, or one too many.
        """
        if len(self._tasks) >= self._limit:
            work.close()
            raise StorageUnavailable("Too many requests wait for the database.")
        task = self._start(work)
        is_told = False
        try:
            await asyncio.wait({task}, timeout=timeout_s)
            if not task.done():
                raise StorageUnavailable("The database did not answer in time.")
            is_told = True
            return task.result()
        finally:
            if not is_told:
                if undo is None:
                    task.cancel()
                else:
                    task.add_done_callback(partial(self._undo, undo))

    async def close(self, timeout_s: float) -> None:
        """Wait for what runs for so long, and cancel the rest; nothing more may come."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
                    await asyncio.sleep(0)  # What is done leaves, and what is to be undone comes.
        except TimeoutError:
            for task in self._tasks:
                task.cancel()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _undo(self, undo: Callable[[T], Coroutine[Any, Any, None]], task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._start(undo(task.result()))

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has heard it; asyncio shall not log it again
