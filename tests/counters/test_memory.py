"""What is special to counters of one process."""

from __future__ import annotations

import pytest

from one_api.counters.memory import MemoryCounters
from tests.counters.worlds import Clock, remaining, requests, slot, tokens


async def test_counters_of_those_who_never_come_again_are_forgotten() -> None:
    clock = Clock()
    counters = MemoryCounters(clock=clock)
    for at in range(20_000):
        grant = counters.take_nowait([requests(name=f"{at}"), slot(name=f"{at}")])
        await counters.release(grant)
        clock.advance(0.1)
        assert len(counters) < 4096


async def test_counters_that_count_are_never_forgotten() -> None:
    counters = MemoryCounters(clock=Clock())
    for _ in range(2):
        for at in range(5000):
            counters.take_nowait([requests(name=f"{at}"), slot(name=f"{at}")])

    told = [counters.take_nowait([requests(0, name=f"{at}")]) for at in range(5000)]
    assert {8} == {left for grant in told for left in remaining(grant)}


def test_taking_asks_for_no_turn_of_the_loop() -> None:
    """A coroutine that ends at its first step never gave way to another task."""
    step = MemoryCounters().take([requests(), tokens(10), slot()])
    with pytest.raises(StopIteration) as end:
        step.send(None)
    assert end.value.value.is_granted
