"""Requests per minute: who is admitted, what is counted, and what callers are told."""

from __future__ import annotations

import asyncio
import time

import pytest

from one_api.adapter.http_errors import duration_to_wire
from one_api.errors import ConfigurationError, RateLimitExceeded
from one_api.policy.limits import RateLimiter


class FrozenClock:
    """The time of day, which stands still unless told otherwise."""

    def __init__(self) -> None:
        self.now_s = 1_790_000_040.0  # a minute begins here

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    clock = FrozenClock()
    monkeypatch.setattr(time, "time", clock)
    return clock


async def admitted(limiter: RateLimiter, caller: str, requests: int) -> int:
    """How many of so many requests are let in."""
    count = 0
    for _ in range(requests):
        try:
            await limiter.admit(caller)
        except RateLimitExceeded:
            continue
        count += 1
    return count


async def test_so_many_are_admitted_and_no_more(clock: FrozenClock) -> None:
    assert 3 == await admitted(RateLimiter(3), "key_a", 10)


async def test_callers_have_limits_of_their_own(clock: FrozenClock) -> None:
    limiter = RateLimiter(2)

    assert [2, 2] == [await admitted(limiter, caller, 5) for caller in ("key_a", "key_b")]


async def test_requests_at_the_same_time_are_all_counted(clock: FrozenClock) -> None:
    limiter = RateLimiter(5)

    assert 5 == sum(await asyncio.gather(*(admitted(limiter, "key_a", 1) for _ in range(20))))


async def test_headers_count_down(clock: FrozenClock) -> None:
    limiter = RateLimiter(3)

    told = [await limiter.admit("key_a") for _ in range(3)]

    assert ["3", "3", "3"] == [headers["x-ratelimit-limit-requests"] for headers in told]
    assert ["2", "1", "0"] == [headers["x-ratelimit-remaining-requests"] for headers in told]
    assert all(headers["x-ratelimit-reset-requests"] for headers in told)


async def test_refusal_says_when_to_come_back(clock: FrozenClock) -> None:
    limiter = RateLimiter(1)
    await limiter.admit("key_a")

    with pytest.raises(RateLimitExceeded) as caught:
        await limiter.admit("key_a")

    headers = caught.value.headers()
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert ("1", "0") == (
        headers["x-ratelimit-limit-requests"],
        headers["x-ratelimit-remaining-requests"],
    )
    assert "1 requests per minute" in caught.value.message


async def test_what_was_refused_is_not_counted(clock: FrozenClock) -> None:
    """Else an impatient client would shut itself out for ever."""
    limiter = RateLimiter(4)
    await admitted(limiter, "key_a", 40)

    clock.now_s += 90  # half of the minute before still counts

    assert 2 == await admitted(limiter, "key_a", 40)


async def test_limit_is_whole_again_in_the_end(clock: FrozenClock) -> None:
    limiter = RateLimiter(4)
    await admitted(limiter, "key_a", 4)

    clock.now_s += 180

    assert 4 == await admitted(limiter, "key_a", 10)


@pytest.mark.parametrize(
    ("duration_s", "wire"),
    [
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.85, "850ms"),
        (1, "1s"),
        (11.2, "12s"),
        (59, "59s"),
        (59.5, "1m0s"),
        (60, "1m0s"),
        (61, "1m1s"),
        (360, "6m0s"),
    ],
)
def test_duration_to_wire(duration_s: float, wire: str) -> None:
    assert wire == duration_to_wire(duration_s)


def test_redis_without_its_client_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis.asyncio", None)

    with pytest.raises(ConfigurationError) as caught:
        RateLimiter(2, redis_url="redis://:a-secret@localhost/0")

    assert "REDIS_URL" == caught.value.variable
    assert "a-secret" not in str(caught.value)
