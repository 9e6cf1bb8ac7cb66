"""Virtual keys: who may call, told by what nobody can read out of the database."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import os
import shutil
import stat
import string
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from one_api.errors import ConfigurationError, Conflict, NotFound
from one_api.storage.database import Database
from one_api.storage.keys import KeyChanges, KeySpec, KeyStore
from one_api.storage.secret import FILE_NAME, key_secret
from one_api.storage.tables import api_keys

SECRET = b"a server's secret of enough characters"
EVERYTHING = KeySpec(
    name="build robot",
    owner="platform",
    tags=("ci", "blue"),
    expires_ms=2_000,
    models=("small", "gpt-*"),
    requests_per_minute=1,
    tokens_per_minute=2,
    concurrent_requests=3,
    budget_day_microusd=4,
    budget_month_microusd=5,
    budget_total_microusd=2**62,
    max_tokens=7,
    may_route=True,
)
NOTHING = KeySpec(name="plain")


class Clock:
    """Milliseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> KeyStore:
    return KeyStore(database, SECRET, now_ms=clock)


async def test_key_is_found_with_all_its_limits(store: KeyStore) -> None:
    plaintext, stored = await store.create(EVERYTHING)

    assert stored == await store.find(plaintext)
    assert stored == await store.get(stored.id)
    assert EVERYTHING == KeySpec(
        **{field.name: getattr(stored, field.name) for field in dataclasses.fields(KeySpec)}
    )


async def test_key_without_limits_is_found_without_limits(store: KeyStore) -> None:
    plaintext, stored = await store.create(NOTHING)

    assert stored == await store.find(plaintext)
    assert stored.models is None
    assert stored.budget_total_microusd is None


async def test_key_has_the_form_that_is_promised(store: KeyStore) -> None:
    plaintext, stored = await store.create(NOTHING)

    assert plaintext.startswith("sk-oa-")
    assert 43 == len(plaintext.removeprefix("sk-oa-"))
    assert set(plaintext[6:]) <= {*string.ascii_letters, *string.digits, "-", "_"}
    assert plaintext[6:18] == stored.prefix
    assert "key_" == stored.id[:4]
    assert set(stored.id[4:]) <= set("0123456789abcdef")
    assert 16 == len(stored.id)


async def test_no_two_keys_are_alike(store: KeyStore) -> None:
    made = [await store.create(NOTHING) for _ in range(20)]

    assert 20 == len({plaintext for plaintext, _ in made})
    assert 20 == len({stored.id for _, stored in made})
    assert [stored for _, stored in made] == [await store.find(plain) for plain, _ in made]


async def test_revoked_key_opens_nothing_and_stays_in_the_list(
    store: KeyStore, clock: Clock
) -> None:
    plaintext, stored = await store.create(NOTHING)
    clock.now_ms = 1_500

    revoked = await store.revoke(stored.id)
    clock.now_ms = 1_700
    again = await store.revoke(stored.id)

    assert 1_500 == revoked.revoked_ms
    assert revoked == again
    assert await store.find(plaintext) is None
    assert [revoked] == await store.list()


async def test_key_opens_nothing_from_its_expiry_on(store: KeyStore, clock: Clock) -> None:
    plaintext, stored = await store.create(EVERYTHING)

    clock.now_ms = 1_999
    assert stored == await store.find(plaintext)
    clock.now_ms = 2_000
    assert await store.find(plaintext) is None


async def test_rotated_key_keeps_id_and_limits_and_the_old_one_opens_nothing(
    store: KeyStore,
) -> None:
    old, stored = await store.create(EVERYTHING)

    new = await store.rotate(stored.id)

    assert await store.find(old) is None
    assert dataclasses.replace(stored, prefix=new[6:18]) == await store.find(new)


