"""Time, as the gateway lends it to adapters: their tests need not wait for it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from typing_extensions import override


class Clock(Protocol):
    """What time it is, and how to let some pass."""

    def now_s(self) -> float:
        """Seconds since the epoch: for moments that a provider names. May jump."""

    def monotonic_s(self) -> float:
        """Seconds since some moment: for ages and deadlines. Never goes back."""

    async def sleep(self, delay_s: float) -> None:
        """Come back after `delay_s` seconds; at the loop's next turn where that is not positive."""


class SystemClock(Clock):
    """The clock of this machine."""

    @override
    def now_s(self) -> float:
        return time.time()

    @override
    def monotonic_s(self) -> float:
        return time.monotonic()

    @override
    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
