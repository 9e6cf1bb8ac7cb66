"""What a failing database means to callers: it cannot be asked now, or we asked it wrongly."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from one_api.errors import StorageUnavailable

#: SQLSTATE classes that blame the statement: cardinality, data, constraints, syntax and names.
_OUR_MISTAKES = frozenset({"21", "22", "23", "42"})


@contextmanager
def translated() -> Iterator[None]:
    """Let a database that cannot answer be StorageUnavailable.

    What blames the statement or its values stays what it is (`IntegrityError`, `DataError` and the
    like): asking again would not help, and a collision is for the caller to understand.
    """
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        fault = as_storage_fault(error)
        if fault is error:
            raise
        raise fault from error


def as_storage_fault(error: Exception) -> Exception:
    """`error`, or StorageUnavailable when it says that the database does not answer.

    The details are in its `__cause__` only: they name hosts, files and users.
    """
    if not _is_outage(error):
        return error
    fault = StorageUnavailable("The database does not answer.")
    fault.__cause__ = error
    return fault


def _is_outage(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        if isinstance(error, IntegrityError | DataError | ProgrammingError):
            return False
        # asyncpg says so of a value that does not fit its column, before it sends anything.
        if error.orig is not None and isinstance(error.orig.__cause__, ValueError):
            return False
        return sqlstate(error)[:2] not in _OUR_MISTAKES
    return isinstance(error, PoolTimeout | OSError | asyncio.TimeoutError)


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five-character code of `error` or of its cause; "" where there is none."""
    seen: BaseException | None = error
    while seen is not None:
        code = getattr(seen, "sqlstate", None)
        if isinstance(code, str):
            return code
        seen = getattr(seen, "orig", None) or seen.__cause__
    return ""


def cause_of_silence(error: BaseException) -> str:
    """Why a server cannot be reached, as far as `error` or its causes tell; never where it is."""
    seen: BaseException | None = error
    while seen is not None:
        match seen:
            case ConnectionRefusedError():
                return "nothing listens at its address"
            case socket.gaierror():
                return "the name of its host is not known"
            case TimeoutError():
                return "it says nothing in time"
        seen = seen.__cause__
    state = sqlstate(error)
    return f"it answers with SQLSTATE {state}" if state else "the connection to it fails"


def is_locked(error: BaseException) -> bool:
    """Whether another process has the SQLite file locked for now."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    # The low byte of an extended code is the code that says what it is at all.
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
