"""Repeats under one Idempotency-Key: one is answered, the others are told the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from one_api.counters.fallback import OutagePolicy, Resilient
from one_api.counters.memory import MemoryCounters
from one_api.errors import Conflict, IdempotencyMismatch, InvalidRequest, StorageUnavailable
from one_api.policy.idempotency import Idempotency, Replay, Started, Tape, digest_of
from tests.counters.redis_server import RedisServer, running_redis
from tests.counters.worlds import MemoryWorld, RedisWorld, World

DIGEST = digest_of("/v1/chat/completions", b'{"model":"m"}')
OTHER = digest_of("/v1/chat/completions", b'{"model":"n"}')
REPLY = Replay(
    200, {"content-type": "application/json", "x-one-api-model": "m"}, b'{"a":1}\n\n\xff'
)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made: World
    if request.param == "memory":
        made = MemoryWorld()
    else:
        made = RedisWorld(request.getfixturevalue("redis_server"))
    yield made
    await made.counters.close()


async def started(
    keys: Idempotency, scope: str = "alice", key: str = "k", digest: str = DIGEST
) -> Started:
    begun = await keys.begin(scope, key, digest)
    assert isinstance(begun, Started)
    return begun


async def test_repeat_gets_the_reply_that_was_given(world: World) -> None:
    keys = Idempotency(world.counters)
    await keys.finish(await started(keys), REPLY)
    assert [REPLY] * 3 == [await keys.begin("alice", "k", DIGEST) for _ in range(3)]


async def test_reply_is_forgotten_when_its_time_is_over(world: World) -> None:
    keys = Idempotency(world.counters, ttl_s=1000)
    await keys.finish(await started(keys), REPLY)
    world.advance(999)
    assert REPLY == await keys.begin("alice", "k", DIGEST)
    world.advance(2)
    await started(keys)


@pytest.mark.parametrize(("scope", "key"), [("bob", "k"), ("alice", "l"), ("alicek", "")])
async def test_other_keys_and_other_scopes_are_others(scope: str, key: str) -> None:
    keys = Idempotency(MemoryCounters())
    await keys.finish(await started(keys), REPLY)
    await started(keys, scope, key or "k")


async def test_another_request_under_the_same_key_is_refused(world: World) -> None:
    """Both while the first is being answered and after it was."""
    keys = Idempotency(world.counters, wait_s=0)
    first = await started(keys)
    for _ in range(2):
        with pytest.raises(IdempotencyMismatch) as caught:
            await keys.begin("alice", "k", OTHER)
        assert (422, "idempotency_key_reused") == (caught.value.status, caught.value.code)
        await keys.finish(first, REPLY)
    assert REPLY == await keys.begin("alice", "k", DIGEST)


async def answer(keys: Idempotency, provided: Iterator[Replay | None]) -> Replay:
    """As an endpoint does: each time the provider is asked, it gives the next of `provided`."""
    begun = await keys.begin("alice", "k", DIGEST)
    if isinstance(begun, Replay):
        return begun
    reply = next(provided)
    try:
        await asyncio.sleep(0)
        if reply is None:
            raise ConnectionError
        await keys.finish(begun, reply)
        return reply
    finally:
        await keys.release(begun)


@pytest.mark.parametrize("processes", [1, 5])
async def test_fifty_repeats_at_once_ask_once(world: World, processes: int) -> None:
    """All that share a store: within one process and over several."""
    gateways = [Idempotency(world.counters) for _ in range(processes)]
    provided = iter([REPLY])
    told = await asyncio.gather(
        *(answer(gateways[number % processes], provided) for number in range(50))
    )
    assert [REPLY] * 50 == told


async def test_when_the_first_fails_the_next_one_asks(world: World) -> None:
    keys = Idempotency(world.counters)
    provided = iter([None, None, REPLY])
    told = await asyncio.gather(*(answer(keys, provided) for _ in range(9)), return_exceptions=True)
    assert 2 == sum(isinstance(one, ConnectionError) for one in told)
    assert 7 == told.count(REPLY)


async def test_failure_is_forgotten(world: World) -> None:
    keys = Idempotency(world.counters)
    await keys.release(await started(keys))
    await keys.release(await started(keys, digest=OTHER))
    await keys.finish(await started(keys), REPLY)


async def test_wait_for_a_reply_is_bounded(world: World) -> None:
    keys = Idempotency(world.counters, wait_s=0.01)
    elsewhere = Idempotency(world.counters, wait_s=0.01)
    begun = await started(keys)
    for one in (keys, elsewhere):
        with pytest.raises(Conflict) as caught:
            await one.begin("alice", "k", DIGEST)
        assert (409, "idempotency_key_in_use") == (caught.value.status, caught.value.code)
        assert {"Retry-After": "2"} == caught.value.headers()
    await keys.finish(begun, REPLY)
    assert REPLY == await elsewhere.begin("alice", "k", DIGEST)


async def test_only_the_first_ending_counts(world: World) -> None:
    keys = Idempotency(world.counters)
    begun = await started(keys)
    await keys.finish(begun, REPLY)
    await keys.release(begun)
    await keys.finish(begun, Replay(200, {}, b"other"))
    assert REPLY == await keys.begin("alice", "k", DIGEST)
    begun = await started(keys, key="l")
    await keys.release(begun)
    await keys.finish(begun, REPLY)
    await started(keys, key="l")


async def test_key_of_a_process_that_died_is_free_again_after_its_lease(world: World) -> None:
    await started(Idempotency(world.counters, lease_s=100))
    keys = Idempotency(world.counters, wait_s=0)
    world.advance(99)
    with pytest.raises(Conflict):
        await keys.begin("alice", "k", DIGEST)
    world.advance(2)
    await started(keys)


async def test_who_comes_too_late_does_not_overwrite_who_came_after(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    late, after = Idempotency(world.counters, lease_s=10), Idempotency(world.counters)
    slow = await started(late)
    world.advance(11)
    quick = await started(after)
    await late.finish(slow, Replay(200, {}, b"late"))
    assert "not kept" in caplog.text
    await late.release(slow)
    await after.finish(quick, REPLY)
    assert REPLY == await late.begin("alice", "k", DIGEST)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Replay(200, {}, b"x" * 101), id="body"),
        pytest.param(Replay(200, {"x": "x" * (1 << 20)}, b""), id="headers"),
        pytest.param(None, id="stream"),
    ],
)
async def test_reply_that_cannot_be_kept_is_not_asked_for_again(reply: Replay | None) -> None:
    keys = Idempotency(MemoryCounters(), max_reply_bytes=100)
    await keys.finish(await started(keys), reply)
    with pytest.raises(Conflict) as caught:
        await keys.begin("alice", "k", DIGEST)
    assert "idempotent_reply_too_large" == caught.value.code
    assert {"x-should-retry": "false"} == caught.value.headers()
    with pytest.raises(IdempotencyMismatch):
        await keys.begin("alice", "k", OTHER)


async def test_largest_reply_that_is_allowed_is_kept() -> None:
    keys = Idempotency(MemoryCounters(), max_reply_bytes=100)
    reply = Replay(200, {}, b"x" * 100)
    await keys.finish(await started(keys), reply)
    assert reply == await keys.begin("alice", "k", DIGEST)


@pytest.mark.parametrize(
    "key", ["", " ", "a b", "a\t", "a\n", "é", "\x7f", "x" * 256, "a\r\nb"], ids=ascii
)
async def test_key_that_is_none_is_refused_by_the_header_s_name(key: str) -> None:
    with pytest.raises(InvalidRequest, match="'Idempotency-Key'") as caught:
        await Idempotency(MemoryCounters()).begin("alice", key, DIGEST)
    assert (400, "invalid_idempotency_key") == (caught.value.status, caught.value.code)


@pytest.mark.parametrize(
    "key", ["x", "x" * 255, "!~\"'\\{}", "8e03978e-40d5-43dd-bc93-6894a57f9324"]
)
async def test_visible_ascii_is_a_key(key: str) -> None:
    await started(Idempotency(MemoryCounters()), key=key)


class RecordingStore(MemoryCounters):
    """Counters that remember which keys they were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: set[str] = set()

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        self.keys.add(key)
        return await super().claim(key, owner, ttl_s)


