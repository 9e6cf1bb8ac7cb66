"""One database, whichever it is: reads on a pool, and writes that wait for nobody too long.

SQLite has one writer, which puts everything that is waiting into one transaction; in PostgreSQL
each write is a transaction of its own on a pooled connection. Either way a caller has its answer,
or `StorageUnavailable`, within the time it allows, and the event loop is never held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError

from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.storage import sqlite_file
from one_api.storage.engines import AsyncConnection, AsyncEngine
from one_api.storage.faults import cause_of_silence, sqlstate, translated
from one_api.storage.waiting import T, Waiting
from one_api.storage.writers import MAX_WAITING, GroupCommit, TransactionEach, Work, Writer

Dialect = Literal["sqlite", "postgresql"]

#: How long a statement, a connection and a place in the pool may take in PostgreSQL.
PATIENCE_S = 2.0
#: How long SQLite waits for a lock before the writer looks whether anybody still wants it to.
_BUSY_S = 0.25
#: How long an upgrade may wait for another one.
_UPGRADE_PATIENCE_S = 120.0
#: Invalid password, invalid authorization, no such database, and no permission to connect to it.
_REFUSED = frozenset({"28P01", "28000", "3D000", "42501"})
_EXPECTED = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"


class Database:
    """An open database. Made by `open`; whoever opened it closes it."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self.dialect: Dialect = "postgresql" if parts.path is None else "sqlite"
        #: The file of an SQLite database.
        self.path = parts.path
        self._arriving = Waiting(MAX_WAITING)
        self._is_closed = False

    @classmethod
    async def open(cls, url: str, *, pool_size: int = 5) -> Self:
        """Open the database at `url`: `sqlite:///FILE`, `postgresql://...` or a bare path.

        `pool_size` is the number of connections, for SQLite of those that read. A missing SQLite
        file is made, readable by its owner only; its directory must exist.
        Raises: ConfigurationError for a database that is wrong or damaged; StorageUnavailable
        when it does not answer.
        """
        place = _parse(url)
        if isinstance(place, Path):
            return cls(await _open_file(place, pool_size))
        return cls(await _open_server(place, pool_size))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with; give it back soon.

        In PostgreSQL each statement sees what is committed by then, and there is no streaming
        cursor: page by key instead.
        Raises: StorageUnavailable when there is no connection within 2 seconds, and out of the
        block when a statement gets no answer.
        """
        self._require_open()
        with translated():
            # SQLAlchemy forgets a connection whose making is cancelled, open as it may be already.
            connection = await self._arriving.run(
                self._connect(), PATIENCE_S, AsyncConnection.close
            )
            try:
                yield connection
            except asyncio.CancelledError:
                # The reply to what was cancelled may still be under way.
                await connection.invalidate()
                raise
            finally:
                await connection.close()

    async def write(self, work: Work[T], *, timeout_s: float = PATIENCE_S) -> T:
        """The result of `work`, called with a connection in a transaction, once it is committed.

        Work may be undone together with others', never in part; it awaits nothing but its
        connection, and neither commits nor rolls back. An exception out of it undoes it.
        Raises: StorageUnavailable: it was not done, or, when time ran out during the commit, it
        may have been. What `work` raises, unless it says that the database does not answer.
        """
        self._require_open()
        return await self._parts.writer.run(work, timeout_s)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on a connection of its own, without time limits: for upgrades.

        It commits at the end of the block. In SQLite nobody else writes meanwhile.
        Raises: StorageUnavailable, out of the block too.
        """
        engine = self._parts.make_patient()
        try:
            with translated():
                async with engine.begin() as connection:
                    yield connection
        finally:
            await engine.dispose()

    @property
    def engines(self) -> tuple[AsyncEngine, ...]:
        """The pools, for whoever watches them; none is to be used past `read` and `write`."""
        parts = self._parts
        # PostgreSQL's readers are the writers under another name.
        return (parts.writers,) if parts.path is None else (parts.writers, parts.readers)

    async def close(self) -> None:
        """Finish what waits to be written, for 2 seconds at most, and close all connections."""
        self._is_closed = True
        await self._parts.writer.close(PATIENCE_S)
        await self._arriving.close(PATIENCE_S)
        for engine in self.engines:
            await engine.dispose()

    async def _connect(self) -> AsyncConnection:
        return await self._parts.readers.connect()

    def _require_open(self) -> None:
        if self._is_closed:
            raise StorageUnavailable("The database is closed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    path: Path | None
    readers: AsyncEngine
    writers: AsyncEngine
    writer: Writer
    make_patient: Callable[[], AsyncEngine]


async def _open_file(path: Path, pool_size: int) -> _Parts:
    await asyncio.to_thread(sqlite_file.prepare, path)
    sqlite_file.warn_of_old_library()
    whereabouts = await asyncio.to_thread(sqlite_file.Whereabouts, path)
    writers = sqlite_file.connect(path, "BEGIN IMMEDIATE", busy_s=_BUSY_S, pool_size=1)
    return _Parts(
        path=path,
        readers=sqlite_file.connect(path, "BEGIN", busy_s=PATIENCE_S, pool_size=pool_size),
        writers=writers,
        writer=GroupCommit(writers, whereabouts.check),
        make_patient=lambda: sqlite_file.connect(
            path, "BEGIN IMMEDIATE", busy_s=_UPGRADE_PATIENCE_S, pool_size=None
        ),
    )


async def _open_server(url: URL, pool_size: int) -> _Parts:
    try:
        # The driver is an extra, and costs what only its users should pay.
        from one_api.storage import postgres_server
    except ModuleNotFoundError as error:
        raise _misconfigured(
            "the driver for PostgreSQL is not installed", "pip install 'one-api-gateway[postgres]'"
        ) from error
    engine = postgres_server.connect(url, patience_s=PATIENCE_S, pool_size=pool_size)
    try:
        with translated():
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
    except BaseException as error:
        await engine.dispose()
        if sqlstate(error) in _REFUSED:
            raise _misconfigured("the server refuses the user, the password or the name") from error
        if isinstance(error, StorageUnavailable):
            raise StorageUnavailable(
                f"The database of DATABASE_URL does not answer: {cause_of_silence(error)}."
            ) from error
        raise
    return _Parts(
        path=None,
        readers=engine.execution_options(isolation_level="AUTOCOMMIT"),
        writers=engine,
        writer=TransactionEach(engine),
        make_patient=lambda: postgres_server.connect_patiently(
            url, patience_s=PATIENCE_S, lock_patience_s=_UPGRADE_PATIENCE_S
        ),
    )


def _parse(url: str) -> URL | Path:
    """The file of an SQLite database, or the URL of a PostgreSQL server."""
    if "://" not in url:
        if not url.strip():
            raise _misconfigured("it is empty")
        return Path(url).absolute()
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _misconfigured("it is not a URL") from error
    match parsed.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            if not parsed.database or parsed.database == ":memory:" or parsed.host or parsed.query:
                raise _misconfigured("it names no file")
            return Path(parsed.database).absolute()
        case "postgres" | "postgresql" | "postgresql+asyncpg":
            return parsed
        case _:
            raise _misconfigured("it is of a kind that is not supported")


def _misconfigured(problem: str, expected: str = _EXPECTED) -> ConfigurationError:
    return ConfigurationError("DATABASE_URL", problem, expected)
