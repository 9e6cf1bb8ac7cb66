"""The file: who may read it, who else has it locked, and what becomes of a damaged one."""

# ruff: noqa: ASYNC240 - nobody else is on a test's loop while it looks at files
from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.storage import database as database_module
from one_api.storage import sqlite_file
from one_api.storage.database import Database
from one_api.storage.schema import upgrade
from one_api.storage.tables import budgets, request_bodies
from one_api.storage.writers import MAX_WAITING

#: Holds a write lock until its input ends.
LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process has the database locked."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert b"locked\n" == child.stdout.readline()
        try:
            yield
        finally:
            child.stdin.close()
            assert 0 == child.wait(10)


def adding(name: str) -> Callable[[AsyncConnection], Awaitable[str]]:
    async def work(connection: AsyncConnection) -> str:
        await connection.execute(insert(budgets).values(key_id=name, period="total"))
        return name

    return work


async def names(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(budgets.c.key_id))).scalars())


@pytest.fixture
def path(tmp_path: Path, upgraded_file: Path) -> Path:
    """A file with all tables and some pages of contents."""
    path = tmp_path / "one_api.db"
    shutil.copy(upgraded_file, path)
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO request_bodies (request_id, request, created_ms) VALUES (?, ?, 0)",
            ((str(n), "x" * 900) for n in range(200)),
        )
    connection.close()
    return path


@pytest.fixture
def dialect() -> str:
    return "sqlite"


@pytest.mark.slow
async def test_write_gives_up_in_time_while_another_process_writes(
    database: Database, database_path: Path
) -> None:
    """The loop runs on meanwhile, and so do readers."""
    await database.write(adding("before"))
    with locked(database_path):
        task = asyncio.ensure_future(database.write(adding("during"), timeout_s=1))
        for _ in range(50):
            assert {"before"} == await names(database)
            assert not task.done()
        with pytest.raises(StorageUnavailable, match="did not answer in time") as fault:
            await task
    await database.write(adding("after"))

    assert "storage_unavailable" == fault.value.code
    assert {"before", "after"} == await names(database)


async def test_write_goes_on_once_the_other_process_is_done(
    database: Database, database_path: Path
) -> None:
    with locked(database_path):
        tasks = [
            asyncio.ensure_future(database.write(adding(str(n)), timeout_s=30)) for n in (1, 2)
        ]
        await asyncio.wait(tasks, timeout=0.6)  # longer than SQLite itself is told to wait
        assert [False, False] == [task.done() for task in tasks]

    assert ["1", "2"] == await asyncio.gather(*tasks)


@pytest.mark.slow
async def test_queue_is_bounded_and_refuses_at_once(
    database: Database, database_path: Path
) -> None:
    with locked(database_path):
        tasks = [
            asyncio.ensure_future(database.write(adding(str(n)), timeout_s=30))
            for n in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(StorageUnavailable, match="Too many"):
            await database.write(adding("one too many"), timeout_s=30)
        for task in tasks[:10]:
            task.cancel()
        await asyncio.wait(tasks[:10])
        tasks.append(asyncio.ensure_future(database.write(adding("in their place"), timeout_s=30)))
    await asyncio.gather(*tasks[10:])

    assert {*(str(n) for n in range(10, MAX_WAITING)), "in their place"} == await names(database)


async def test_closing_ends_while_another_process_writes(
    database: Database, database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "PATIENCE_S", 0.1)
    with locked(database_path):
        task = asyncio.ensure_future(database.write(adding("a"), timeout_s=30))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(StorageUnavailable, match="closed"):
            await task


async def test_locked_file_is_no_wrong_setting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "_LOCKED_PATIENCE_S", 0.1)
    with locked(path), pytest.raises(StorageUnavailable, match="keeps the database locked"):
        await Database.open(str(path))


