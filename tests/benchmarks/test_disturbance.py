import os

import pytest

from benchmarks.disturbance import (
    Meter,
    Reading,
    Repetition,
    Span,
    Times,
    quietest,
    taken_between,
    times_in,
    watched,
)

TICKS = os.sysconf("SC_CLK_TCK")


def span(stolen: float, others: float = 0.0) -> Span:
    """Some seconds of two processors, of which others took shares."""
    return Span(machine_s=4.0, stolen_s=4.0 * stolen, others_s=4.0 * others)


@pytest.mark.parametrize(
    ("stat", "programs", "stolen"),
    [
        ("cpu  10 20 30 4000 50 6 7 80 9 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n", 60, 80),
        ("cpu  10 20 30 4000 50 6 7 0 0 0\n", 60, 0),
        ("cpu  10 20 30 4000 50 6 7\n", 60, 0),
    ],
    ids=["steal", "no steal", "a system that knows of none"],
)
def test_times_are_those_of_all_processors(stat: str, programs: int, stolen: int) -> None:
    told = times_in(stat)

    assert Times(programs_s=programs / TICKS, stolen_s=stolen / TICKS) == told


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        ([0.0] * 6, {0, 1, 2, 3, 4, 5}),
        ([0.02] * 6, {0, 1, 2, 3, 4, 5}),
        ([0.15, 0.01, 0.12, 0.0, 0.09, 0.11], {1, 3}),
        ([0.0, 0.2, 0.0, 0.3, 0.0, 0.1], {0, 2, 4}),
        ([0.03, 0.02, 0.01, 0.04], {1, 2}),
        ([0.03, 0.02, 0.01], {2}),
        ([0.5], {0}),
    ],
    ids=["none told", "equal", "bursts", "ties", "four", "three", "one"],
)
def test_the_quietest_third_is_told_and_what_is_no_worse(
    taken: list[float], chosen: set[int]
) -> None:
    repetitions = [Repetition(number, span(share)) for number, share in enumerate(taken)]

    assert chosen == {one.outcome for one in quietest(repetitions)}


def test_programs_disturb_as_the_hypervisor_does() -> None:
    # Beside a program that never rests little is stolen.
    busy = Repetition("busy", span(stolen=0.01, others=0.6))
    quiet = [Repetition("quiet", span(stolen=0.1)) for _ in range(2)]

    assert quiet == quietest([busy, *quiet])


def test_what_came_of_a_repetition_does_not_matter() -> None:
    repetitions = [Repetition(ms, span(share)) for ms, share in ((9, 0.0), (1, 0.1), (2, 0.2))]

    assert [9] == [one.outcome for one in quietest(repetitions)]


def test_there_is_no_quietest_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        quietest([])


def test_spans_add_up_to_the_share_of_both() -> None:
    both = span(0.1, others=0.3) + span(0.3, others=0.1)

    assert pytest.approx((0.2, 0.2)) == (both.stolen, both.others)


@pytest.mark.parametrize("nothing", [Span(), span(0.0, others=-0.01)], ids=["no time", "rounding"])
def test_nothing_is_taken_at_least(nothing: Span) -> None:
    assert (0, 0) == (nothing.stolen, nothing.others)


def test_what_was_started_for_the_benchmark_is_nobody_elses() -> None:
    begun = Reading(at_s=100.0, own_s=7.0, times=Times(programs_s=50.0, stolen_s=3.0))
    ended = Reading(at_s=102.0, own_s=8.5, times=Times(programs_s=52.0, stolen_s=3.25))

    taken = taken_between(begun, ended, processors=2)

    assert Span(machine_s=4.0, stolen_s=0.25, others_s=0.5) == taken


def test_a_repetition_has_its_outcome_and_the_while_it_took() -> None:
    outer = Meter()

    repetition = watched(lambda: "outcome")

    assert "outcome" == repetition.outcome
    assert 0 < repetition.span.machine_s < outer.span().machine_s
