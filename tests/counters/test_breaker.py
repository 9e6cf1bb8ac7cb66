"""When a server is asked that may be gone."""

from __future__ import annotations

import pytest

from one_api.counters.breaker import Breaker
from tests.counters.worlds import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, failures=3, retry_s=5)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.fail()


def test_it_opens_after_failures_in_a_row_only(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeed()
    fail(breaker, 2)
    assert breaker.admit()
    breaker.fail()

    assert not breaker.admit()
    assert (True, 1) == (breaker.is_open, breaker.openings)


def test_one_call_at_a_time_finds_out_whether_it_is_back(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.advance(4.999)
    assert not breaker.admit()
    clock.advance(0.001)
    assert [True, False, False] == [breaker.admit() for _ in range(3)]
    breaker.fail()
    assert not breaker.admit()
    clock.advance(5)
    assert breaker.admit()
    breaker.succeed()

    assert [True, True] == [breaker.admit() for _ in range(2)]
    assert (False, 2) == (breaker.is_open, breaker.openings)


def test_a_probe_that_nobody_waited_for_is_repeated_at_once(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.advance(5)
    assert breaker.admit()
    breaker.abandon()
    assert [True, False] == [breaker.admit() for _ in range(2)]


def test_failures_of_before_do_not_put_off_the_probe(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.advance(4)
    breaker.fail()
    clock.advance(1)
    assert (True, 1) == (breaker.admit(), breaker.openings)
