"""What all counters do alike with values that expire."""

from __future__ import annotations

import asyncio

import pytest

from one_api.counters import MAX_VALUE_BYTES
from one_api.counters.memory import MemoryCounters
from tests.counters.worlds import World, requests, slot

BINARY = bytes(range(256))


async def test_a_value_is_kept_until_its_time_is_over(world: World) -> None:
    assert await world.counters.get("key") is None
    assert await world.counters.put("key", BINARY, 10)
    world.advance(8)
    assert BINARY == await world.counters.get("key")
    world.advance(2)
    assert await world.counters.get("key") is None


async def test_one_of_many_claims_succeeds(world: World) -> None:
    told = await asyncio.gather(*(world.counters.claim("key", f"{at}", 10) for at in range(50)))

    assert [None] + [b""] * 49 == sorted(told, key=lambda value: value is not None)
    assert b"" == await world.counters.get("key")


async def test_an_owner_renews_its_claim_until_it_has_replaced_it(world: World) -> None:
    assert await world.counters.claim("key", "alice", 10) is None
    world.advance(8)
    assert await world.counters.claim("key", "alice", 10) is None
    world.advance(8)
    assert b"" == await world.counters.claim("key", "bob", 10)
    assert await world.counters.replace("key", "alice", BINARY, 10)
    for owner in ("alice", "bob"):
        assert BINARY == await world.counters.claim("key", owner, 10)


async def test_only_the_owner_replaces_and_deletes(world: World) -> None:
    await world.counters.claim("key", "alice", 10)
    for stranger in ("bob", "ali", "alice2"):
        assert not await world.counters.replace("key", stranger, b"theirs", 10)
        assert not await world.counters.delete("key", stranger)
    assert await world.counters.replace("key", "alice", b"hers", 10)
    assert b"hers" == await world.counters.get("key")
    assert await world.counters.delete("key", "alice")
    assert not await world.counters.delete("key", "alice")
    assert await world.counters.get("key") is None


async def test_a_claim_that_ended_is_anyones(world: World) -> None:
    await world.counters.claim("key", "alice", 10)
    world.advance(10)
    assert not await world.counters.replace("key", "alice", b"late", 10)
    assert await world.counters.claim("key", "bob", 10) is None
    assert not await world.counters.replace("key", "alice", b"late", 10)
    assert not await world.counters.delete("key", "alice")


async def test_replacing_counts_the_time_anew(world: World) -> None:
    await world.counters.claim("key", "alice", 10)
    world.advance(9)
    await world.counters.replace("key", "alice", b"value", 100)
    world.advance(90)
    assert b"value" == await world.counters.get("key")


async def test_putting_takes_a_key_from_its_owner(world: World) -> None:
    await world.counters.claim("key", "alice", 10)
    await world.counters.put("key", b"put", 10)
    assert not await world.counters.replace("key", "alice", b"hers", 10)
    assert b"put" == await world.counters.claim("key", "alice", 10)


async def test_values_that_are_too_long_are_not_kept(world: World) -> None:
    await world.counters.claim("key", "alice", 10)
    for size, is_kept in ((MAX_VALUE_BYTES, True), (MAX_VALUE_BYTES + 1, False)):
        value = b"x" * size
        assert is_kept == await world.counters.put(f"{size}", value, 10)
        assert is_kept == await world.counters.replace("key", "alice", value, 10)
        assert (value if is_kept else None) == await world.counters.get(f"{size}")


async def test_entries_and_counters_of_one_name_are_apart(world: World) -> None:
    asks = [requests(name="x"), slot(name="x")]
    assert (await world.counters.take(asks)).is_granted
    assert await world.counters.claim("x", "alice", 10) is None
    assert (await world.counters.take(asks)).is_granted


async def test_memory_forgets_what_was_used_longest_ago() -> None:
    counters = MemoryCounters(max_bytes=10 * 1400)
    for at in range(10):
        await counters.put(f"{at}", b"x" * 1000, 10)
        await counters.get("0")
        assert counters.bytes_used <= 10 * 1400
    for at in range(10, 14):
        await counters.put(f"{at}", b"x" * 1000, 10)

    kept = [at for at in range(14) if await counters.get(f"{at}") is not None]
    assert [0, *range(5, 14)] == kept


async def test_memory_keeps_claims_longer_than_copies() -> None:
    counters = MemoryCounters(max_bytes=10_000)
    await counters.claim("mine", "alice", 10)
    for at in range(100):
        await counters.put(f"{at}", b"x" * 1000, 10)
    assert b"" == await counters.get("mine")
    for at in range(100):
        await counters.claim(f"claim {at}", "bob", 10)
    assert await counters.get("mine") is None
    assert counters.bytes_used <= 10_000


@pytest.mark.parametrize("value", [b"", b"short", b"x" * 5000])
async def test_memory_counts_bytes_back_to_nothing(value: bytes) -> None:
    counters = MemoryCounters()
    for _ in range(2):
        await counters.claim("key", "alice", 10)
        await counters.replace("key", "alice", value, 10)
        await counters.replace("key", "alice", value * 2, 10)
        await counters.delete("key", "alice")
    assert 0 == counters.bytes_used
