"""Stored keys as a process remembers them: never too long, and through an outage."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from typing_extensions import override

from one_api.errors import AuthenticationFailed, StorageUnavailable
from one_api.policy import stored_keys
from one_api.policy.auth import ApiKey, KeyLimits, KeyRing
from one_api.policy.stored_keys import FRESH_S, MAX_REMEMBERED, STALE_S, StoredKeys, caller_of
from one_api.storage import Database, KeyStore, upgrade
from one_api.storage.keys import KeySpec, StoredKey

SECRET = b"a secret of the server that is long enough"


class Clock:
    """Seconds, and milliseconds since 1970, that pass together when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return round(self.now_s * 1_000)


class FailingStore(KeyStore):
    """A store that counts what it is asked, and can be made slow, or not to answer."""

    is_down = False
    asked = 0
    counted = 0

    def __init__(self, database: Database, secret: bytes, *, now_ms: Callable[[], int]) -> None:
        super().__init__(database, secret, now_ms=now_ms)
        self.gate = asyncio.Event()
        self.gate.set()

    @override
    async def find(self, plaintext: str) -> StoredKey | None:
        self.asked += 1
        found = await super().find(plaintext)
        await self.gate.wait()
        self._require_up()
        return found

    @override
    async def list(self, limit: int = 100, after: str | None = None) -> list[StoredKey]:
        self.counted += 1
        self._require_up()
        return await super().list(limit, after)

    def _require_up(self) -> None:
        if self.is_down:
            raise StorageUnavailable("The database does not answer.")


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class World:
    """Stored keys over a real database, and a clock that only a test moves."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.store = FailingStore(database, SECRET, now_ms=self.clock.now_ms)
        self.keys = StoredKeys(self.store, clock=self.clock, now_ms=self.clock.now_ms)

    async def ask(self, key: str) -> ApiKey | None:
        """As a request does: what is remembered, else what the database says."""
        is_known, caller = self.keys.remembered(digest(key))
        return caller if is_known else await self.keys.look_up(key, digest(key))

    async def create(self, spec: KeySpec | None = None) -> tuple[str, StoredKey]:
        return await self.store.create(spec or KeySpec(name="test"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await Database.open(str(tmp_path / "one_api.db"))
    await upgrade(database)
    made = World(database)
    yield made
    made.store.gate.set()
    await made.keys.close()
    await database.close()


async def settle_down() -> None:
    """Let every task go as far as it can without anybody else."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until_asked(world: World, times: int) -> None:
    async with asyncio.timeout(10):
        while world.store.asked < times:  # noqa: ASYNC110 # what is waited for raises no event
            await asyncio.sleep(0.001)


async def test_a_key_is_believed_for_a_second_without_asking(world: World) -> None:
    key, stored = await world.create()

    for _ in range(5):
        caller = await world.ask(key)
        assert caller is not None
        assert stored.id == caller.id
    world.clock.now_s += FRESH_S
    await world.ask(key)
    assert 1 == world.store.asked

    world.clock.now_s += 0.001
    await world.ask(key)

    assert 2 == world.store.asked


async def test_a_wrong_key_is_not_asked_about_again_within_a_second(world: World) -> None:
    for _ in range(5):
        assert await world.ask("sk-oa-" + "x" * 43) is None

    assert 1 == world.store.asked


async def test_a_revoked_key_opens_nothing_a_second_later(world: World) -> None:
    key, stored = await world.create()
    await world.ask(key)

    await world.store.revoke(stored.id)

    assert await world.ask(key) is not None
    world.clock.now_s += FRESH_S + 0.001
    assert await world.ask(key) is None
    world.clock.now_s += FRESH_S + 0.001
    assert await world.ask(key) is None


async def test_a_changed_key_has_its_new_limits_a_second_later(world: World) -> None:
    key, stored = await world.create(KeySpec(name="test", requests_per_minute=100))
    await world.ask(key)

    await world.store.update(stored.id, {"requests_per_minute": 1, "models": ("small",)})

    world.clock.now_s += FRESH_S + 0.001
    caller = await world.ask(key)
    assert caller is not None
    assert (1, ("small",)) == (caller.limits.requests_per_minute, caller.models)


async def test_a_new_key_opens_within_a_second_of_being_tried_too_early(world: World) -> None:
    key, stored = await world.create()
    rotated = await world.store.rotate(stored.id)

    assert await world.ask(key) is None
    assert await world.ask(rotated) is not None


async def test_the_second_begins_when_the_question_is_asked(world: World) -> None:
    """Else a slow answer of before a revocation would be believed for longer than that."""
    key, stored = await world.create()
    world.store.gate.clear()
    asking = asyncio.create_task(world.ask(key))
    await until_asked(world, 1)
    world.clock.now_s += 10
    world.store.gate.set()
    assert await asking is not None
    await world.store.revoke(stored.id)

    assert await world.ask(key) is None


