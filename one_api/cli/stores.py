"""The database of the settings, for a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from one_api.errors import ConfigurationError, GatewayError, StorageUnavailable
from one_api.settings import Settings
from one_api.storage import Database, sqlite_file
from one_api.storage.schema import current, upgrade

T = TypeVar("T")


class UnusableDatabase(click.ClickException):
    """There is no starting with this database, told in one line; the exit status is 3."""

    exit_code = 3


def require_sqlite_file(path: Path) -> None:
    """See that a server can start with the SQLite file at `path`; make it if there is none.

    Raises: UnusableDatabase, and the file is as it was.
    """
    try:
        sqlite_file.prepare(path.absolute())
    except (ConfigurationError, StorageUnavailable) as exc:
        raise UnusableDatabase(str(exc)) from exc


def with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """What `work` returns for the database; a new one has its tables by then.

    An older one is left to `db upgrade`, or to the next start of a server.
    Raises: ConfigurationError when nothing is stored; ClickException for what cannot be done.
    """

    async def prepared(database: Database) -> T:
        if await current(database) is None:
            await upgrade(database)
        return await work(database)

    return with_bare_database(settings, prepared)


def with_bare_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """As `with_database`, with the database as it is found."""
    url = settings.storage_url
    if url is None:
        raise ConfigurationError(
            "DATABASE_URL", "nothing is stored", "sqlite:///FILE or postgresql://..."
        )

    async def run() -> T:
        database = await Database.open(url, pool_size=1)
        try:
            return await work(database)
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except GatewayError as exc:
        raise click.ClickException(f"{exc.code}: {exc.message}") from exc
