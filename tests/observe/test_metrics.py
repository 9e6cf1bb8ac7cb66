"""What is counted of exchanges, and that labels stay few whatever clients ask for."""

from __future__ import annotations

import threading

import pytest

from one_api.deployment import Deployment
from one_api.errors import (
    BudgetExceeded,
    GatewayError,
    RateLimitExceeded,
    TokenLimitExceeded,
    UpstreamDisconnected,
    UpstreamRateLimited,
)
from one_api.events import Usage
from tests.observe.scenes import A, B, Counted

ENDPOINT = "/v1/chat/completions"


def test_requests_are_counted_by_what_was_asked_and_told() -> None:
    counted = Counted()

    for status in (200, 200, 502):
        counted.ask((A, None), status=status)

    labels = {"endpoint": ENDPOINT, "model": "m", "deployment": "a/m"}
    assert 2 == counted.value("one_api_requests_total", **labels, status="200")
    assert 1 == counted.value("one_api_requests_total", **labels, status="502")
    count = counted.value("one_api_request_seconds_count", endpoint=ENDPOINT, model="m")
    assert 3 == count


def test_ten_thousand_unknown_models_add_no_series() -> None:
    counted = Counted()

    def ask(name: str) -> None:
        counted.ask(status=404, model=name)
        guess = Deployment(model=name, adapter="a", upstream_model=name)
        counted.ask((guess, "model_not_found"), (guess, f"code-{name}"), status=404, model=name)
        counted.metrics.note_routing(guess.name, "opened")

    ask("unknown")
    before = counted.series()
    for number in range(10_000):
        ask(f"unknown-{number}")

    assert before == counted.series()
    labels = {"endpoint": ENDPOINT, "model": "other", "status": "404"}
    assert 10_001 == counted.value("one_api_requests_total", **labels, deployment="")
    assert 10_001 == counted.value("one_api_requests_total", **labels, deployment="a/other")
    told = counted.value("one_api_attempts_total", deployment="a/other", outcome="other")
    assert 10_001 == told


def test_a_model_has_its_name_from_when_it_is_known() -> None:
    counted = Counted()
    late = Deployment(model="late", adapter="a", upstream_model="late")
    counted.ask((late, None), model="late")

    counted.metrics.names.know(["late"], ["a/late"])
    counted.ask((late, None), model="late")

    labels = {"endpoint": ENDPOINT, "status": "200"}
    for model, deployment in (("other", "a/other"), ("late", "a/late")):
        told = counted.value("one_api_requests_total", **labels, model=model, deployment=deployment)
        assert 1 == told


def test_failovers_and_retries_are_told_apart() -> None:
    counted = Counted()

    counted.ask((A, "upstream_server_error"), (A, "timeout"), (B, None))

    labels = {"deployment": "a/m"}
    assert 1 == counted.value("one_api_retries_total", **labels, reason="upstream_server_error")
    assert 1 == counted.value("one_api_failovers_total", **labels, reason="timeout")
    assert None is counted.value(
        "one_api_failovers_total", **labels, reason="upstream_server_error"
    )
    assert 1 == counted.value("one_api_attempts_total", deployment="b/m", outcome="committed")
    assert 1 == counted.value("one_api_attempts_total", **labels, outcome="timeout")


def test_choices_that_are_asked_side_by_side_are_no_failovers() -> None:
    counted = Counted()
    exchange = counted.begin()
    first, second = exchange.ask(A), exchange.ask(B)
    exchange.end_attempt(first, "timeout")
    exchange.end_attempt(second)
    exchange.end(200)

    assert None is counted.value("one_api_failovers_total", deployment="a/m", reason="timeout")


def test_an_attempt_whose_client_left_is_abandoned() -> None:
    counted = Counted()
    exchange = counted.begin()
    exchange.ask(A)
    exchange.end(499)

    assert 1 == counted.value("one_api_attempts_total", deployment="a/m", outcome="abandoned")


def test_tokens_of_all_kinds_add_up() -> None:
    counted = Counted()
    counted.use(
        Usage(
            prompt_tokens=100,
            completion_tokens=50,
            cached_tokens=30,
            cache_write_tokens=20,
            reasoning_tokens=40,
        ),
        cost_microusd=1_500,
    )

    labels = {"model": "m", "deployment": "a/m"}
    kinds = {"input": 50, "cached": 30, "cache_write": 20, "output": 10, "reasoning": 40}
    for kind, tokens in kinds.items():
        assert tokens == counted.value("one_api_tokens_total", **labels, kind=kind)
    assert 0.0015 == counted.value("one_api_cost_usd_total", **labels)


