"""Reads and writes: what is committed, what is undone, and that nobody gets another's answer."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import event, func, insert, literal, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.storage.database import Database
from one_api.storage.faults import cause_of_silence
from one_api.storage.tables import budgets

Work = Callable[[AsyncConnection], Awaitable[str]]


def adding(name: str, *, fault: Exception | None = None) -> Work:
    """Work that adds a row of that name, and then fails with `fault`."""

    async def work(connection: AsyncConnection) -> str:
        await connection.execute(insert(budgets).values(key_id=name, period="total"))
        if fault is not None:
            raise fault
        return name

    return work


async def names(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(budgets.c.key_id))).scalars())


async def echo(database: Database, value: str) -> str:
    async with database.read() as connection:
        found: str = (await connection.execute(select(literal(value)))).scalar_one()
        return found


class Transactions:
    """How many there were on all connections of a database."""

    def __init__(self, database: Database) -> None:
        self.ends: Counter[str] = Counter()
        for engine in database.engines:
            for end in ("commit", "rollback"):
                event.listen(engine.sync_engine, end, self._note(end))

    def _note(self, end: str) -> Callable[[object], None]:
        def note(_connection: object) -> None:
            self.ends[end] += 1

        return note


async def test_written_is_what_is_read(database: Database) -> None:
    assert "a" == await database.write(adding("a"))

    assert {"a"} == await names(database)


async def test_written_is_what_another_process_reads(database: Database, database_url: str) -> None:
    await database.write(adding("a"))
    other = await Database.open(database_url)
    try:
        assert {"a"} == await names(other)
    finally:
        await other.close()


async def test_fault_in_work_undoes_it_and_reaches_the_caller(database: Database) -> None:
    fault = LookupError("mine")

    with pytest.raises(LookupError) as caught:
        await database.write(adding("a", fault=fault))

    assert fault is caught.value
    assert set() == await names(database)


async def test_collision_is_told_as_such_without_the_values(database: Database) -> None:
    """Values may be what people said; errors get into logs."""
    await database.write(adding("my-secret"))

    with pytest.raises(IntegrityError) as caught:
        await database.write(adding("my-secret"))

    assert "hidden due to hide_parameters" in str(caught.value)
    assert {"my-secret"} == await names(database)


async def test_work_that_fails_undoes_no_other(database: Database) -> None:
    works = [adding(str(n), fault=ValueError() if n % 3 == 0 else None) for n in range(100)]
    ends = await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)

    expected = {str(n) for n in range(100) if n % 3}
    assert expected == {end for end in ends if isinstance(end, str)}
    assert 34 == len([end for end in ends if isinstance(end, ValueError)])
    assert expected == await names(database)


async def test_collision_undoes_no_other(database: Database) -> None:
    """In a transaction that several share, the database itself has refused a statement."""
    ends = await asyncio.gather(
        *(database.write(adding(str(n % 10))) for n in range(50)), return_exceptions=True
    )

    assert {str(n) for n in range(10)} == {end for end in ends if isinstance(end, str)}
    assert 40 == len([end for end in ends if isinstance(end, IntegrityError)])
    assert {str(n) for n in range(10)} == await names(database)


async def test_writes_have_their_order(database: Database) -> None:
    """Each sees what was committed before it was asked for."""

    async def count_and_add(connection: AsyncConnection) -> int:
        count = (await connection.execute(select(func.count()).select_from(budgets))).scalar_one()
        await adding(f"n{count}")(connection)
        return count

    assert [0, 1, 2, 3] == [await database.write(count_and_add) for _ in range(4)]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_writes_that_wait_share_transactions(database: Database) -> None:
    """The first begins one at once; all others wait for it, and go together."""
    await database.write(adding("first"))
    transactions = Transactions(database)

    await asyncio.gather(*(database.write(adding(str(n))) for n in range(200)))

    assert {"commit": 1} == transactions.ends
    assert 201 == len(await names(database))


async def test_caller_who_gave_up_is_not_written_for(database: Database) -> None:
    is_called = False

    async def work(connection: AsyncConnection) -> str:
        nonlocal is_called
        is_called = True
        return await adding("late")(connection)

    task = asyncio.ensure_future(database.write(work))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(adding("next"))

    assert not is_called
    assert {"next"} == await names(database)


async def test_work_whose_caller_gives_up_in_its_middle_is_undone(database: Database) -> None:
    is_under_way = asyncio.Event()

    async def work(connection: AsyncConnection) -> str:
        name = await adding("late")(connection)
        is_under_way.set()
        await connection.execute(text("SELECT 1"))
        return name

    task = asyncio.ensure_future(database.write(work))
    await is_under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(adding("next"))

    assert {"next"} == await names(database)


@pytest.mark.slow
async def test_five_hundred_cancelled_calls_leave_the_connections_clean(
    database: Database,
) -> None:
    """Nobody gets the reply to another's statement, and no connection is lost or left locked."""
    chance = random.Random(4)  # noqa: S311 - it only has to be the same each time
    written: set[str] = set()

    async def call(turn: int, n: int) -> str:
        name = f"{turn}-{n}"
        if n % 2 == 0:
            return await echo(database, name)
        await database.write(adding(name))
        written.add(name)
        return name

    for turn in range(20):
        tasks = {f"{turn}-{n}": asyncio.ensure_future(call(turn, n)) for n in range(50)}
        victims = chance.sample(sorted(tasks), 25)
        for victim in victims:
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            tasks[victim].cancel()
        ends = await asyncio.gather(*tasks.values(), return_exceptions=True)
        for name, end in zip(tasks, ends, strict=True):
            assert name == end or (name in victims and isinstance(end, asyncio.CancelledError))

    assert [str(n) for n in range(50)] == await asyncio.gather(
        *(echo(database, str(n)) for n in range(50))
    )
    assert "last" == await database.write(adding("last"))
    assert {*written, "last"} <= await names(database)
    for engine in database.engines:
        assert "Current Checked out connections: 0" in engine.pool.status()