OTHERWISE: KeyChanges = {
    "name": "another robot",
    "owner": "",
    "tags": (),
    "expires_ms": None,
    "models": ("large",),
    "requests_per_minute": 10,
    "tokens_per_minute": None,
    "concurrent_requests": 2**40,
    "budget_day_microusd": None,
    "budget_month_microusd": 0,
    "budget_total_microusd": 9,
    "max_tokens": None,
    "may_route": False,
}


def test_all_that_is_said_of_a_key_can_be_changed() -> None:
    said = {field.name for field in dataclasses.fields(KeySpec)}
    assert said == set(KeyChanges.__annotations__) == set(OTHERWISE)


async def test_changed_key_is_another_in_what_was_said_and_in_nothing_else(
    store: KeyStore,
) -> None:
    plaintext, stored = await store.create(EVERYTHING)
    _, bystander = await store.create(EVERYTHING)

    one = await store.update(stored.id, {"requests_per_minute": 5})
    assert dataclasses.replace(stored, requests_per_minute=5) == one
    all_of_it = await store.update(stored.id, OTHERWISE)

    assert dataclasses.replace(stored, **OTHERWISE) == all_of_it
    assert all_of_it == await store.find(plaintext)
    assert bystander == await store.get(bystander.id)


async def test_everything_can_be_given_to_a_key_that_had_nothing(store: KeyStore) -> None:
    plaintext, stored = await store.create(NOTHING)
    everything = KeyChanges(**dataclasses.asdict(EVERYTHING))  # type: ignore[typeddict-item]  # the same fields, see above

    changed = await store.update(stored.id, everything)

    assert dataclasses.replace(stored, **everything) == changed == await store.find(plaintext)


async def test_change_of_nothing_changes_nothing(store: KeyStore) -> None:
    plaintext, stored = await store.create(EVERYTHING)

    assert stored == await store.update(stored.id, {})
    assert stored == await store.find(plaintext)


async def test_expired_key_is_good_again_with_another_expiry(store: KeyStore, clock: Clock) -> None:
    plaintext, stored = await store.create(EVERYTHING)
    clock.now_ms = 2_000
    assert await store.find(plaintext) is None

    changed = await store.update(stored.id, {"expires_ms": 3_000})

    assert changed == await store.find(plaintext)


@pytest.mark.parametrize("changes", [{}, {"name": "good again"}], ids=["nothing", "something"])
async def test_revoked_key_is_not_changed(store: KeyStore, changes: KeyChanges) -> None:
    _, stored = await store.create(NOTHING)
    revoked = await store.revoke(stored.id)

    with pytest.raises(Conflict, match="revoked"):
        await store.update(stored.id, changes)

    assert revoked == await store.get(stored.id)


async def change_name(store: KeyStore, key_id: str) -> object:
    return await store.update(key_id, {"name": "x"})


async def test_revoked_key_is_not_rotated_into_a_good_one(store: KeyStore) -> None:
    _, stored = await store.create(NOTHING)
    await store.revoke(stored.id)

    with pytest.raises(Conflict):
        await store.rotate(stored.id)

    assert stored.prefix == (await store.list())[0].prefix


@pytest.mark.parametrize("change", [KeyStore.revoke, KeyStore.rotate, change_name])
async def test_unknown_key_cannot_be_changed(
    store: KeyStore, change: Callable[[KeyStore, str], Awaitable[object]]
) -> None:
    with pytest.raises(NotFound):
        await change(store, "key_000000000000")


async def test_unknown_id_is_no_key(store: KeyStore) -> None:
    assert await store.get("key_000000000000") is None
    assert await store.get("' OR 1=1 --") is None


async def test_listing_pages_through_all_keys_oldest_first(store: KeyStore, clock: Clock) -> None:
    expected = []
    for number in range(7):
        clock.now_ms += number % 2  # some are made in the same millisecond
        expected.append((await store.create(NOTHING))[1])
    expected.sort(key=lambda key: (key.created_ms, key.id))

    pages = [await store.list(3)]
    while pages[-1]:
        pages.append(await store.list(3, after=pages[-1][-1].id))

    assert [3, 3, 1, 0] == [len(page) for page in pages]
    assert expected == [key for page in pages for key in page]
    assert [] == await store.list(after="key_000000000000")