def test_what_the_cache_answers_uses_and_costs_nothing() -> None:
    counted = Counted()
    counted.metrics.note_cache_lookup()
    counted.metrics.note_cache_lookup()
    counted.use(Usage(prompt_tokens=5, completion_tokens=5), cache="hit")

    labels = {"model": "m", "deployment": "a/m"}
    assert None is counted.value("one_api_tokens_total", **labels, kind="input")
    assert (2, 1) == (
        counted.value("one_api_cache_lookups_total"),
        counted.value("one_api_cache_hits_total"),
    )


REFUSALS: dict[str, tuple[GatewayError, str | None]] = {
    "requests": (RateLimitExceeded("Rate limit reached"), "requests_per_minute"),
    "tokens": (TokenLimitExceeded("Rate limit reached"), "tokens_per_minute"),
    "budget": (BudgetExceeded("Budget"), "budget"),
    "of a provider": (UpstreamRateLimited("Slow down"), None),
}


@pytest.mark.parametrize(("error", "limit"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_are_counted_by_our_limit(error: GatewayError, limit: str | None) -> None:
    counted = Counted()

    counted.refuse(error)

    for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "budget"):
        expected = 1 if name == limit else None
        assert expected == counted.value("one_api_limit_refusals_total", limit=name)


def test_streams_open_goes_up_and_down_once() -> None:
    counted = Counted()
    exchanges = [counted.begin() for _ in range(3)]
    for exchange in exchanges[:2]:
        exchange.begin_stream()
    assert (3, 2) == (
        counted.value("one_api_requests_in_flight"),
        counted.value("one_api_streams_open"),
    )

    for exchange in exchanges:
        exchange.end(499)
        exchange.end(200)

    assert (0, 0) == (
        counted.value("one_api_requests_in_flight"),
        counted.value("one_api_streams_open"),
    )


def test_a_stream_that_breaks_is_counted_though_its_status_was_good() -> None:
    counted = Counted()
    exchange = counted.begin()
    exchange.end_attempt(exchange.ask(A))
    exchange.begin_stream()
    exchange.error = UpstreamDisconnected("It left.")
    exchange.end(200)

    told = counted.value(
        "one_api_streams_broken_total", deployment="a/m", reason="upstream_disconnected"
    )
    assert 1 == told


def test_times_of_a_stream_fall_into_their_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted()
    exchange = counted.begin()
    exchange.end_attempt(exchange.ask(A))
    exchange.begin_stream()
    exchange.note_first_content()
    exchange.began_s, exchange.first_content_s = 10.0, 10.3
    assert exchange.pace is not None
    clock = iter([10.3 + number / 128 for number in range(8)])
    with monkeypatch.context() as patched:
        patched.setattr("one_api.observe.pace.time.perf_counter", lambda: next(clock))
        for _ in range(8):
            exchange.pace.note()
    exchange.end(200)

    labels = {"model": "m", "deployment": "a/m"}
    buckets = {"0.25": 0, "0.5": 1, "+Inf": 1}
    for bound, count in buckets.items():
        told = counted.value("one_api_first_content_seconds_bucket", **labels, le=bound)
        assert count == told
    assert 7 == counted.value("one_api_inter_chunk_seconds_count", **labels)
    told = counted.value("one_api_inter_chunk_seconds_sum", **labels)
    assert pytest.approx(7 / 128) == told
    assert 0 == counted.value("one_api_inter_chunk_seconds_bucket", **labels, le="0.005")
    assert 7 == counted.value("one_api_inter_chunk_seconds_bucket", **labels, le="0.01")


def test_nothing_is_lost_between_threads() -> None:
    counted = Counted()

    def ask() -> None:
        for _ in range(500):
            counted.ask((A, None))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    labels = {"endpoint": ENDPOINT, "model": "m", "deployment": "a/m", "status": "200"}
    assert 2_000 == counted.value("one_api_requests_total", **labels)
    assert 0 == counted.value("one_api_requests_in_flight")
