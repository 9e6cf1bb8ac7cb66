"""A server that stops, hangs or throws us out costs two seconds, and comes back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.storage.database import Database
from one_api.storage.tables import budgets
from tests.storage.postgres import PostgresServer

pytestmark = pytest.mark.postgres

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
POOL_SIZE = 5


@pytest.fixture
def dialect() -> str:
    return "postgresql"


def adding(name: str) -> Callable[[AsyncConnection], Awaitable[str]]:
    async def work(connection: AsyncConnection) -> str:
        await connection.execute(insert(budgets).values(key_id=name, period="total"))
        return name

    return work


async def names(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(budgets.c.key_id))).scalars())


async def test_stopped_server_is_told_at_once_and_used_again_when_it_is_back(
    database: Database, postgres: PostgresServer
) -> None:
    await database.write(adding("before"))
    postgres.stop()
    try:
        for _ in range(2 * POOL_SIZE):
            with pytest.raises(StorageUnavailable):
                await database.write(adding("during"))
            with pytest.raises(StorageUnavailable):
                await names(database)
    finally:
        postgres.start()

    assert "after" == await database.write(adding("after"))
    assert {"before", "after"} == await names(database)


async def test_frozen_server_is_told_in_time_and_used_again_when_it_thaws(
    database: Database, postgres: PostgresServer
) -> None:
    """More callers than connections, none of which waits for another; and the loop runs on."""
    await database.write(adding("before"))
    with postgres.frozen():
        calls = [
            asyncio.ensure_future(call)
            for n in range(2 * POOL_SIZE)
            for call in (database.write(adding(f"during {n}"), timeout_s=0.5), names(database))
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(call.done() for call in calls)
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, StorageUnavailable) for end in ends), ends

    assert "after" == await database.write(adding("after"))
    assert {"before", "after"} == await names(database)


async def test_server_that_freezes_in_the_middle_of_a_read_is_told(
    database: Database, postgres: PostgresServer
) -> None:
    async def read() -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
            with postgres.frozen():
                await connection.execute(text("SELECT 1"))

    with pytest.raises(StorageUnavailable):
        await read()

    assert set() == await names(database)


async def test_closing_does_not_wait_for_a_frozen_server(
    database: Database, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.gather(*(names(database) for _ in range(POOL_SIZE)))
    with postgres.frozen():
        async with asyncio.timeout(10):
            await database.close()

    # What the driver left behind asyncio may tell of, whenever it is collected.
    assert [] == [record for record in caplog.records if record.name != "asyncio"]


async def test_statement_that_takes_too_long_is_stopped_by_the_server(
    database: Database, database_url: str
) -> None:
    """Also when its caller would have waited on: it may hold locks that others need."""

    async def sleep(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_sleep(30)"))

    async def read() -> None:
        async with database.read() as connection:
            await sleep(connection)

    ends = await asyncio.gather(database.write(sleep, timeout_s=30), read(), return_exceptions=True)

    assert all(isinstance(end, StorageUnavailable) for end in ends), ends
    other = await Database.open(database_url)
    try:
        async with other.read() as connection:
            sleeping = text(f"SELECT count(*) {OTHERS} AND state = 'active'")
            assert 0 == (await connection.execute(sleeping)).scalar_one()
    finally:
        await other.close()


async def test_connections_that_the_server_ends_are_replaced(
    database: Database, postgres: PostgresServer
) -> None:
    """Those that rest are noticed before they are used, and those at work are not put back."""
    name = str(database.engines[0].url.database)
    statement = f"SELECT count(pg_terminate_backend(pid)) {OTHERS}"
    written: set[str] = set()
    for turn in range(10):
        calls = [database.write(adding(f"{turn}-{n}"), timeout_s=10) for n in range(20)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.to_thread(postgres.execute, statement, name)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, str | StorageUnavailable) for end in ends), ends
        written |= {end for end in ends if isinstance(end, str)}
        assert str(turn) == await database.write(adding(str(turn)))

    assert {*written, *map(str, range(10))} <= await names(database)
    assert POOL_SIZE >= int(postgres.execute(f"SELECT count(*) {OTHERS}", name))
    assert "Current Checked out connections: 0" in database.engines[0].pool.status()


async def test_server_that_became_read_only_is_left_for_the_one_that_takes_its_place(
    database: Database, postgres: PostgresServer
) -> None:
    """Its connections stay good to read with: nobody would look for another server."""
    name = str(database.engines[0].url.database)
    await asyncio.gather(*(names(database) for _ in range(POOL_SIZE)))
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    postgres.execute(f"SELECT count(pg_terminate_backend(pid)) {OTHERS}", name)
    for _ in range(2 * POOL_SIZE):
        with pytest.raises(StorageUnavailable):
            await database.write(adding("during"))
        assert set() == await names(database)

    postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    # At most one connection is of before: the one that the last of them read with.
    async with asyncio.timeout(30):
        while not await is_written(database, "after"):
            pass

    assert {"after"} == await names(database)


async def is_written(database: Database, name: str) -> bool:
    try:
        return name == await database.write(adding(name))
    except StorageUnavailable:
        return False


async def test_cancelled_calls_leave_no_backend_behind(
    database: Database, postgres: PostgresServer
) -> None:
    async def sleep(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_sleep(1)"))

    for _ in range(10):
        tasks = [asyncio.ensure_future(database.write(sleep)) for _ in range(POOL_SIZE)]
        await asyncio.wait(tasks, timeout=0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    name = str(database.engines[0].url.database)

    assert "after" == await database.write(adding("after"))
    assert POOL_SIZE >= int(postgres.execute(f"SELECT count(*) {OTHERS}", name))


@pytest.mark.parametrize(
    ("old", "new"),
    [("/test_", "/no_such_"), ("one_api@", "nobody@")],
    ids=["unknown database", "unknown user"],
)
async def test_what_the_server_refuses_is_a_wrong_setting(
    database_url: str, old: str, new: str
) -> None:
    with pytest.raises(ConfigurationError, match="the server refuses") as refusal:
        await Database.open(database_url.replace(old, new))

    assert "127.0.0.1" not in str(refusal.value)


async def test_server_that_is_not_there_is_no_wrong_setting(
    database_url: str, postgres: PostgresServer
) -> None:
    nowhere = database_url.replace(f":{postgres.port}/", ":1/")

    with pytest.raises(StorageUnavailable, match="does not answer"):
        await Database.open(nowhere)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize("options", ["", "?sslmode=disable", "?sslmode=prefer"])
async def test_server_is_named_in_all_usual_ways(
    database_url: str, scheme: str, options: str
) -> None:
    url = database_url.replace("postgresql://", f"{scheme}://") + options
    database = await Database.open(url)
    try:
        assert "postgresql" == database.dialect
        assert database.path is None
        assert set() == await names(database)
    finally:
        await database.close()
