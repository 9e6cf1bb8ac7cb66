"""The schema: the same for every way to it, whoever was killed on the way."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.engine.interfaces import ReflectedIndex
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.errors import ConfigurationError
from one_api.storage import schema
from one_api.storage.database import Database
from one_api.storage.tables import metadata

HEAD = schema.HEAD
#: More than an upgrade has statements; the last ones are never reached.
MAX_STEPS = 60


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that begin with everything imported, and without our threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["aiosqlite", "alembic.command", "asyncpg", __name__])
    return context


async def with_database(url: str, ask: Callable[[Database], Awaitable[Any]]) -> Any:
    database = await Database.open(url)
    try:
        return await ask(database)
    finally:
        await database.close()


async def describe(database: Database) -> dict[str, Any]:
    """Everything about the tables that the database can tell."""
    async with database.read() as connection:
        return await connection.run_sync(reflect)


def told(index: ReflectedIndex) -> str:
    options = {key: str(value) for key, value in index.get("dialect_options", {}).items()}
    return str({**index, "dialect_options": options})


def reflect(connection: Connection) -> dict[str, Any]:
    catalogue = inspect(connection)
    found: dict[str, Any] = {"revision": schema._current(connection)}
    for name in catalogue.get_table_names():
        found[name] = {
            "columns": [
                {**column, "type": str(column["type"])} for column in catalogue.get_columns(name)
            ],
            "indexes": sorted(told(index) for index in catalogue.get_indexes(name)),
            "checks": [check["sqltext"] for check in catalogue.get_check_constraints(name)],
            "key": catalogue.get_pk_constraint(name),
        }
    return found


async def test_upgrade_makes_all_tables_and_once_more_nothing(empty_url: str) -> None:
    database = await Database.open(empty_url)
    try:
        assert await schema.current(database) is None
        assert [HEAD] == await schema.upgrade(database)
        assert [] == await schema.upgrade(database)
        assert HEAD == await schema.current(database)
        found = await describe(database)
    finally:
        await database.close()

    assert {"revision", "alembic_version", *metadata.tables} == found.keys()


@pytest.fixture
async def migrated(empty_url: str) -> AsyncIterator[Database]:
    """A database that got its tables by the revisions, as older ones do."""
    database = await Database.open(empty_url)
    try:
        async with database.alone() as connection:
            assert [HEAD] == await connection.run_sync(schema.migrate)
        yield database
    finally:
        await database.close()


async def test_models_and_migrations_agree(migrated: Database) -> None:
    """A change of `tables` without a revision, or the other way round, shows here."""

    def compare(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True}
        found: list[Any] = compare_metadata(
            MigrationContext.configure(connection, opts=options), metadata
        )
        return found

    async with migrated.read() as connection:
        assert [] == await connection.run_sync(compare)


async def test_a_new_database_is_what_the_revisions_make(
    database: Database, migrated: Database
) -> None:
    """Closer than Alembic looks: checks, keys and conditions of indexes too."""
    assert await describe(migrated) == await describe(database)


def test_there_is_one_way_through_the_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    revisions = ScriptDirectory.from_config(config)

    assert [HEAD] == revisions.get_heads()
    assert all(not script.is_merge_point for script in revisions.walk_revisions())
    assert all(not script.is_branch_point for script in revisions.walk_revisions())


async def test_newer_schema_is_refused_and_left_alone(database: Database) -> None:
    async def mark(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await database.write(mark)
    before = await describe(database)

    with pytest.raises(ConfigurationError, match="upgraded by a newer version"):
        await schema.upgrade(database)

    assert before == await describe(database)


def upgrade_until(url: str, step: int) -> None:
    """Upgrade, and die before the statement, or the commit, that is number `step`."""
    count = 0

    def live_or_die(*_arguments: object) -> None:
        nonlocal count
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    event.listen(Engine, "before_cursor_execute", live_or_die)
    event.listen(Engine, "commit", live_or_die)
    asyncio.run(with_database(url, schema.upgrade))


def upgrade_with_others(url: str, barrier: Any, applied: Any) -> None:
    barrier.wait(30)
    applied.put(asyncio.run(with_database(url, schema.upgrade)))


def run(processes: ForkServerContext, url: str, step: int) -> int | None:
    child = processes.Process(target=upgrade_until, args=(url, step))
    child.start()
    child.join(60)
    return child.exitcode


@pytest.mark.slow
def test_upgrade_killed_at_any_step_is_done_by_the_next_one(
    processes: ForkServerContext, empty_url: str, database_url: str
) -> None:
    """Each attempt gets one statement further into the same database, and the last one through.

    What a killed one leaves is nothing or everything, so that no repair is ever needed.
    """
    untouched = {"revision": None}
    ends = []
    for step in range(MAX_STEPS):
        ends.append(run(processes, empty_url, step))
        if ends[-1] == 0:
            break
        assert untouched == asyncio.run(with_database(empty_url, describe))

    assert [-signal.SIGKILL] * (len(ends) - 1) + [0] == ends
    assert len(ends) > len(metadata.tables) + 5
    assert asyncio.run(with_database(database_url, describe)) == asyncio.run(
        with_database(empty_url, describe)
    )


@pytest.mark.slow
def test_of_eight_processes_one_upgrades_and_all_end_well(
    processes: ForkServerContext, empty_url: str
) -> None:
    barrier, applied = processes.Barrier(8), processes.SimpleQueue()
    children = [
        processes.Process(target=upgrade_with_others, args=(empty_url, barrier, applied))
        for _ in range(8)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)

    assert [0] * 8 == [child.exitcode for child in children]
    told = [applied.get() for _ in children]
    assert [[]] * 7 + [[HEAD]] == sorted(told)


def test_the_revision_that_is_worked_with_is_the_last_one() -> None:
    last = [path.stem for path in sorted((schema.MIGRATIONS / "versions").glob("[0-9]*.py"))][-1]
    assert last.startswith(f"{schema.HEAD}_")
