"""Whoever stops waiting for Redis, nobody gets a reply that is not theirs."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from one_api.counters.redis import RedisCounters
from one_api.counters.redis_link import LinkOptions
from one_api.errors import StorageUnavailable
from tests.counters.redis_server import RedisServer
from tests.counters.slow_proxy import slowed
from tests.counters.worlds import PATIENT, remaining, slot, tokens, until

pytestmark = pytest.mark.redis

CALLS = 2_000
KEYS = 100


@pytest.mark.slow
async def test_no_reply_reaches_another_caller(shared_redis: RedisServer) -> None:
    """Half of the callers stop waiting at some time; some replies are too late for the rest."""
    shared_redis.command("FLUSHALL")
    for at in range(KEYS):
        shared_redis.command("SET", f"one_api:entry:{at}", f"\0value {at}", "PX", 600_000)
    random = Random(42)  # noqa: S311 # the same delays each time, not secrets
    options = LinkOptions(
        timeout_s=0.05, queue_timeout_s=30, connections=20, failures=CALLS, retry_s=0
    )
    outcomes: Counter[str] = Counter()

    def delay_s() -> float:
        return random.uniform(0, 0.002) if random.random() < 0.95 else 0.1

    async def ask(counters: RedisCounters, at: int) -> None:
        key = at % KEYS
        task = asyncio.ensure_future(counters.get(f"{key}"))
        if random.random() < 0.5:
            asyncio.get_running_loop().call_later(random.uniform(0, 0.02), task.cancel)
        try:
            assert f"value {key}".encode() == await task
            outcomes["answered"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1
        except StorageUnavailable:
            outcomes["failed"] += 1

    async with slowed(shared_redis.port, delay_s) as (url, proxy):
        counters = RedisCounters(url, options=options)
        for first in range(0, CALLS, 25):
            await asyncio.gather(*(ask(counters, at) for at in range(first, first + 25)))
        assert proxy.connections > 20, "no connection was given up"
        await counters.close()

    assert CALLS == sum(outcomes.values())
    assert len(outcomes) == 3, outcomes
    assert min(outcomes.values()) > CALLS // 100, outcomes


async def test_a_lease_is_given_back_that_nobody_waited_for(redis: RedisServer) -> None:
    counters = RedisCounters(redis.url, options=PATIENT)
    await counters.release(await counters.take([slot(limit=1)]))  # connected, with the script
    redis.freeze()
    abandoned = asyncio.ensure_future(counters.take([slot(limit=1)]))
    await until(lambda: counters.link.in_flight == 1)
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    redis.thaw()
    assert 1 == counters.owed

    await counters.take([tokens(1)])
    await until(lambda: counters.owed == 0)
    assert [0] == remaining(await counters.take([slot(limit=1)]))
    await counters.close()