def spoiled(contents: bytes, start: int, end: int) -> bytes:
    return contents[:start] + b"\xa5" * (end - start) + contents[end:]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda contents: b"",
    "cut in half": lambda contents: contents[: len(contents) // 2],
    "cut within its header": lambda contents: contents[:50],
    "without its beginning": lambda contents: spoiled(contents, 0, 4096),
    "spoiled inside": lambda contents: spoiled(contents, 4096 * 4, 4096 * 24),
    "spoiled at the end": lambda contents: spoiled(contents, len(contents) - 4096, len(contents)),
    "something else": lambda contents: b"These are not the tables you are looking for.\n" * 99,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_damaged_file_is_refused_and_left_as_it_is(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()

    with pytest.raises(ConfigurationError, match=r"^DATABASE_URL: the file ") as refusal:
        await Database.open(str(path))

    assert before == path.read_bytes()
    assert 1 == len(str(refusal.value).splitlines())


async def test_log_of_a_damaged_file_is_not_put_into_it(path: Path, tmp_path: Path) -> None:
    """What is in the log may be all that can be saved."""
    crashed = tmp_path / "crashed.db"
    log = crashed.with_name("crashed.db-wal")
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("INSERT INTO budgets (key_id, period) VALUES ('last', 'total')")
    writer.commit()
    shutil.copy(path, crashed)
    shutil.copy(path.with_name("one_api.db-wal"), log)
    writer.close()
    crashed.write_bytes(spoiled(crashed.read_bytes(), 4096 * 20, 4096 * 40))
    before = crashed.read_bytes(), log.read_bytes()

    with pytest.raises(ConfigurationError, match="the file "):
        await Database.open(str(crashed))

    assert before == (crashed.read_bytes(), log.read_bytes())


async def test_left_over_log_of_a_missing_file_is_not_given_to_a_new_one(path: Path) -> None:
    """SQLite would play back what is in it, and spoil the new file."""
    path.with_name("one_api.db-wal").write_bytes(b"what was written last")
    path.unlink()

    with pytest.raises(ConfigurationError, match="missing, but not its -wal"):
        await Database.open(str(path))

    assert {"one_api.db-wal"} == set(os.listdir(path.parent))


async def test_directory_is_not_made_up(tmp_path: Path) -> None:
    """A wrong path, or a volume that is not there, shall not pass for a new installation."""
    with pytest.raises(ConfigurationError, match="the file cannot be used: No such file"):
        await Database.open(str(tmp_path / "missing" / "one_api.db"))

    assert [] == os.listdir(tmp_path)


async def test_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the file cannot be used"):
        await Database.open(str(tmp_path))


def open_as(uid: int, path: str, good_path: str, told: Any) -> None:
    """Open the database as a user for whom file modes count."""

    async def attempt(path: str) -> str:
        try:
            database = await Database.open(path)
        except ConfigurationError as refusal:
            return str(refusal)
        await database.close()
        return "opened"

    # Root's Python may be where nobody else can import from: all that is needed is there by now.
    assert "opened" == asyncio.run(attempt(good_path))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    told.put(asyncio.run(attempt(path)))


@pytest.mark.parametrize(
    ("file_mode", "directory_mode", "expected"),
    [
        (0o600, 0o700, "opened"),
        (0o400, 0o700, "DATABASE_URL: the file cannot be used: "),
        (0o000, 0o700, "DATABASE_URL: the file cannot be used: "),
        (0o600, 0o500, "DATABASE_URL: the file cannot be used: "),
    ],
    ids=["all well", "read-only file", "forbidden file", "read-only directory"],
)
def test_file_that_cannot_be_written_is_refused(
    path: Path, file_mode: int, directory_mode: int, expected: str
) -> None:
    uid = os.geteuid() or 65534
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["aiosqlite", __name__])
    told = processes.SimpleQueue()
    # Not pytest's directory: that can be entered by one user only.
    with TemporaryDirectory(prefix="one-api-") as directory:
        copy = Path(shutil.copy(path, directory))
        before = copy.read_bytes()
        os.chmod(copy, file_mode)
        os.chmod(directory, directory_mode)
        for place in (copy, Path(directory)):
            os.chown(place, uid, -1)
        child = processes.Process(target=open_as, args=(uid, str(copy), str(path), told))
        child.start()
        child.join(30)
        os.chmod(directory, 0o700)
        os.chmod(copy, 0o600)

        assert 0 == child.exitcode
        assert told.get().startswith(expected)
        assert before == copy.read_bytes()


async def test_removed_file_stops_writes_and_is_not_made_again(
    database: Database, database_path: Path
) -> None:
    await database.write(adding("before"))
    hidden = database_path.rename(database_path.with_name("hidden"))

    with pytest.raises(StorageUnavailable):
        await database.write(adding("during"))
    is_made_again = database_path.exists()
    hidden.rename(database_path)
    await database.write(adding("after"))

    assert not is_made_again
    assert {"before", "after"} == await names(database)


async def test_another_file_in_its_place_is_not_written(
    database: Database, database_path: Path, upgraded_file: Path
) -> None:
    await database.write(adding("before"))
    database_path.rename(database_path.with_name("hidden"))
    shutil.copy(upgraded_file, database_path)

    with pytest.raises(StorageUnavailable):
        await database.write(adding("during"))

    assert upgraded_file.read_bytes() == database_path.read_bytes()


async def test_emptied_file_stops_writes_and_stays_empty(
    database: Database, database_path: Path
) -> None:
    """SQLite has pages of it in memory, and would write on as if nothing had happened."""
    await database.write(adding("before"))
    before = database_path.read_bytes()
    os.truncate(database_path, 0)

    with pytest.raises(StorageUnavailable):
        await database.write(adding("during"))
    assert b"" == database_path.read_bytes()
    database_path.write_bytes(before)
    await database.write(adding("after"))

    assert {"before", "after"} == await names(database)


async def test_full_disk_fails_what_does_not_fit_and_nothing_else(database: Database) -> None:
    """The limit is SQLite's own on its pages, which it tells as it tells a full disk."""
    pages = 40

    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}").close()

    event.listen(database.engines[0].sync_engine, "connect", limit)

    def body(name: str) -> Callable[[AsyncConnection], Awaitable[str]]:
        async def work(connection: AsyncConnection) -> str:
            values = {"request_id": name, "request": "x" * 400_000, "created_ms": 0}
            await connection.execute(insert(request_bodies).values(values))
            return name

        return work

    with pytest.raises(StorageUnavailable):
        await database.write(body("large"))
    mixed = await asyncio.gather(
        database.write(adding("small")),
        database.write(body("large")),
        database.write(adding("also small")),
        return_exceptions=True,
    )
    told = {end for end in mixed if isinstance(end, str)}
    found = await names(database)
    pages = 4_000

    assert isinstance(mixed[1], StorageUnavailable)
    assert told == found
    assert "large" == await database.write(body("large"))
    assert "then" == await database.write(adding("then"))


