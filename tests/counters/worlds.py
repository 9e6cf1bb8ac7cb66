"""Counters in which time passes only when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from one_api.counters import Ask, Counters, Grant
from one_api.counters.memory import MemoryCounters
from one_api.counters.redis import RedisCounters
from one_api.counters.redis_link import LinkOptions
from tests.counters.redis_server import RedisServer

#: For tests that are not about slowness, on machines that are.
PATIENT = LinkOptions(timeout_s=10.0, queue_timeout_s=30.0)

#: The beginning of a minute and of an hour, in seconds.
START_S = 1_800_000_000.0


class World(Protocol):
    counters: Counters

    def advance(self, seconds: float) -> None: ...


class Clock:
    """Whole milliseconds: what is added up in binary fractions of a second would drift."""

    def __init__(self) -> None:
        self._now_ms = round(START_S * 1000)

    def __call__(self) -> float:
        return (self._now_ms + 0.5) / 1000

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)


class MemoryWorld:
    def __init__(self) -> None:
        self._clock = Clock()
        self.advance = self._clock.advance
        self.counters: Counters = MemoryCounters(clock=self._clock)


class RedisWorld:
    def __init__(self, server: RedisServer) -> None:
        self._clock = Clock()
        self._server = server
        server.command("FLUSHALL")
        self.counters: Counters = RedisCounters(server.url, options=PATIENT, clock=self._clock)

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self._server.age(seconds)


def remaining(grant: Grant) -> list[int]:
    return [standing.remaining for standing in grant.standings]


def requests(amount: int = 1, *, limit: int = 10, name: str = "alice:requests") -> Ask:
    return Ask(name, amount, limit)


def tokens(amount: int, *, limit: int = 1000, name: str = "alice:tokens") -> Ask:
    return Ask(name, amount, limit)


def slot(*, limit: int = 2, name: str = "alice:slots") -> Ask:
    return Ask(name, 1, limit, "concurrency")


async def until(condition: Callable[[], bool]) -> None:
    """Give others their turns until it is so; no test waits longer than 20 s."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 # what is waited for raises no event
            await asyncio.sleep(0.001)