async def test_store_is_told_neither_scope_nor_key() -> None:
    store = RecordingStore()
    await started(Idempotency(store), "alice", "a-long-idempotency-key")
    (name,) = store.keys
    assert "alice" not in name
    assert "a-long" not in name


class FailingStore(MemoryCounters):
    """Counters that stop answering when they are told to."""

    is_gone = False

    def _check(self) -> None:
        if self.is_gone:
            raise StorageUnavailable("gone")

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        self._check()
        return await super().claim(key, owner, ttl_s)

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        self._check()
        return await super().replace(key, owner, value, ttl_s)

    @override
    async def delete(self, key: str, owner: str) -> bool:
        self._check()
        return await super().delete(key, owner)


async def test_without_a_store_nothing_is_begun_and_what_was_begun_ends_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FailingStore()
    keys = Idempotency(store)
    first, second = await started(keys), await started(keys, key="l")
    waiting = asyncio.create_task(keys.begin("alice", "k", DIGEST))
    await asyncio.sleep(0)
    store.is_gone = True
    await keys.finish(first, REPLY)
    await keys.release(second)
    assert 2 == len(caplog.records)
    with pytest.raises(StorageUnavailable):
        await waiting
    with pytest.raises(StorageUnavailable):
        await keys.begin("alice", "m", DIGEST)


