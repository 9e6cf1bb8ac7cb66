"""The server's secret, without which nobody can tell which keys are good."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import select

from one_api.errors import ConfigurationError
from one_api.storage.database import Database
from one_api.storage.tables import api_keys

#: The file beside an SQLite database that has the secret, where no setting has it.
FILE_NAME = "key_secret"
MIN_CHARS = 32


async def key_secret(database: Database, configured: str | None = None) -> bytes:
    """The `configured` secret, or the one in the file beside an SQLite database.

    The file is made at first use, readable by its owner only. The schema must be up to date.
    Raises: ConfigurationError when there is no secret, or none that is safe; StorageUnavailable.
    """
    if configured is not None:
        return _checked(configured, "KEY_SECRET")
    if database.path is None:
        raise ConfigurationError(
            "KEY_SECRET", "it is not set", f"{MIN_CHARS} or more random characters, on every host"
        )
    path = database.path.with_name(FILE_NAME)
    found = await asyncio.to_thread(_read, path)
    if found is not None:
        return found
    if await _has_keys(database):
        raise ConfigurationError(
            "KEY_SECRET",
            f"the database has keys, but the file {FILE_NAME!r} beside it is gone",
            "the secret that the keys were made with",
        )
    return await asyncio.to_thread(_make, path)


async def _has_keys(database: Database) -> bool:
    async with database.read() as connection:
        return (await connection.execute(select(api_keys.c.id).limit(1))).first() is not None


def _read(path: Path) -> bytes | None:
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _bad_file("cannot be read") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _bad_file("can be read by others", "a file of mode 0600")
    return _checked(text.strip(), f"the file {FILE_NAME!r}")


def _make(path: Path) -> bytes:
    """Put a new secret at `path`, unless another process was faster; the one that is there."""
    try:
        with TemporaryDirectory(dir=path.parent, prefix=".one-api-") as directory:
            new = Path(directory, "new")
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(48) + "\n")
                file.flush()
                # Keys are worth nothing without it: it is on the disk before the first one is made.
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(new, path)
    except OSError as error:
        raise _bad_file("cannot be made") from error
    made = _read(path)
    if made is None:
        raise _bad_file("was removed")
    return made


def _checked(text: str, where: str) -> bytes:
    if len(text) < MIN_CHARS:
        raise ConfigurationError(
            "KEY_SECRET", f"{where} is too short", f"{MIN_CHARS} or more random characters"
        )
    return text.encode()


def _bad_file(problem: str, expected: str = "") -> ConfigurationError:
    return ConfigurationError("KEY_SECRET", f"the file {FILE_NAME!r} {problem}", expected)
