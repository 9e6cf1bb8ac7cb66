"""What becomes of requests when Redis stops, hangs, forgets, is full or is read-only."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator

import pytest

from one_api.counters import Counters
from one_api.counters.fallback import OutagePolicy, Resilient
from one_api.counters.memory import MemoryCounters
from one_api.counters.redis import RedisCounters
from one_api.counters.redis_link import LinkOptions
from one_api.errors import ConfigurationError, StorageUnavailable
from tests.counters.redis_server import RedisServer
from tests.counters.worlds import PATIENT, remaining, requests, slot, tokens, until

pytestmark = pytest.mark.redis

#: Patient enough for a busy machine, and soon curious again.
HASTY = LinkOptions(timeout_s=0.5, queue_timeout_s=5, retry_s=0.02)
ALL = [requests(), tokens(10), slot(limit=1000)]


@pytest.fixture
async def shared(redis: RedisServer) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(redis.url, options=HASTY)
    yield counters
    await counters.close()


def resilient(shared: Counters, policy: OutagePolicy = "fail_open") -> Resilient:
    return Resilient(shared, MemoryCounters(), policy)


async def come_back(counters: Resilient) -> None:
    async with asyncio.timeout(10):
        while counters.is_degraded:
            await counters.take([])
            await asyncio.sleep(0.01)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.levelname
        for record in caplog.records
        if record.name.startswith("one_api.counters") and record.levelno >= logging.INFO
    ]


async def test_a_take_is_one_round_trip(redis: RedisServer, shared: RedisCounters) -> None:
    await shared.take(ALL)
    redis.command("CONFIG", "RESETSTAT")
    grant = await shared.take(ALL)
    await shared.settle(grant, {"alice:tokens": 5})
    await shared.release(grant)

    calls = {name: told["calls"] for name, told in redis.command("INFO", "commandstats").items()}
    # The settling has its own script, which this server has not seen: it is sent once more.
    assert (2, 1, 1) == tuple(calls[f"cmdstat_{name}"] for name in ("evalsha", "eval", "zrem"))


async def test_a_redis_that_forgets_its_scripts_is_told_them(
    redis: RedisServer, shared: RedisCounters
) -> None:
    await shared.take([tokens(10)])
    await shared.claim("key", "alice", 10)
    redis.command("SCRIPT", "FLUSH")

    assert [980] == remaining(await shared.take([tokens(10)]))
    assert await shared.replace("key", "alice", b"value", 10)
    assert (0, False) == (shared.link.failures, shared.link.is_open)


async def test_after_everything_is_forgotten_counting_begins_anew(
    redis: RedisServer, shared: RedisCounters
) -> None:
    old = await shared.take([tokens(800), slot()])
    redis.command("FLUSHALL")
    await shared.settle(old, {"alice:tokens": 0})
    await shared.take([tokens(100)])
    await shared.release(old)
    late = await shared.take([tokens(300)])
    redis.command("FLUSHALL")
    await shared.take([tokens(100)])
    await shared.settle(late, {"alice:tokens": 0})  # 300 less than the 100 that are counted

    assert [1000] == remaining(await shared.take([tokens(0)]))
    assert 0 == shared.link.failures


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "read-only"],
)
async def test_a_redis_that_cannot_write_is_done_without(
    redis: RedisServer,
    shared: RedisCounters,
    caplog: pytest.LogCaptureFixture,
    spoil: tuple[str, ...],
    mend: tuple[str, ...],
) -> None:
    caplog.set_level(logging.INFO)
    counters = resilient(shared)
    before = await counters.take([tokens(100), slot(limit=1)])
    redis.command(*spoil)
    for expected in (900, 800, 700):
        assert [expected] == remaining(await counters.take([tokens(100)]))
        assert await counters.get("key") is None
    await counters.settle(before, {"alice:tokens": 50})
    assert await counters.put("key", b"value", 10)
    assert b"value" == await counters.get("key")
    redis.command(*mend)
    await come_back(counters)

    # What was not settled stays counted.
    assert [0] == remaining(await counters.take([tokens(900)]))
    assert ["WARNING", "INFO"] == told(caplog)


async def test_a_stop_and_start_under_load_is_no_callers_trouble(
    redis: RedisServer, shared: RedisCounters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    counters = resilient(shared)
    is_over = asyncio.Event()
    grants = 0

    async def load() -> None:
        nonlocal grants
        while not is_over.is_set():
            grant = await counters.take([requests(limit=10**9), slot(limit=8)])
            assert grant.is_granted
            grants += 1
            await counters.settle(grant, {})
            await counters.release(grant)
            await asyncio.sleep(0)

    async def reach(number: int) -> None:
        await until(lambda: grants >= number or any(task.done() for task in tasks))

    tasks = [asyncio.create_task(load()) for _ in range(8)]
    await reach(100)
    redis.stop()
    await until(lambda: counters.is_degraded)
    await reach(grants + 100)
    redis.start()
    await until(lambda: not counters.is_degraded)
    await reach(grants + 100)
    is_over.set()
    await asyncio.gather(*tasks)

    assert ["WARNING", "INFO"] == told(caplog)
    assert [7] == remaining(await counters.take([slot(limit=8)]))


async def test_a_redis_that_hangs_slows_down_few(redis: RedisServer) -> None:
    shared = RedisCounters(redis.url, options=LinkOptions(timeout_s=0.1, retry_s=3600))
    counters = resilient(shared)
    await asyncio.gather(*(counters.take([requests(limit=1000)]) for _ in range(5)))
    shared.link.failures = 0
    redis.freeze()
    for _ in range(100):
        await counters.take([requests(limit=1000)])

    # Five; a machine that was busy elsewhere meanwhile makes it ask once or twice more.
    assert 5 <= shared.link.failures <= 8
    assert 100 == shared.link.failures + shared.link.refusals
    await shared.close()


async def test_a_redis_that_hangs_slows_down_few_at_once(redis: RedisServer) -> None:
    shared = RedisCounters(
        redis.url, options=LinkOptions(timeout_s=0.2, queue_timeout_s=5, retry_s=3600)
    )
    counters = resilient(shared)
    redis.freeze()
    grants = await asyncio.gather(*(counters.take([requests(limit=40)]) for _ in range(100)))

    assert 40 == sum(grant.is_granted for grant in grants)
    assert 5 <= shared.link.failures <= 10
    assert 100 == shared.link.failures + shared.link.refusals
    await shared.close()


async def test_a_redis_that_goes_on_is_used_again_and_leases_are_given_back(
    redis: RedisServer, shared: RedisCounters
) -> None:
    counters = resilient(shared)
    held = await counters.take([slot(limit=1)])
    redis.freeze()
    stand_in = await counters.take([slot(limit=1)])
    await counters.release(held)
    assert stand_in.is_granted
    assert 1 <= shared.owed
    redis.thaw()
    await come_back(counters)
    await until(lambda: shared.owed == 0)

    assert (await counters.take([slot(limit=1)])).is_granted


async def test_a_claim_that_nobody_was_told_of_is_given_back(
    redis: RedisServer, shared: RedisCounters
) -> None:
    """Redis does what it was sent while it hung: nobody else could have the key for 15 minutes."""
    await shared.claim("other", "alice", 900)  # connected, with the script
    redis.freeze()
    with pytest.raises(StorageUnavailable):
        await shared.claim("key", "alice", 900)
    redis.thaw()

    assert b"" == await shared.claim("key", "bob", 900)
    await wait_for_key(shared)
    await until(lambda: shared.owed == 0)


async def test_a_claim_that_could_not_be_given_back_is_later(
    redis: RedisServer, shared: RedisCounters
) -> None:
    await shared.claim("key", "alice", 900)
    redis.freeze()
    await asyncio.gather(*(shared.get("key") for _ in range(5)), return_exceptions=True)
    with pytest.raises(StorageUnavailable):
        await shared.delete("key", "alice")
    assert 1 == shared.owed
    redis.thaw()

    await wait_for_key(shared)
    await until(lambda: shared.owed == 0)


async def wait_for_key(counters: Counters) -> None:
    """Claim the key until it is granted, by another name each time; for 20 s at most."""
    async with asyncio.timeout(20):
        for attempt in itertools.count():
            with contextlib.suppress(StorageUnavailable):
                if await counters.claim("key", f"waiting {attempt}", 900) is None:
                    return
            await asyncio.sleep(0.001)


async def test_fail_closed_refuses_and_comes_back(
    redis: RedisServer, shared: RedisCounters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    counters = resilient(shared, "fail_closed")
    held = await counters.take([tokens(10), slot()])
    redis.stop()
    refused = 0
    for ask in (
        lambda: counters.take([tokens(10)]),
        lambda: counters.get("key"),
        lambda: counters.put("key", b"value", 10),
        lambda: counters.claim("key", "alice", 10),
        lambda: counters.replace("key", "alice", b"value", 10),
        lambda: counters.delete("key", "alice"),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            await ask()
        refused += 1
        assert 503 == caught.value.status
    await counters.settle(held, {"alice:tokens": 0})
    await counters.release(held)
    redis.start()
    async with asyncio.timeout(10):
        while counters.is_degraded:
            try:
                await counters.take([])
            except StorageUnavailable:
                await asyncio.sleep(0.01)

    assert 6 == refused
    assert ["WARNING", "INFO"] == told(caplog)


async def test_the_clock_of_redis_counts_where_none_is_given(redis: RedisServer) -> None:
    """Two hosts whose clocks differ are in the same window; set back, it goes on."""
    now_s = 1_800_000_000.0
    counters = RedisCounters(redis.url, options=PATIENT, clock=lambda: now_s)
    by_redis = RedisCounters(redis.url, options=PATIENT)
    seconds, _ = redis.command("TIME")
    told = (await by_redis.take([tokens(10, name="other")])).standings[0].window
    assert told in {int(seconds) // 60, int(seconds) // 60 + 1}

    await counters.take([tokens(1000)])
    for back_s in (0.001, 3600.0):
        now_s -= back_s
        assert [0] == remaining(await counters.take([tokens(0)]))
        assert not (await counters.take([tokens(1)])).is_granted
    for each in (counters, by_redis):
        await each.close()


def test_what_is_no_address_of_redis_is_told() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        RedisCounters("http://user:secret@127.0.0.1")


async def test_a_wrong_password_is_an_outage(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "requirepass", "right")
    counters = RedisCounters(f"redis://:wrong@127.0.0.1:{redis.port}/0", options=PATIENT)
    with pytest.raises(StorageUnavailable) as caught:
        await counters.take([requests()])
    assert "wrong" not in f"{caught.value!r} {caught.value.__cause__!r}"
    await counters.close()