async def test_many_that_wait_for_one_key_ask_once(world: World) -> None:
    key, stored = await world.create()
    world.store.gate.clear()
    waiting = [asyncio.create_task(world.ask(key)) for _ in range(200)]
    await until_asked(world, 1)
    world.store.gate.set()

    callers = await asyncio.gather(*waiting)

    assert 1 == world.store.asked
    assert {stored.id} == {caller.id for caller in callers if caller is not None}
    assert None not in callers


async def test_one_that_leaves_takes_the_answer_from_nobody(world: World) -> None:
    key, stored = await world.create()
    world.store.gate.clear()
    first, second = (asyncio.create_task(world.ask(key)) for _ in range(2))
    await until_asked(world, 1)

    first.cancel()
    await settle_down()
    assert first.cancelled()
    world.store.gate.set()

    caller = await second
    assert caller is not None
    assert stored.id == caller.id
    assert 1 == world.store.asked


async def test_nobody_is_left_to_hear_of_a_failure(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = await world.create()
    world.store.gate.clear()
    only = asyncio.create_task(world.ask(key))
    await until_asked(world, 1)
    only.cancel()
    await settle_down()
    world.store.is_down = True
    world.store.gate.set()
    while world.keys._asked:  # noqa: ASYNC110 # raises no event
        await asyncio.sleep(0.001)

    world.store.is_down = False
    assert await world.ask(key) is not None
    assert [] == caplog.records


async def test_known_keys_are_believed_through_an_outage_and_no_longer(world: World) -> None:
    key, stored = await world.create()
    await world.ask(key)
    world.store.is_down = True

    for age_s in (FRESH_S + 1, STALE_S):
        world.clock.now_s = 1_000.0 + age_s
        caller = await world.ask(key)
        assert caller is not None
        assert stored.id == caller.id
        await settle_down()

    world.clock.now_s = 1_000.0 + STALE_S + 0.001
    with pytest.raises(StorageUnavailable):
        await world.ask(key)


async def test_an_expired_key_is_not_believed_for_as_long_as_others(world: World) -> None:
    """Neither for the second that nobody asks, nor through an outage."""
    lasting, _ = await world.create()
    ending, _ = await world.create(KeySpec(name="test", expires_ms=1_000_500))
    lost, _ = await world.create(KeySpec(name="test", expires_ms=1_010_000))
    for key in (lasting, ending, lost):
        assert await world.ask(key) is not None
    world.clock.now_s = 1_000.499
    assert await world.ask(ending) is not None
    asked = world.store.asked

    world.clock.now_s = 1_000.5
    assert await world.ask(ending) is None
    assert await world.ask(lasting) is not None
    assert asked + 1 == world.store.asked

    world.store.is_down = True
    world.clock.now_s = 1_009.999
    for key in (lost, lasting):
        assert await world.ask(key) is not None
    await settle_down()
    world.clock.now_s = 1_010.0
    with pytest.raises(StorageUnavailable):
        await world.ask(lost)
    assert await world.ask(lasting) is not None


async def test_an_expired_key_that_was_given_more_time_is_believed_again(world: World) -> None:
    key, stored = await world.create(KeySpec(name="test", expires_ms=1_000_500))
    await world.ask(key)
    await world.store.update(stored.id, {"expires_ms": 1_002_000})

    world.clock.now_s = 1_000.5
    assert await world.ask(key) is not None
    world.clock.now_s = 1_002.0
    assert await world.ask(key) is None


async def test_others_are_told_of_the_outage(world: World) -> None:
    unseen, _ = await world.create()
    revoked, stored = await world.create()
    await world.ask(revoked)
    await world.store.revoke(stored.id)
    world.clock.now_s += 2
    assert await world.ask(revoked) is None
    wrong = "sk-oa-" + "x" * 43
    assert await world.ask(wrong) is None
    world.clock.now_s += 2
    world.store.is_down = True

    for key in (unseen, revoked, wrong):
        with pytest.raises(StorageUnavailable):
            await world.ask(key)


async def test_known_keys_wait_once_for_a_database_that_hangs(world: World) -> None:
    key, _ = await world.create()
    await world.ask(key)
    world.clock.now_s += 2
    world.store.is_down = True
    await world.ask(key)
    world.store.gate.clear()

    async with asyncio.timeout(5):
        for _ in range(100):
            assert await world.ask(key) is not None
    # One question is under way, which finds out when the outage is over.
    await until_asked(world, 3)
    assert 3 == world.store.asked


async def test_a_key_that_was_revoked_in_an_outage_is_found_out_after_it(world: World) -> None:
    key, stored = await world.create()
    await world.ask(key)
    world.clock.now_s += 2
    world.store.is_down = True
    assert await world.ask(key) is not None
    await world.store.revoke(stored.id)
    world.store.is_down = False

    await world.ask(key)  # May still be let in, and asks.
    while world.keys._asked:  # noqa: ASYNC110 # raises no event
        await asyncio.sleep(0.001)

    assert await world.ask(key) is None


async def test_the_census_ends_an_outage_for_keys_that_nobody_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_keys, "CENSUS_S", 0.001)
    key, stored = await world.create()
    await world.keys.start()
    await world.ask(key)
    world.clock.now_s += 2
    world.store.is_down = True
    assert await world.ask(key) is not None
    await world.store.revoke(stored.id)
    world.store.is_down = False
    counted = world.store.counted
    while world.store.counted < counted + 2:  # noqa: ASYNC110 # raises no event
        await asyncio.sleep(0.001)

    assert await world.ask(key) is None


