"""Whatever is done in whatever order, counters tell what a plain record of events tells."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from one_api.counters import Ask, Grant
from tests.counters.redis_server import RedisServer
from tests.counters.worlds import START_S, MemoryWorld, RedisWorld, World

LEASE_MS = 900_000


@dataclass
class Taken:
    """An amount that was taken, or a lease: then `ends_ms` says until when."""

    ask: Ask
    at_ms: int
    amount: int
    ends_ms: int | None = None


class Record:
    """Everything that was ever taken; what counts is added up each time it is asked for."""

    def __init__(self) -> None:
        self.now_ms = round(START_S * 1000)
        self._taken: list[Taken] = []

    def room(self, ask: Ask) -> int:
        """What remains of the limit, below 0 where it is exceeded."""
        mine = [
            taken
            for taken in self._taken
            if (taken.ask.name, taken.ask.window_s) == (ask.name, ask.window_s)
        ]
        if ask.kind == "concurrency":
            return ask.limit - sum(
                taken.ends_ms is not None and taken.ends_ms > self.now_ms for taken in mine
            )
        window_ms = ask.window_s * 1000
        begins_ms = self.now_ms - self.now_ms % window_ms
        current = sum(taken.amount for taken in mine if taken.at_ms >= begins_ms)
        previous = sum(
            taken.amount for taken in mine if begins_ms - window_ms <= taken.at_ms < begins_ms
        )
        share = 1 - Fraction(self.now_ms - begins_ms, window_ms)
        return floor(ask.limit - current - previous * share)

    def take(self, asks: list[Ask]) -> list[Taken] | None:
        if any(ask.amount > self.room(ask) for ask in asks):
            return None
        taken = [
            Taken(
                ask,
                self.now_ms,
                ask.amount,
                self.now_ms + LEASE_MS if ask.kind == "concurrency" else None,
            )
            for ask in asks
        ]
        self._taken += taken
        return taken


@dataclass
class Held:
    grant: Grant
    taken: list[Taken]
    is_settled: bool = False


class CountersMachine(RuleBasedStateMachine):
    """Drives counters and the record side by side."""

    held = Bundle("held")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.runner = asyncio.Runner()
        self.record = Record()

    @override
    def teardown(self) -> None:
        self.runner.run(self.world.counters.close())
        self.runner.close()

    @initialize(seconds=st.sampled_from([0, 0.001, 59.999, 1234.567]))
    def begin(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(
        target=held,
        requests=st.none() | st.integers(0, 4),
        tokens=st.none() | st.integers(0, 120),
        hourly=st.none() | st.integers(0, 120),
        slot=st.booleans(),
    )
    def take(
        self, requests: int | None, tokens: int | None, hourly: int | None, slot: bool
    ) -> object:
        asks = list(self.asks(requests, tokens, hourly))
        if slot:
            asks.append(Ask("slots", 1, 2, "concurrency"))
        taken = self.record.take(asks)
        grant = self.runner.run(self.world.counters.take(asks))

        assert (taken is not None) == grant.is_granted
        assert [max(self.record.room(ask), 0) for ask in asks] == [
            standing.remaining for standing in grant.standings
        ]
        if taken is None:
            assert grant.refused is not None
            assert grant.refused.amount > self.record.room(grant.refused)
            return multiple()
        return Held(grant, taken)

    @staticmethod
    def asks(requests: int | None, tokens: int | None, hourly: int | None) -> Iterator[Ask]:
        if requests is not None:
            yield Ask("requests", requests, 5)
        if tokens is not None:
            yield Ask("tokens", tokens, 100)
        if hourly is not None:
            yield Ask("tokens", hourly, 110, window_s=3600)

    @rule(held=held, actual=st.integers(-10, 200))
    def settle(self, held: Held, actual: int) -> None:
        self.runner.run(self.world.counters.settle(held.grant, {"tokens": actual}))
        for taken in held.taken:
            if taken.ask.name == "tokens" and not held.is_settled:
                taken.amount = max(actual, 0)
        held.is_settled = True

    @rule(held=held)
    def release(self, held: Held) -> None:
        self.runner.run(self.world.counters.release(held.grant))
        for taken in held.taken:
            if taken.ends_ms is not None:
                taken.ends_ms = 0

    @rule(seconds=st.sampled_from([0.001, 1, 17.3, 30, 59.999, 60, 61, 120, 899.999, 3600]))
    def pass_time(self, seconds: float) -> None:
        self.world.advance(seconds)
        self.record.now_ms += round(seconds * 1000)


def test_memory_counts_as_the_record_does() -> None:
    class MemoryMachine(CountersMachine):
        def __init__(self) -> None:
            super().__init__(MemoryWorld())

    run_state_machine_as_test(
        MemoryMachine, settings=settings(stateful_step_count=40, deadline=None)
    )


@pytest.mark.redis
def test_redis_counts_as_the_record_does(shared_redis: RedisServer) -> None:
    class RedisMachine(CountersMachine):
        def __init__(self) -> None:
            super().__init__(RedisWorld(shared_redis))

    run_state_machine_as_test(
        RedisMachine, settings=settings(stateful_step_count=30, deadline=None)
    )
