"""The two ways to write: all that waits in one transaction, or each in its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from one_api.errors import StorageUnavailable
from one_api.storage.engines import AsyncConnection, AsyncEngine
from one_api.storage.faults import as_storage_fault, is_locked, translated
from one_api.storage.waiting import T, Waiting

Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]

#: Writes that may wait at once; the next one is refused.
MAX_WAITING = 1_000
#: Pause between two attempts to get a locked file, besides SQLite's own patience.
_LOCKED_PAUSE_S = 0.02


class Writer(Protocol):
    """Runs work in transactions."""

    async def run(self, work: Work[T], timeout_s: float) -> T:
        """The result of `work` once it is committed. Raises: StorageUnavailable."""

    async def close(self, timeout_s: float) -> None:
        """Let what waits be written for so long, and refuse the rest; nothing more comes."""


class TransactionEach:
    """Writes on a pool of connections, each in a transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting = Waiting(MAX_WAITING)

    async def run(self, work: Work[T], timeout_s: float) -> T:
        """The result of `work` once it is committed. Raises: StorageUnavailable."""
        return await self._waiting.run(self._transact(work), timeout_s)

    async def close(self, timeout_s: float) -> None:
        """Let what runs be written for so long, and cancel the rest; nothing more comes."""
        await self._waiting.close(timeout_s)

    async def _transact(self, work: Work[T]) -> T:
        with translated():
            async with self._engine.connect() as connection:
                try:
                    async with connection.begin():
                        return await work(connection)
                except asyncio.CancelledError:
                    # Between two statements SQLAlchemy would put it back, with a reply under way.
                    await connection.invalidate()
                    raise


class GroupCommit:
    """One writer for everybody: a transaction takes everything that is waiting when it begins.

    Each work has a savepoint, so that one that fails undoes itself only. Nobody is answered before
    the transaction is committed. Works may await nothing but their connection.
    """

    def __init__(self, engine: AsyncEngine, check: Callable[[], None]) -> None:
        """`check` raises OSError when the file must not be written; it runs in a thread."""
        self._engine = engine
        self._check = check
        self._waiting: dict[_Write, None] = {}
        self._has_arrived = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._task = asyncio.create_task(self._serve(), name="storage-writer")

    async def run(self, work: Work[T], timeout_s: float) -> T:
        """The result of `work` once it is committed. Raises: StorageUnavailable."""
        if len(self._waiting) >= MAX_WAITING:
            raise StorageUnavailable("Too many requests wait for the database.")
        write = _Write(work)
        self._waiting[write] = None
        self._is_idle.clear()
        self._has_arrived.set()
        try:
            await asyncio.wait({write.outcome}, timeout=timeout_s)
            if not write.outcome.done():
                raise StorageUnavailable("The database did not answer in time.")
            result: T = write.outcome.result()
            return result
        finally:
            self._waiting.pop(write, None)
            write.outcome.cancel()

    async def close(self, timeout_s: float) -> None:
        """Let what waits be written for so long, and refuse the rest; nothing more comes."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_idle.wait()
        except TimeoutError:
            _fail(self._waiting, "The database is closed.")
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=timeout_s)
        self._is_idle.set()

    async def _serve(self) -> None:
        while True:
            await self._has_arrived.wait()
            self._has_arrived.clear()
            while self._waiting:
                await self._write_batch()
            self._is_idle.set()

    async def _write_batch(self) -> None:
        batch: dict[_Write, None] = {}
        try:
            await asyncio.to_thread(self._check)
            async with self._engine.connect() as connection:
                try:
                    async with connection.begin():
                        batch, self._waiting = self._waiting, {}
                        driver = (await connection.get_raw_connection()).driver_connection
                        for write in batch:
                            await write.perform(connection, driver)
                except BaseException:
                    # A file that was in trouble is opened afresh, and thereby looked at again.
                    await connection.invalidate()
                    raise
        except asyncio.CancelledError:
            _fail(batch, "The database is closed.")
            raise
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            if not batch and is_locked(error):
                # Another process writes: whoever is still waiting goes on waiting.
                await asyncio.sleep(_LOCKED_PAUSE_S)
                return
            if not batch:
                batch, self._waiting = self._waiting, {}
            _fail(batch, "The database does not answer.", error)
        else:
            for write in batch:
                write.tell()


class _Write:
    """One piece of work, and the future that its caller awaits."""

    def __init__(self, work: Work[Any]) -> None:
        self._work = work
        self._result: Any = None
        self._fault: Exception | None = None
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def perform(self, connection: AsyncConnection, driver: Any) -> None:
        """Do the work under a savepoint.

        `driver` is aiosqlite's connection: its thread is asked once for each savepoint statement,
        where SQLAlchemy asks it four times, which is half the time of a small write.
        Raises: sqlite3.Error when the savepoint is gone and with it the transaction, which is
        what SQLite may do on a full disk.
        """
        if self.outcome.done():
            return
        await driver.execute_fetchall("SAVEPOINT work")
        try:
            self._result = await self._work(connection)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who waits for it
            self._fault = as_storage_fault(error)
        if self._fault is not None or self.outcome.done():
            await driver.execute_fetchall("ROLLBACK TO work")
        await driver.execute_fetchall("RELEASE work")

    def tell(self) -> None:
        """Answer the caller: all is committed."""
        if self.outcome.done():
            return
        if self._fault is not None:
            self.outcome.set_exception(self._fault)
        else:
            self.outcome.set_result(self._result)


def _fail(batch: dict[_Write, None], message: str, cause: Exception | None = None) -> None:
    for write in batch:
        if not write.outcome.done():
            fault = StorageUnavailable(message)
            fault.__cause__ = cause
            write.outcome.set_exception(fault)
