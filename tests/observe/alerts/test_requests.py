"""What the ends of requests are to an operator."""

from __future__ import annotations

import pytest

from one_api.deployment import Deployment
from one_api.errors import BudgetExceeded, GatewayError, InvalidRequest, UpstreamTimeout
from one_api.observe import Exchange, Observers
from one_api.observe.alerts import News
from one_api.observe.alerts.requests import ErrorRate, ErrorRule, RequestWatch

RULE = ErrorRule(percent=20, window_s=60, least=10)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class TestErrorRate:
    @pytest.mark.parametrize(
        ("failed", "total", "is_high"),
        [(2, 10, True), (1, 10, False), (9, 9, False), (0, 100, False), (20, 100, True)],
        ids=["at the threshold", "below it", "too few to say", "none", "many"],
    )
    def test_it_takes_share_and_number(self, failed: int, total: int, is_high: bool) -> None:
        rate = ErrorRate(RULE)
        for number in range(total):
            rate.note(1000.0, has_failed=number < failed)
        news = rate.news(1000.0)
        assert is_high == (news is not None)
        if news is not None:
            assert (failed, total) == (news.facts["failed"], news.facts["total"])

    def test_it_stays_until_half_as_many_fail_and_ends_once(self) -> None:
        rate = ErrorRate(RULE)
        for number in range(10):
            rate.note(1000.0, has_failed=number < 2)
        assert rate.news(1000.0) is not None
        for _ in range(5):
            rate.note(1001.0, has_failed=False)
        told = rate.news(1001.0)  # 2 of 15: below the threshold, above half of it
        assert told is not None
        assert not told.is_recovery
        for _ in range(15):
            rate.note(1002.0, has_failed=False)
        over = rate.news(1002.0)
        assert over is not None
        assert over.is_recovery
        assert None is rate.news(1003.0)

    def test_what_is_older_than_the_window_does_not_count(self) -> None:
        rate = ErrorRate(RULE)
        for _ in range(10):
            rate.note(1000.0, has_failed=True)
        assert None is rate.news(1061.0)


class TestRequestWatch:
    def watch(self) -> tuple[RequestWatch, list[News], Clock]:
        told: list[News] = []
        clock = Clock()
        return RequestWatch(told.append, RULE, clock=clock), told, clock

    def end(
        self,
        watch: RequestWatch,
        status: int = 200,
        error: GatewayError | None = None,
        *,
        model: str = "m",
    ) -> None:
        exchange = Exchange(Observers([watch]), "req_1")
        exchange.model, exchange.key_id, exchange.error = model, "key_1", error
        if not isinstance(error, BudgetExceeded):
            attempt = exchange.ask(Deployment(model="m", adapter="a", upstream_model="m"))
            exchange.end_attempt(attempt, error.code if error is not None else None)
        exchange.end(status)

    def test_a_failure_is_told_once_until_the_model_answers(self) -> None:
        watch, told, clock = self.watch()
        self.end(watch, 504, UpstreamTimeout("late"))
        self.end(watch, 504, UpstreamTimeout("late"))
        assert [("request_failed", "m", False)] == [
            (n.kind, n.subject, n.is_recovery) for n in told
        ]
        assert {"attempts": 1, "code": "timeout", "request_id": "req_1"} == told[0].facts
        self.end(watch, 200)
        self.end(watch, 200)
        assert [False, True] == [news.is_recovery for news in told]
        clock.now_s += 1
        self.end(watch, 504, UpstreamTimeout("late"))
        assert [False, True, False] == [news.is_recovery for news in told]

    def test_a_failure_that_goes_on_is_told_again_after_a_minute(self) -> None:
        watch, told, clock = self.watch()
        self.end(watch, 504, UpstreamTimeout("late"))
        clock.now_s += 60
        self.end(watch, 504, UpstreamTimeout("late"))
        assert 2 == len(told)

    @pytest.mark.parametrize(
        ("status", "error", "model"),
        [(400, InvalidRequest("no"), "m"), (499, None, "m"), (500, None, "")],
        ids=["a client's mistake", "a client that left", "what asks no model"],
    )
    def test_what_is_nobodys_failure(
        self, status: int, error: GatewayError | None, model: str
    ) -> None:
        watch, told, _ = self.watch()
        for _ in range(20):
            self.end(watch, status, error, model=model)
        assert [] == told
        assert [] == watch.look()

    def test_errors_within_streams_count(self) -> None:
        watch, _, _ = self.watch()
        for _ in range(10):
            self.end(watch, 200, UpstreamTimeout("cut"))
        assert ["error_rate"] == [news.kind for news in watch.look()]

    def test_keys_that_are_refused_for_money_are_named_once(self) -> None:
        watch, told, _ = self.watch()
        self.end(watch, 429, BudgetExceeded("no money"))
        assert [] == told
        assert {"key_1"} == watch.take_refused()
        assert set() == watch.take_refused()