async def test_listing_has_an_upper_limit(store: KeyStore) -> None:
    for _ in range(3):
        await store.create(NOTHING)

    assert 1 == len(await store.list(1))
    assert [] == await store.list(-1)


def changed_in_last_place(key: str) -> str:
    # The last of 43 characters has only four bits of the key, so that its neighbour will do.
    return key[:-1] + ("A" if key[-1] != "A" else "E")


async def test_key_of_another_secret_or_with_another_ending_is_no_key(
    store: KeyStore, database: Database
) -> None:
    plaintext, _ = await store.create(NOTHING)

    assert await store.find(changed_in_last_place(plaintext)) is None
    assert await KeyStore(database, b"x" * 32).find(plaintext) is None


async def test_digest_opens_nothing_in_whatever_spelling(
    store: KeyStore, database: Database
) -> None:
    """Who has read the database has no key: its digest and prefix are worth nothing."""
    plaintext, stored = await store.create(NOTHING)
    async with database.read() as connection:
        digest = bytes((await connection.execute(select(api_keys.c.digest))).scalar_one())
    encoded = base64.urlsafe_b64encode(digest).decode().rstrip("=")

    assert hmac.digest(SECRET, plaintext.encode(), "sha256") == digest
    for guess in (
        digest.hex(),
        f"sk-oa-{digest.hex()}",
        f"sk-oa-{encoded}",
        f"sk-oa-{stored.prefix}{encoded[12:]}",
    ):
        assert await store.find(guess) is None
    assert "digest" not in {field.name for field in dataclasses.fields(stored)}


MALFORMED = {
    "nothing": "",
    "another provider's": "sk-ant-" + "a" * 43,
    "too short": "sk-oa-" + "a" * 42,
    "too long": "sk-oa-" + "a" * 44,
    "with a line feed": "sk-oa-" + "a" * 43 + "\n",
    "with a quote": "sk-oa-' OR '1'='1" + "a" * 32,
    "with a wildcard": "sk-oa-" + "%" * 43,
    "with other digits": "sk-oa-" + "٣" * 43,
    "with a NUL": "sk-oa-" + "\0" * 43,
}