async def test_closing_writes_what_waits_and_takes_no_more(
    database_url: str,
) -> None:
    database = await Database.open(database_url)
    task = asyncio.ensure_future(database.write(adding("a")))
    await asyncio.sleep(0)
    await database.close()

    assert "a" == await task
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.write(adding("b"))
    with pytest.raises(StorageUnavailable, match="closed"):
        await names(database)

    other = await Database.open(database_url)
    try:
        assert {"a"} == await names(other)
    finally:
        await other.close()


@pytest.mark.parametrize("turns", range(0, 60, 2))
async def test_who_leaves_while_a_connection_is_made_leaves_none_behind(
    tmp_path: Path, turns: int
) -> None:
    """Each connection to SQLite has a thread."""
    before = set(threading.enumerate())
    database = await Database.open(f"sqlite:///{tmp_path}/one_api.db")
    reading = asyncio.create_task(names(database))
    for _ in range(turns):
        await asyncio.sleep(0.0001)

    reading.cancel()
    await asyncio.wait({reading})
    await database.close()

    left = [one for one in set(threading.enumerate()) - before if "worker_thread" in one.name]
    for one in left:
        one.join(5)
    assert [] == [one for one in left if one.is_alive()]


async def test_closing_twice_is_closing_once(database_url: str) -> None:
    database = await Database.open(database_url)

    await database.close()
    await database.close()


async def test_reader_cannot_write_in_sqlite(database: Database) -> None:
    if database.dialect == "postgresql":
        pytest.skip("the server has no cheap way to say so")

    async def write_on_reader() -> None:
        async with database.read() as connection:
            await adding("a")(connection)

    with pytest.raises(StorageUnavailable):
        await write_on_reader()

    assert set() == await names(database)