async def test_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "one_api.db"
    mask = os.umask(0)
    try:
        database = await Database.open(f"sqlite:///{path}")
        await upgrade(database)
        await database.write(adding("a"))
    finally:
        os.umask(mask)
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    await database.close()

    assert dict.fromkeys(["one_api.db", "one_api.db-wal", "one_api.db-shm"], 0o600) == modes
    assert database.path == path


@pytest.mark.parametrize(
    "form",
    ["{}", "sqlite:///{}", "sqlite+aiosqlite:///{}"],
    ids=["bare path", "URL", "URL with driver"],
)
async def test_file_is_named_in_all_usual_ways(path: Path, form: str) -> None:
    odd = path.rename(path.with_name("my one?api#50%.db")) if form == "{}" else path
    database = await Database.open(form.format(odd))
    try:
        assert "a" == await database.write(adding("a"))
    finally:
        await database.close()

    assert database.path == odd
    assert {odd.name} == set(os.listdir(odd.parent))


async def test_journal_survives_a_killed_process_and_not_each_write_waits_for_the_disk(
    database: Database,
) -> None:
    async def ask(connection: AsyncConnection) -> list[Any]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        return [
            (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar_one()
            for pragma in pragmas
        ]

    assert ["wal", 1, 1] == await database.write(ask)


@pytest.mark.parametrize(("safe", "warnings"), [((99, 0, 0), 1), ((3, 0, 0), 0)])
async def test_old_library_is_told_once(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    safe: tuple[int, int, int],
    warnings: int,
) -> None:
    monkeypatch.setattr(sqlite_file, "SAFE_VERSION", safe)
    with caplog.at_level(logging.WARNING):
        database = await Database.open(str(path))
        await database.write(adding("a"))
        await database.close()

    told = [record for record in caplog.records if "can damage a database" in record.message]
    assert warnings == len(told)


@pytest.fixture
def database_path(database: Database) -> Path:
    assert database.path is not None
    return database.path