@pytest.mark.parametrize("plaintext", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_has_not_the_form_of_a_key_never_reaches_the_database(
    store: KeyStore, database: Database, plaintext: str
) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    for engine in database.engines:
        event.listen(engine.sync_engine, "before_cursor_execute", note)

    assert await store.find(plaintext) is None
    assert [] == statements

    assert await store.find("sk-oa-" + "a" * 43) is None
    assert 1 == len([statement for statement in statements if "api_keys" in statement])


async def test_keys_are_looked_up_by_the_index_of_their_prefixes(database: Database) -> None:
    by_prefix = "SELECT digest FROM api_keys WHERE prefix = 'abc'"
    async with database.read() as connection:
        if database.dialect == "sqlite":
            plan = await connection.execute(text(f"EXPLAIN QUERY PLAN {by_prefix}"))
        else:
            # A table of no rows is read from end to end, unless that is said to be dear.
            await connection.execute(text("SET enable_seqscan = off"))
            plan = await connection.execute(text(f"EXPLAIN {by_prefix}"))
        lines = " ".join(str(row) for row in plan)

    assert "ix_api_keys_prefix" in lines


async def test_no_key_is_in_the_files_of_the_database(tmp_path: Path, upgraded_file: Path) -> None:
    """Neither in the tables nor in the write-ahead log, whole or without its beginning."""
    database = await open_copy(tmp_path, upgraded_file)
    path = tmp_path / "one_api.db"
    store = KeyStore(database, SECRET)
    plaintext, stored = await store.create(EVERYTHING)
    rotated = await store.rotate(stored.id)
    await store.find(rotated)
    wal = path.with_name("one_api.db-wal").read_bytes()
    await database.close()
    contents = wal + path.read_bytes()

    assert rotated[6:18].encode() in contents
    for key in (plaintext, rotated):
        assert key.encode() not in contents
        assert key[18:].encode() not in contents
    assert SECRET not in contents


async def test_keys_of_another_process_are_good_here(
    database_url: str, store: KeyStore, clock: Clock
) -> None:
    plaintext, stored = await store.create(NOTHING)
    other = await Database.open(database_url)
    try:
        elsewhere = KeyStore(other, SECRET, now_ms=clock)
        assert stored == await elsewhere.find(plaintext)
        await elsewhere.revoke(stored.id)
    finally:
        await other.close()

    assert await store.find(plaintext) is None


async def test_secret_is_made_once_for_its_owner_only(tmp_path: Path, upgraded_file: Path) -> None:
    database = await open_copy(tmp_path, upgraded_file)
    try:
        made = await key_secret(database)
        found = await key_secret(database)
    finally:
        await database.close()
    file = tmp_path / FILE_NAME

    assert made == found
    assert 64 == len(made)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert {"one_api.db", FILE_NAME} == set(os.listdir(tmp_path))


async def test_all_processes_that_start_at_once_have_one_secret(
    tmp_path: Path, upgraded_file: Path
) -> None:
    database = await open_copy(tmp_path, upgraded_file)
    try:
        found = await asyncio.gather(*(key_secret(database) for _ in range(20)))
    finally:
        await database.close()

    assert 1 == len(set(found))


async def test_lost_secret_is_not_replaced_while_there_are_keys(
    tmp_path: Path, upgraded_file: Path
) -> None:
    """Another secret would make every key of the database worthless, and say nothing."""
    database = await open_copy(tmp_path, upgraded_file)
    try:
        await KeyStore(database, await key_secret(database)).create(NOTHING)
        (tmp_path / FILE_NAME).unlink()

        with pytest.raises(ConfigurationError, match="the database has keys"):
            await key_secret(database)
    finally:
        await database.close()

    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("contents", "mode", "problem"),
    [
        ("a" * 64, 0o640, "can be read by others"),
        ("a" * 31, 0o600, "too short"),
        ("", 0o600, "too short"),
        ("ä" * 64, 0o600, "cannot be read"),
    ],
    ids=["open to the group", "short", "empty", "not ASCII"],
)
async def test_unsafe_secret_is_refused_and_not_told(
    tmp_path: Path, upgraded_file: Path, contents: str, mode: int, problem: str
) -> None:
    file = tmp_path / FILE_NAME
    file.write_text(contents, encoding="utf-8")
    file.chmod(mode)
    database = await open_copy(tmp_path, upgraded_file)
    try:
        with pytest.raises(ConfigurationError, match=problem) as refusal:
            await key_secret(database)
    finally:
        await database.close()

    assert contents == file.read_text(encoding="utf-8")
    assert contents == "" or contents not in str(refusal.value)


async def test_secret_of_the_settings_wins_and_leaves_no_file(
    tmp_path: Path, upgraded_file: Path
) -> None:
    database = await open_copy(tmp_path, upgraded_file)
    try:
        assert b"s" * 32 == await key_secret(database, "s" * 32)
        with pytest.raises(ConfigurationError, match="KEY_SECRET"):
            await key_secret(database, "s" * 31)
    finally:
        await database.close()

    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.postgres
@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
async def test_server_needs_a_secret_in_the_settings(database: Database) -> None:
    """Hosts that share a database have no directory in common."""
    with pytest.raises(ConfigurationError, match="KEY_SECRET: it is not set"):
        await key_secret(database)

    assert b"s" * 32 == await key_secret(database, "s" * 32)


async def open_copy(directory: Path, upgraded_file: Path) -> Database:
    path = directory / "one_api.db"
    shutil.copy(upgraded_file, path)
    return await Database.open(str(path))
