"""Hands items to one reader on the same event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """Items for one reader; what arrived before it came back is received together."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._items: list[Item] = []
        self._error: Exception | None = None
        #: Whether no more items come.
        self.is_closed = False

    def put(self, items: Iterable[Item]) -> None:
        """Add `items`, possibly none."""
        self._items.extend(items)
        if self._items:
            self._arrived.set()

    def close(self, error: Exception | None = None) -> None:
        """Say that no more items come, and why if not all came; only the first time counts."""
        if not self.is_closed:
            self.is_closed, self._error = True, error
            self._arrived.set()

    async def receive(self) -> list[Item]:
        """The next items in order; empty once the inbox is closed and read.

        Raises: the error it was closed with, after the last item.
        """
        await self._arrived.wait()
        items, self._items = self._items, []
        if not self.is_closed:
            self._arrived.clear()
        elif self._error is not None and not items:
            raise self._error
        return items
