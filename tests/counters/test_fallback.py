"""What begins in one place ends there, whatever comes back in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from one_api.counters import Ask, Grant
from one_api.counters.fallback import Resilient
from one_api.counters.memory import MemoryCounters
from one_api.counters.opening import open_counters
from one_api.errors import ConfigurationError, StorageUnavailable
from tests.counters.worlds import remaining, requests, slot, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence


class Outage(MemoryCounters):
    """Counters that others share, and that are gone while `is_gone`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_gone = False

    def require(self) -> None:
        if self.is_gone:
            raise StorageUnavailable("gone")

    @override
    async def take(self, asks: Sequence[Ask]) -> Grant:
        self.require()
        return await super().take(asks)

    @override
    async def get(self, key: str) -> bytes | None:
        self.require()
        return await super().get(key)

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        self.require()
        return await super().claim(key, owner, ttl_s)

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        self.require()
        return await super().replace(key, owner, value, ttl_s)

    @override
    async def delete(self, key: str, owner: str) -> bool:
        self.require()
        return await super().delete(key, owner)


@pytest.fixture
def shared() -> Outage:
    return Outage()


@pytest.fixture
def counters(shared: Outage) -> Resilient:
    return Resilient(shared, MemoryCounters(), "fail_open")


async def test_grants_are_settled_and_released_where_they_are_from(
    shared: Outage, counters: Resilient
) -> None:
    asks = [tokens(100), slot(limit=1)]
    first = await counters.take(asks)
    shared.is_gone = True
    second = await counters.take(asks)
    shared.is_gone = False
    await counters.settle(second, {"alice:tokens": 900})
    await counters.release(second)
    assert not (await counters.take([slot(limit=1)])).is_granted
    await counters.settle(first, {"alice:tokens": 50})
    await counters.release(first)
    assert [950, 0] == remaining(await counters.take([tokens(0), slot(limit=1)]))

    shared.is_gone = True
    assert [100, 0] == remaining(await counters.take([tokens(0), slot(limit=1)]))


async def test_claims_of_an_outage_are_kept_apart_also_after_it(
    shared: Outage, counters: Resilient
) -> None:
    shared.is_gone = True
    assert await counters.claim("key", "alice", 10) is None
    assert b"" == await counters.claim("key", "bob", 10)
    shared.is_gone = False
    assert b"" == await counters.claim("key", "bob", 10)
    assert await counters.replace("key", "alice", b"value", 10)
    assert b"value" == await counters.get("key")
    assert b"value" == await counters.claim("key", "bob", 10)
    assert await counters.delete("key", "alice")
    assert await counters.claim("key", "bob", 10) is None
    assert b"" == await shared.get("key")


async def test_claims_that_are_out_of_reach_are_lost(shared: Outage, counters: Resilient) -> None:
    assert await counters.claim("key", "alice", 10) is None
    shared.is_gone = True
    assert not await counters.replace("key", "alice", b"value", 10)
    assert not await counters.delete("key", "alice")
    assert counters.is_degraded
    shared.is_gone = False
    assert await counters.replace("key", "alice", b"value", 10)
    assert not counters.is_degraded


async def test_several_processes_share_what_each_counts_for_itself() -> None:
    shared = Outage()
    shared.is_gone = True
    processes = [Resilient(shared, MemoryCounters(), "fail_open", processes=4) for _ in range(4)]
    admitted = 0
    for counters in processes:
        for _ in range(10):
            admitted += (await counters.take([requests(limit=8)])).is_granted

    assert 8 == admitted
    large = await processes[0].take([tokens(800)])
    assert large.is_granted
    assert [0] == remaining(large)
    assert (await processes[1].take([tokens(1001)])).retry_after_s is None


async def test_without_an_address_everything_is_counted_here() -> None:
    counters = open_counters(None, "fail_closed", max_bytes=1000)
    assert (await counters.take([requests()])).is_granted
    assert not await counters.put("key", b"x" * 1000, 10)
    await counters.close()


async def test_a_wrong_address_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        open_counters("nowhere", "fail_open")
