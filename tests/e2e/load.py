"""Callers who ask again and again while a test breaks something."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

from tests.e2e.account_scenes import Bank, until_true
from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import chat

#: Within how many seconds anything that is waited for happens, also where the machine is busy.
LONG_S = 60.0
#: Longest that a request may take while something is down: several times what is given to a dead
#: database, and far less than what clients wait.
PATIENCE_S = 15.0


class Load:
    """One caller who asks again and again as long as the context lasts."""

    def __init__(self, gateway: Bank, key: str) -> None:
        self._gateway = gateway
        self._key = key
        self._is_over = False
        self.answers: list[Answer] = []
        self.slowest_s = 0.0

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    async def more(self, count: int) -> Counter[int]:
        """The statuses of the next `count` answers."""
        begin = len(self.answers)
        await until_true(lambda: len(self.answers) >= begin + count, LONG_S)
        return Counter(answer.status for answer in self.answers[begin:])

    async def until(self, status: int) -> None:
        """Wait until an answer that comes from now on has this status."""
        begin = len(self.answers)
        await until_true(
            lambda: any(answer.status == status for answer in self.answers[begin:]), LONG_S
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask until the context ends; the last answer is heard out, so that all are counted."""
        self._is_over = False
        task = asyncio.create_task(self._keep_asking())
        try:
            yield
        finally:
            self._is_over = True
            await task

    async def _keep_asking(self) -> None:
        while not self._is_over:
            began = time.monotonic()
            self.answers.append(await self._gateway.ask_as(self._key, chat()))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.01)