SECRET = "s3cr3t-of-the-database"
BAD_URLS = {
    "nothing": "",
    "white space": " ",
    "in memory": "sqlite:///:memory:",
    "no file": "sqlite://",
    "a host": f"sqlite://user:{SECRET}@host/file.db",
    "options": "sqlite:////tmp/file.db?mode=memory",
    "another database": f"mysql://user:{SECRET}@host/name",
    "another driver": f"postgresql+psycopg2://user:{SECRET}@host/name",
    "no URL": f"://{SECRET}",
    "a wrong port": f"postgresql://user:{SECRET}@host:port/name",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS.keys())
async def test_wrong_url_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL: ") as refusal:
        await Database.open(url)

    assert SECRET not in str(refusal.value)
    assert "postgresql://USER" in str(refusal.value)


async def test_server_that_is_not_there_is_told_without_its_address() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and nobody listens
        port = deaf.getsockname()[1]
        with pytest.raises(StorageUnavailable) as outage:
            await Database.open(f"postgresql://alice:{SECRET}@127.0.0.1:{port}/name")

    told = "The database of DATABASE_URL does not answer: nothing listens at its address."
    assert told == outage.value.message


def chained(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


class Refusal(Exception):
    """What a server says that has no connection left."""

    sqlstate = "53300"


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (ConnectionRefusedError(111, SECRET), "nothing listens at its address"),
        (socket.gaierror(-2, SECRET), "the name of its host is not known"),
        (TimeoutError(SECRET), "it says nothing in time"),
        (ConnectionResetError(104, SECRET), "the connection to it fails"),
        (Refusal(SECRET), "it answers with SQLSTATE 53300"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_why_a_server_cannot_be_reached_is_told_of_its_cause(
    cause: Exception, expected: str
) -> None:
    assert expected == cause_of_silence(cause)
    assert expected == cause_of_silence(chained(StorageUnavailable("It is away."), cause))


@pytest.mark.slow
def test_import_brings_no_driver_and_no_migrations() -> None:
    """What only serves from SQLite, or does not store at all, does not pay for the rest."""
    heavy = ["alembic", "asyncpg", "aiosqlite", "mako", "flask", "aiohttp", "dotenv"]
    program = f"import sys, one_api.storage; print([m for m in {heavy!r} if m in sys.modules])"

    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert "[]" == child.stdout.strip()


@pytest.mark.slow
def test_missing_driver_is_told_with_its_remedy() -> None:
    program = (
        "import asyncio, sys; sys.modules['asyncpg'] = None\n"
        "from one_api.storage import Database\n"
        "asyncio.run(Database.open('postgresql://host/name'))"
    )

    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )

    assert (
        "one_api.errors.own.ConfigurationError: DATABASE_URL: the driver for PostgreSQL is not "
        "installed; expected pip install 'one-api-gateway[postgres]'"
    ) == child.stderr.splitlines()[-1]


async def test_dedicated_transaction_is_undone_by_a_fault(database: Database) -> None:
    async def run_alone(work: Work) -> None:
        async with database.alone() as connection:
            await work(connection)

    with pytest.raises(LookupError):
        await run_alone(adding("a", fault=LookupError()))
    await run_alone(adding("b"))

    assert {"b"} == await names(database)


async def test_statement_of_ours_that_is_wrong_is_no_outage(database: Database) -> None:
    """To wait and ask again would be in vain, and would hide the mistake."""

    async def work(connection: AsyncConnection) -> str:
        await connection.execute(
            insert(budgets).values(key_id="a", period="total", spent_microusd=2**70)
        )
        return "never"

    with pytest.raises(Exception, match=r"too large|out of range|int64") as caught:
        await database.write(work)

    assert not isinstance(caught.value, StorageUnavailable)
    async with database.read() as connection:
        assert 1 == (await connection.execute(text("SELECT 1"))).scalar_one()
