"""Databases of both kinds, each test's its own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from one_api.storage.database import Database
from one_api.storage.schema import upgrade
from tests.storage.postgres import PostgresServer

DIALECTS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the session; a test that stops it starts it again."""
    # Not pytest's directory: that can be entered by one user only.
    with TemporaryDirectory(prefix="one-api-postgres-") as directory:
        server = PostgresServer(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def make_upgraded(url: str) -> None:
    async def make() -> None:
        database = await Database.open(url)
        try:
            await upgrade(database)
        finally:
            await database.close()

    asyncio.run(make())


@pytest.fixture(scope="session")
def upgraded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with all tables, to be copied."""
    path = tmp_path_factory.mktemp("storage") / "template.db"
    make_upgraded(str(path))
    return path


@pytest.fixture(scope="session")
def upgraded_name(postgres: PostgresServer) -> str:
    """A database with all tables on the server, to be copied."""
    name = postgres.create_database()
    make_upgraded(postgres.url(name))
    return name


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Ask for it, and the test runs for each kind of database."""
    return str(request.param)


@pytest.fixture
def empty_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables, or of a file that does not exist yet."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with all tables, and nothing in them."""
    if dialect == "sqlite":
        path = tmp_path / "one_api.db"
        shutil.copy(request.getfixturevalue("upgraded_file"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create_database(request.getfixturevalue("upgraded_name"))
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database with all tables, on SQLite and on PostgreSQL."""
    opened = await Database.open(database_url)
    try:
        yield opened
    finally:
        await opened.close()
