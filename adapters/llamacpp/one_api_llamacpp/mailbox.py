"""Hands items from one thread to one coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Items from any thread, for one reader on one event loop.

    However fast items come, the loop has at most one wake-up of this mailbox to run; what arrived
    in the meantime is received together.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived = asyncio.Event()
        self._lock = threading.Lock()
        self._items: list[Item] = []
        self._is_waking = False
        self._is_closed = False
        self._error: Exception | None = None

    def put(self, items: Sequence[Item]) -> None:
        """Add `items`, possibly none. From any thread."""
        with self._lock:
            self._items.extend(items)
            if items:
                self._wake()

    def close(self, error: Exception | None = None) -> None:
        """Say that no more items come, and why if not all came. From any thread."""
        with self._lock:
            self._is_closed, self._error = True, error
            self._wake()

    async def receive(self) -> list[Item]:
        """The next items in order; empty once the mailbox is closed and read.

        Raises: the error it was closed with, after the last item.
        """
        while True:
            await self._arrived.wait()
            with self._lock:
                items, self._items = self._items, []
                self._is_waking = False
                if not self._is_closed:
                    self._arrived.clear()
                closed = self._is_closed
            if items or (closed and self._error is None):
                return items
            if closed and self._error is not None:
                raise self._error

    def _wake(self) -> None:
        if self._is_waking:
            return
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:
            return  # the loop is closed, and its reader with it
        self._is_waking = True
