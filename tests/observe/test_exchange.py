"""The facts of one request: each told once, in order, to whoever wants it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import accumulate

import pytest
from typing_extensions import override

from one_api.observe import AttemptFacts, Exchange, Observer, Observers
from one_api.observe.observer import NOBODY
from one_api.observe.pace import CHUNK_BOUNDS_S, Pace
from tests.observe.scenes import A, B


class Witness(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @override
    def began(self, exchange: Exchange) -> None:
        self.told.append("began")

    @override
    def asked(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        self.told.append(f"asked {attempt.deployment.name}")

    @override
    def answered(self, exchange: Exchange, attempt: AttemptFacts) -> None:
        self.told.append(f"answered {attempt.deployment.name}: {attempt.error}")

    @override
    def streaming(self, exchange: Exchange) -> None:
        self.told.append("streaming")

    @override
    def ended(self, exchange: Exchange) -> None:
        self.told.append(f"ended {exchange.status}")


class Clumsy(Observer):
    """Fails at whatever it is told."""

    @override
    def ended(self, exchange: Exchange) -> None:
        raise LookupError("clumsy")


def test_each_step_is_told_once_and_in_order() -> None:
    witness = Witness()
    exchange = Exchange(Observers([witness]))

    exchange.end_attempt(exchange.ask(A), "timeout")
    exchange.end_attempt(exchange.ask(B))
    for _ in range(2):
        exchange.begin_stream()
    for status in (200, 499):
        exchange.end(status)

    assert [
        "began",
        "asked a/m",
        "answered a/m: timeout",
        "asked b/m",
        "answered b/m: None",
        "streaming",
        "ended 200",
    ] == witness.told


def test_an_observer_that_fails_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    witness = Witness()

    with caplog.at_level(logging.ERROR):
        Exchange(Observers([Clumsy(), witness])).end(200)

    assert ["began", "ended 200"] == witness.told
    assert "clumsy" in caplog.text


def test_a_withdrawn_attempt_was_none() -> None:
    exchange = Exchange(NOBODY)
    refused = exchange.ask(A)
    sent = exchange.ask(B)

    for _ in range(2):
        exchange.withdraw_attempt(refused)

    assert [B] == [attempt.deployment for attempt in exchange.attempts]
    assert B == exchange.deployment
    assert exchange.asked_s == sent.began_s


def test_where_all_attempts_were_withdrawn_all_time_is_our_own() -> None:
    exchange = Exchange(NOBODY)
    refused = exchange.ask(A)
    exchange.end_attempt(refused, "unsupported_parameter")
    exchange.withdraw_attempt(refused)
    exchange.note_finished()

    assert (exchange.finished_s or 0.0) - exchange.began_s == exchange.overhead_s
    assert exchange.upstream_s is None


def timed(**times: float) -> Exchange:
    """An exchange that began at 10 s; `failed_s` is when its only attempt failed."""
    exchange = Exchange(NOBODY)
    exchange.began_s = 10.0
    if "asked_s" in times:
        attempt = exchange.ask(A)
        attempt.ended_s = times.pop("failed_s", None)
    for name, value in times.items():
        setattr(exchange, name, value)
    return exchange


TIMES: dict[str, tuple[dict[str, float], float | None, float | None]] = {
    "asked nobody": ({"finished_s": 10.5}, 0.5, None),
    "no response": ({"asked_s": 10.5, "answered_s": 12.0}, None, 1.5),
    "whole": ({"asked_s": 10.25, "answered_s": 12.25, "finished_s": 12.5}, 0.5, 2.0),
    "failed": ({"asked_s": 10.25, "failed_s": 11.25, "finished_s": 11.5}, 0.5, 1.0),
    "opened early": ({"asked_s": 10.25, "finished_s": 11.5}, None, None),
    "answered after its head": (
        {"asked_s": 10.25, "answered_s": 13.25, "finished_s": 12.5},
        0.25,
        3.0,
    ),
}


@pytest.mark.parametrize(("times", "overhead_s", "upstream_s"), TIMES.values(), ids=TIMES)
def test_own_time_is_what_deployments_did_not_take(
    times: dict[str, float], overhead_s: float | None, upstream_s: float | None
) -> None:
    exchange = timed(**times)

    assert (overhead_s, upstream_s) == (exchange.overhead_s, exchange.upstream_s)


FIRSTS: dict[str, Callable[[Exchange], None]] = {
    "first_content_s": Exchange.note_first_content,
    "answered_s": Exchange.note_answered,
}


@pytest.mark.parametrize("name", FIRSTS)
def test_what_comes_first_stays(name: str) -> None:
    exchange = Exchange(NOBODY)
    FIRSTS[name](exchange)
    first_s = getattr(exchange, name)

    FIRSTS[name](exchange)

    assert first_s is not None
    assert first_s == getattr(exchange, name)


def test_pace_counts_the_times_between_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1.0, 1.0005, 1.0045, 41.0045])
    monkeypatch.setattr("one_api.observe.pace.time.perf_counter", lambda: next(times))
    pace = Pace()

    for _ in range(4):
        pace.note()

    assert {0: 1, 1: 1, len(CHUNK_BOUNDS_S): 1} == {
        at: count for at, count in enumerate(pace.counts) if count
    }
    assert pytest.approx(40.0045) == pace.sum_s


@pytest.mark.parametrize("chunks", [1, 2, 63, 64, 65, 127, 128, 1000])
def test_pace_counts_each_time_of_a_long_stream_once(
    chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Gaps of 1/256 s and of 1/16 s in turn, which a float holds exactly.
    times_s = [*accumulate([1 / 256, 1 / 16] * 500, initial=1.0)][:chunks]
    clock = iter(times_s)
    monkeypatch.setattr("one_api.observe.pace.time.perf_counter", lambda: next(clock))
    pace = Pace()

    for number in range(chunks):
        pace.note()
        if number == chunks // 2:
            assert number == sum(pace.counts)  # to look does no harm

    gaps = {1: chunks // 2, 5: (chunks - 1) // 2}
    assert gaps == {at: pace.counts[at] for at in gaps}
    assert (chunks - 1, times_s[-1] - 1.0) == (sum(pace.counts), pace.sum_s)
