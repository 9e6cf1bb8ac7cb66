"""The file of an SQLite database: made once, looked at before use, and never made again.

SQLite itself takes an empty or a missing file for a new database. A gateway that did so would
forget keys and debts because a volume was not mounted; so a file is only made where none was.
Only `prepare` and `Whereabouts.check` touch the disk at once: call them in a thread.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import URL, Connection, NullPool, event

from one_api.errors import ConfigurationError, StorageUnavailable
from one_api.storage.engines import AsyncEngine, create_async_engine
from one_api.storage.faults import is_locked

log = logging.getLogger(__name__)

#: Older libraries can damage a database that two connections write to at the same time (WAL-reset
#: bug, https://sqlite.org/wal.html, read 2026-11).
SAFE_VERSION = (3, 51, 3)
#: How long a start waits for other processes to let go of the file.
_LOCKED_PATIENCE_S = 5.0
#: How long a start looks for damage; a large file is only looked at in part.
_INSPECTION_S = 2.0
_WAL_LIMIT_BYTES = 64 * 1024 * 1024


def warn_of_old_library() -> None:
    """Say so in the log when the SQLite library has a known way to lose data."""
    if sqlite3.sqlite_version_info < SAFE_VERSION:
        log.warning(
            "SQLite %s can damage a database that several processes write to; use %s or newer, "
            "one process, or PostgreSQL",
            sqlite3.sqlite_version,
            ".".join(map(str, SAFE_VERSION)),
        )


def prepare(path: Path) -> None:
    """Make the database at `path` if there is none, and see that it can be used.

    Raises: ConfigurationError when it cannot, with nothing changed; StorageUnavailable when
    another process keeps it locked.
    """
    try:
        if not path.exists():
            _make(path)
        elif path.stat().st_size == 0:
            raise _unusable("the file is empty: its contents are lost", "a backup, or no file")
        _inspect(path)
    except (OSError, sqlite3.Error) as error:
        if is_locked(error):
            raise StorageUnavailable("Another process keeps the database locked.") from error
        problem = error.strerror if isinstance(error, OSError) else str(error)
        raise _unusable(f"the file cannot be used: {problem}") from error


def _make(path: Path) -> None:
    """Put an empty database at `path`, unless another process was faster."""
    if path.with_name(f"{path.name}-wal").exists():
        raise _unusable("the file is missing, but not its -wal file", "both of them, or none")
    with TemporaryDirectory(dir=path.parent, prefix=".one-api-") as directory:
        new = Path(directory, "new")
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        with suppress(FileExistsError):
            os.link(new, path)


def _inspect(path: Path) -> None:
    # Read-only first: a connection that may write would put a left-over journal into a file that
    # is damaged, and spoil what could be saved.
    with closing(_open(path, "ro", busy_s=_LOCKED_PATIENCE_S)) as connection:
        deadline = time.monotonic() + _INSPECTION_S
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
        else:
            if verdict != "ok":
                # What it says may have a heading.
                raise _unusable(f"the file is damaged: {verdict.splitlines()[-1]}", "a backup")
    with closing(_open(path, "rw", busy_s=0.02)) as connection:
        _require_writable(connection)


def _require_writable(connection: sqlite3.Connection) -> None:
    """See that `connection` can write, and that readers will not be in its way."""
    deadline = time.monotonic() + _LOCKED_PATIENCE_S
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise _unusable("its file system supports no write-ahead log", "a local disk")
            connection.execute("BEGIN IMMEDIATE")
            # Only this shows a read-only file: BEGIN lets it pass and reads.
            connection.execute("PRAGMA user_version = 1")
            connection.execute("ROLLBACK")
            return
        except sqlite3.OperationalError as error:
            # SQLite itself does not always wait when the mode of the journal is at stake.
            if not is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Whereabouts:
    """Which file it is that was opened, whatever comes to have its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = self._look()

    def check(self) -> None:
        """Raises: OSError when the file is gone, emptied, or another one is in its place.

        SQLite itself would not notice: it has the file open, and much of it in memory. What is in
        the file is not looked at: POSIX locks belong to processes, so that closing it again would
        give up those that SQLite holds, and other processes would take the file for theirs.
        """
        if self._look() != self._identity:
            raise FileNotFoundError("another file is in the database's place, or nothing in it")

    def _look(self) -> tuple[int, int, bool]:
        found = self._path.stat()
        return found.st_dev, found.st_ino, found.st_size > 0


def connect(
    path: Path,
    begin: Literal["BEGIN", "BEGIN IMMEDIATE"],
    *,
    busy_s: float,
    pool_size: int | None,
) -> AsyncEngine:
    """Connections to an existing file, whose transactions start with `begin`.

    Those that start with a plain BEGIN can only read. `busy_s` is how long SQLite itself waits
    for a lock; without `pool_size` every connection is new.
    """
    url = URL.create(
        "sqlite+aiosqlite",
        database=f"file:{quote(str(path))}",
        query={"mode": "rw", "uri": "true"},
    )
    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if pool_size is None
        else {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 2}
    )
    # Without an isolation level the driver leaves transactions to us, also around DDL.
    settings = {"timeout": busy_s, "isolation_level": None}
    engine = create_async_engine(url, connect_args=settings, hide_parameters=True, **pool)
    # To terminate a connection, SQLAlchemy closes it in a task that it then overtakes by stopping
    # the driver's thread: cancelled twice, that task waits for ever, and the loop's end for it.
    dialect = engine.sync_engine.dialect
    dialect.has_terminate = False
    dialect.do_terminate = dialect.do_close  # type: ignore[method-assign]  # see above
    pragmas = [
        "synchronous = NORMAL",
        "foreign_keys = ON",
        f"journal_size_limit = {_WAL_LIMIT_BYTES}",
    ]
    if begin == "BEGIN":
        pragmas.append("query_only = ON")

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _open(path: Path, mode: Literal["ro", "rw"], *, busy_s: float) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=busy_s)


def _unusable(problem: str, expected: str = "") -> ConfigurationError:
    return ConfigurationError("DATABASE_URL", problem, expected)