async def test_memory_is_bounded_and_wrong_keys_push_out_no_good_one(world: World) -> None:
    key, stored = await world.create()
    await world.ask(key)

    for number in range(MAX_REMEMBERED + 50):
        await world.keys.look_up(f"wrong-{number}", digest(f"wrong-{number}"))

    assert MAX_REMEMBERED == len(world.keys._wrong)
    assert 1 == len(world.keys._good)
    assert not world.keys._asked
    world.clock.now_s += 2
    world.store.is_down = True
    caller = await world.ask(key)
    assert caller is not None
    assert stored.id == caller.id


async def test_has_any_never_goes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_keys, "CENSUS_S", 0.001)
    await world.keys.start()
    assert not world.keys.has_any
    key, stored = await world.create()
    while not world.keys.has_any:  # noqa: ASYNC110 # raises no event
        await asyncio.sleep(0.001)

    await world.store.revoke(stored.id)
    assert await world.ask(key) is None
    world.store.is_down = True
    counted = world.store.counted
    while world.store.counted < counted + 3:  # noqa: ASYNC110 # raises no event
        await asyncio.sleep(0.001)

    assert world.keys.has_any


async def test_a_key_that_opens_shows_that_there_are_keys(world: World) -> None:
    await world.keys.start()
    key, _ = await world.create()

    await world.ask(key)

    assert world.keys.has_any


async def test_start_tells_that_the_database_does_not_answer(world: World) -> None:
    world.store.is_down = True

    with pytest.raises(StorageUnavailable):
        await world.keys.start()


async def test_close_ends_what_is_being_asked(world: World) -> None:
    key, _ = await world.create()
    await world.keys.start()
    world.store.gate.clear()
    asking = asyncio.create_task(world.ask(key))
    await until_asked(world, 1)

    await world.keys.close()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not world.keys._asked


def test_a_caller_has_all_limits_of_its_key() -> None:
    stored = StoredKey(
        id="key_1", prefix="p", created_ms=0, revoked_ms=None, name="n", may_route=True,
        models=("gpt-*",), requests_per_minute=1, tokens_per_minute=2, concurrent_requests=3,
        budget_day_microusd=4, budget_month_microusd=5, budget_total_microusd=6, max_tokens=7,
    )  # fmt: skip

    expected = KeyLimits(
        requests_per_minute=1, tokens_per_minute=2, concurrent_requests=3, budget_day_microusd=4,
        budget_month_microusd=5, budget_total_microusd=6, max_tokens=7,
    )  # fmt: skip
    assert ApiKey("key_1", may_route=True, models=("gpt-*",), limits=expected) == caller_of(stored)


async def test_ring_asks_for_what_only_the_database_can_tell(world: World) -> None:
    key, stored = await world.create()
    ring = KeyRing(["sk-of-the-settings"])
    ring.stored = world.keys

    assert ring.authenticate(key, fallback_id="a") is None
    assert stored.id == (await ring.look_up(key)).id
    remembered = ring.authenticate(key, fallback_id="a")
    assert remembered is not None
    assert stored.id == remembered.id


async def test_ring_tells_all_that_open_nothing_the_same(world: World) -> None:
    revoked, stored = await world.create()
    await world.store.revoke(stored.id)
    expired, _ = await world.create(KeySpec(name="old", expires_ms=1))
    unknown = "sk-oa-" + "x" * 43
    ring = KeyRing(["sk-of-the-settings"])
    with pytest.raises(AuthenticationFailed) as missing:
        ring.authenticate(None, fallback_id="a")
    ring.stored = world.keys

    for key in (revoked, expired, unknown, "", "é", digest(revoked).hex()):
        assert ring.authenticate(key, fallback_id="a") is None
        with pytest.raises(AuthenticationFailed) as asked:
            await ring.look_up(key)
        with pytest.raises(AuthenticationFailed) as remembered:
            ring.authenticate(key, fallback_id="a")
        assert missing.value.to_wire() == asked.value.to_wire() == remembered.value.to_wire()
        assert missing.value.headers() == asked.value.headers() == remembered.value.headers()
    with pytest.raises(AuthenticationFailed) as none:
        ring.authenticate(None, fallback_id="a")
    assert missing.value.to_wire() == none.value.to_wire()


async def test_a_stored_key_closes_an_open_ring(world: World) -> None:
    ring = KeyRing([])
    ring.stored = world.keys
    await world.keys.start()
    assert ring.is_open
    key, stored = await world.create()

    assert stored.id == (await ring.look_up(key)).id

    assert not ring.is_open
    with pytest.raises(AuthenticationFailed):
        ring.authenticate(None, fallback_id="a")
