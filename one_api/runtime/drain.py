"""Leaving in good order: no new work, a deadline for what runs, then a clear last word."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)


class Drain:
    """Whether this process is leaving, and which requests it still has.

    `deadline_s` is how long running requests may go on after `begin`. Those still there then are
    cancelled; `is_cut(task)` tells them why.
    """

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.is_draining = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()

    def enter(self, task: asyncio.Task[Any]) -> None:
        """A request has begun in `task`."""
        self._tasks.add(task)

    def leave(self, task: asyncio.Task[Any]) -> None:
        """The request in `task` has ended."""
        self._tasks.discard(task)
        self._cut.discard(task)

    def is_cut(self, task: asyncio.Task[Any]) -> bool:
        """Whether `task` was cancelled because the deadline has passed."""
        return task in self._cut

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self._tasks)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take no new work, and end what still runs at the deadline; safe to call again."""
        if self.is_draining:
            return
        self.is_draining = True
        logger.info("draining: %d requests under way, %g s left", self.running, self.deadline_s)
        loop.call_later(self.deadline_s, self._expire)

    def _expire(self) -> None:
        if self._tasks:
            logger.warning("drain deadline passed: ending %d requests", self.running)
        for task in self._tasks:
            self._cut.add(task)
            task.cancel()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin on SIGTERM, beside whatever the server does on it.

        Only the main thread can listen; a server without signals begins the drain itself.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: FrameType | None) -> None:
            # Servers that listen through the loop, as ours does, are woken by the signal's file
            # descriptor whichever handler is set; those that set a handler are called here.
            loop.call_soon_threadsafe(self.begin, loop)
            if callable(previous):
                previous(number, frame)

        signal.signal(signal.SIGTERM, handle)