class SlowStore(MemoryCounters):
    """Counters that do not answer in time, as often as they are told to."""

    late = 0

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        if self.late:
            self.late -= 1
            raise StorageUnavailable("late")
        return await super().replace(key, owner, value, ttl_s)


@pytest.mark.parametrize("policy", ["fail_open", "fail_closed"])
async def test_reply_is_kept_by_a_store_that_was_slow_for_a_moment(
    policy: OutagePolicy, caplog: pytest.LogCaptureFixture
) -> None:
    store = SlowStore()
    keys = Idempotency(Resilient(store, MemoryCounters(), policy))
    begun = await started(keys)
    store.late = 2
    await keys.finish(begun, REPLY)
    assert REPLY == await keys.begin("alice", "k", DIGEST)
    assert "not kept" not in caplog.text
    assert "cannot be kept" not in caplog.text


class StallingStore(MemoryCounters):
    """Counters that claim, and take their time to say so."""

    def __init__(self) -> None:
        super().__init__()
        self.stalls: asyncio.Event | None = None

    @override
    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        value = await super().claim(key, owner, ttl_s)
        if self.stalls is not None:
            self.stalls.set()
            await asyncio.Event().wait()
        return value

    @override
    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        is_replaced = await super().replace(key, owner, value, ttl_s)
        if self.stalls is not None:
            self.stalls.set()
            await asyncio.Event().wait()
        return is_replaced


@pytest.mark.parametrize("where", ["claim", "replace"])
async def test_client_that_leaves_while_it_begins_leaves_no_key_taken(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StallingStore()
    store.stalls = asyncio.Event()
    if where == "replace":
        monkeypatch.setattr(StallingStore, "claim", MemoryCounters.claim)
    keys = Idempotency(store, wait_s=0)
    leaving = asyncio.create_task(keys.begin("alice", "k", DIGEST))
    await store.stalls.wait()
    leaving.cancel()
    await asyncio.wait((leaving,))
    store.stalls = None
    await started(keys)


async def test_client_that_leaves_while_it_waits_disturbs_nobody(world: World) -> None:
    keys = Idempotency(world.counters)
    first = await started(keys)
    leaving = asyncio.create_task(keys.begin("alice", "k", DIGEST))
    staying = asyncio.create_task(keys.begin("alice", "k", DIGEST))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait((leaving,))
    await keys.finish(first, REPLY)
    assert REPLY == await staying


async def test_value_of_another_version_is_taken_for_a_request_under_way() -> None:
    store = RecordingStore()
    keys = Idempotency(store, wait_s=0)
    await keys.finish(await started(keys), REPLY)
    (name,) = store.keys
    await store.put(name, b'[0,"done","x"]\nbody', 60)
    with pytest.raises(Conflict):
        await keys.begin("alice", "k", DIGEST)


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.binary())
@settings(deadline=None)
def test_any_reply_comes_back_as_it_was(status: int, headers: dict[str, str], body: bytes) -> None:
    async def there_and_back() -> Any:
        keys = Idempotency(MemoryCounters())
        await keys.finish(await started(keys), Replay(status, headers, body))
        return await keys.begin("alice", "k", DIGEST)

    assert Replay(status, headers, body) == asyncio.run(there_and_back())


@given(st.lists(st.binary(max_size=5)), st.integers(0, 20))
@settings(deadline=None)
def test_tape_has_all_or_nothing(parts: list[bytes], bound: int) -> None:
    tape = Tape(bound)
    for part in parts:
        tape.write(part)
    whole = b"".join(parts)
    assert (whole if len(whole) <= bound else None) == tape.body


def test_digest_tells_requests_apart() -> None:
    digests = {digest_of(path, body) for path, body in (("/a", b"x"), ("/b", b"x"), ("/a", b"y"))}
    assert 3 == len(digests)
    assert digest_of("/a", b"x") == digest_of("/a", b"x")
