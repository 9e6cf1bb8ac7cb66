"""Rolling sums: never less than the window holds, bounded, exact about when they fall."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from one_api.routing.windows import RollingCounter

ADDITIONS = st.lists(st.tuples(st.floats(0, 40, allow_nan=False), st.integers(1, 5)), max_size=60)


@given(ADDITIONS)
def test_sum_covers_the_window_and_at_most_one_step_more(
    additions: list[tuple[float, int]],
) -> None:
    counter = RollingCounter(60, steps=60)
    now_s, seen = 0.0, []
    for pause_s, amount in additions:
        now_s += pause_s
        counter.add(now_s, amount)
        seen.append((now_s, amount))

        within = sum(amount for at_s, amount in seen if now_s - at_s <= 60)
        nearly = sum(amount for at_s, amount in seen if now_s - at_s <= 61)
        assert within <= counter.total(now_s) <= nearly


@given(ADDITIONS, st.integers(1, 20))
def test_told_wait_is_when_the_sum_falls(additions: list[tuple[float, int]], limit: int) -> None:
    counter = RollingCounter(60, steps=60)
    now_s = 0.0
    for pause_s, amount in additions:
        now_s += pause_s
        counter.add(now_s, amount)

    wait_s = counter.falls_below_s(limit, now_s)

    if wait_s > 0:
        assert counter.total(now_s) >= limit
        assert counter.total(now_s + wait_s - 0.001) >= limit
    assert counter.total(now_s + wait_s) < limit


def test_nothing_is_less_than_nothing() -> None:
    assert math.inf == RollingCounter(60, steps=60).falls_below_s(0, 5.0)


def test_clock_that_stands_still_forgets_nothing() -> None:
    counter = RollingCounter(30, steps=10)
    for _ in range(1_000):
        counter.add(7.0)

    assert 1_000 == counter.total(7.0)


def test_window_ends_with_its_step() -> None:
    counter = RollingCounter(30, steps=10)
    counter.add(0.0)

    assert [1, 1, 0] == [counter.total(now_s) for now_s in (30.0, 32.99, 33.0)]


def test_what_was_forgotten_is_begun_anew_also_in_the_same_step() -> None:
    counter = RollingCounter(30, steps=10)
    counter.add(58.0)
    assert 0 == counter.total(200.0)

    counter.add(59.0)

    assert 1 == counter.total(59.0)
