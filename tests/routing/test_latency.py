"""What is learnt from durations: percentiles, averages, and how long to wait."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.deployment import Timeouts
from one_api.routing.latency import DECAY_S, PeakEwma, RecentDurations
from one_api.routing.timeouts import AdaptiveTimeouts

GIVEN = Timeouts()
DURATIONS = st.floats(0.001, 1_000)


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.integers(1, 100))
def test_percentile_is_that_of_the_last_64(durations: list[float], percent: int) -> None:
    recent = RecentDurations()
    for duration_s in durations:
        recent.add(duration_s)

    last = durations[-64:]
    smallest = min(
        one for one in last if 100 * sum(other <= one for other in last) >= percent * len(last)
    )
    assert smallest == recent.percentile_s(percent)
    assert len(last) == len(recent)


def test_average_jumps_to_a_peak_and_sinks_slowly() -> None:
    ewma = PeakEwma()
    ewma.observe(1.0, 0.0)
    ewma.observe(9.0, 1.0)
    assert 9.0 == ewma.average_s

    ewma.observe(1.0, 1.0 + DECAY_S)

    assert pytest.approx(1 + 8 / math.e) == ewma.average_s


def test_average_of_the_unseen_fades() -> None:
    ewma = PeakEwma()
    assert ewma.faded_s(5.0) is None
    ewma.observe(8.0, 0.0)

    assert 8.0 == ewma.faded_s(0.0)
    assert pytest.approx(8 / math.e) == ewma.faded_s(DECAY_S)


@given(st.lists(st.tuples(DURATIONS, DURATIONS)))
def test_average_stays_within_what_was_seen(observed: list[tuple[float, float]]) -> None:
    ewma, now_s = PeakEwma(), 0.0
    for pause_s, latency_s in observed:
        now_s += pause_s
        ewma.observe(latency_s, now_s)
        seen = [one for _, one in observed]
        assert ewma.average_s is not None
        assert min(seen) * 0.999 <= ewma.average_s <= max(seen)


@given(st.lists(DURATIONS, max_size=80), st.lists(DURATIONS, max_size=80))
def test_waits_stay_within_their_bounds(firsts: list[float], wholes: list[float]) -> None:
    shown = AdaptiveTimeouts()
    for latency_s in firsts:
        shown.note_first_content(latency_s, 0.0)
    for duration_s in wholes:
        shown.note_whole_reply(duration_s, 0.0)

    waits = shown.effective(GIVEN)

    assert 5.0 <= waits.first_content_s <= 120.0
    assert 60.0 <= waits.total_s <= 600.0
    assert (GIVEN.connect_s, GIVEN.idle_s) == (waits.connect_s, waits.idle_s)


@given(st.lists(DURATIONS, max_size=100), st.lists(st.floats(0, 100), max_size=20))
def test_slow_replies_never_shorten_the_wait(shown: list[float], more: list[float]) -> None:
    timeouts = AdaptiveTimeouts()
    for latency_s in shown:
        timeouts.note_first_content(latency_s, 0.0)
    wait_s = timeouts.effective(GIVEN).first_content_s

    for excess_s in more:
        timeouts.note_first_content(wait_s + excess_s, 0.0)
        assert wait_s <= timeouts.effective(GIVEN).first_content_s
        wait_s = timeouts.effective(GIVEN).first_content_s


@given(st.lists(st.floats(0.1, 2), max_size=100), st.floats(5, 119))
def test_wait_grows_by_timeouts_until_a_slow_model_fits(
    before: list[float], needs_s: float
) -> None:
    timeouts = AdaptiveTimeouts()
    for latency_s in before:
        timeouts.note_first_content(latency_s, 0.0)

    timed_out = 0
    while (wait_s := timeouts.effective(GIVEN).first_content_s) < needs_s:
        timeouts.note_timeout(wait_s, GIVEN, 0.0)
        timed_out += 1
        assert timed_out <= 12


@pytest.mark.parametrize(
    ("waited_s", "firsts", "wholes"),
    [
        (5.0, 1, 0),
        (5.02, 1, 0),
        (120.1, 1, 0),
        (60.0, 0, 1),
        (601.0, 0, 1),
        (0.05, 0, 0),
        (4.99, 0, 0),
        (30.0, 0, 0),
    ],
    ids=[
        "first content",
        "a little late",
        "first content of the last one",
        "total",
        "total of the last one",
        "told by the provider",
        "a shorter deadline",
        "none of ours",
    ],
)
def test_timeout_counts_for_the_wait_that_ran_out(
    waited_s: float, firsts: int, wholes: int
) -> None:
    timeouts = AdaptiveTimeouts()
    timeouts.note_timeout(waited_s, GIVEN, 0.0)

    assert (firsts, wholes) == (
        len(timeouts.first_content.recent),
        len(timeouts.whole_reply.recent),
    )


def test_given_waits_are_kept_exactly() -> None:
    exact = Timeouts(first_content_s=8, failover_first_content_s=8, total_s=30, failover_total_s=30)
    timeouts = AdaptiveTimeouts()
    for latency_s in (0.1, 50.0):
        timeouts.note_first_content(latency_s, 0.0)
        timeouts.note_whole_reply(latency_s, 0.0)

        assert exact == timeouts.effective(exact)


def test_other_waits_are_heeded_at_once() -> None:
    timeouts = AdaptiveTimeouts()
    timeouts.note_first_content(10.0, 0.0)

    assert 30.0 == timeouts.effective(GIVEN).first_content_s
    assert 20.0 == timeouts.effective(Timeouts(first_content_s=20.0)).first_content_s
