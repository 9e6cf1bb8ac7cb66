"""The schema that the tables must have, and how an older database gets there."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)

from one_api.errors import ConfigurationError
from one_api.storage.database import Database
from one_api.storage.engines import AsyncConnection
from one_api.storage.tables import metadata

log = logging.getLogger(__name__)

#: Where Alembic's environment and the revisions are.
MIGRATIONS = Path(__file__).with_name("migrations")

#: The revision that this program works with; a test compares it with the last one that there is.
HEAD = "0001"

#: Names the lock among all advisory locks of a PostgreSQL database: "one_api" in ASCII.
_LOCK = int.from_bytes(b"one_api", "big")
#: Alembic's own table, as Alembic makes it.
_VERSIONS = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


async def current(database: Database) -> str | None:
    """The revision of the database's schema; None for one without our tables.

    Raises: StorageUnavailable.
    """
    async with database.read() as connection:
        return await connection.run_sync(_current)


async def upgrade(database: Database) -> list[str]:
    """Bring the schema up to date; the revisions that were applied, oldest first.

    Of several processes one does it and the others wait. It is done wholly or not at all, so one
    that was killed half-way is simply run again.
    Raises: ConfigurationError when the schema is newer than this program; StorageUnavailable.
    """
    if await current(database) == HEAD:
        return []  # The lock, and importing Alembic, cost more than all else at a start.
    async with database.alone() as connection:
        await _lock(database, connection)
        return await connection.run_sync(_bring_up_to_date)


async def _lock(database: Database, connection: AsyncConnection) -> None:
    """Wait for other upgrades. In SQLite, the transaction itself is the lock."""
    if database.dialect == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSIONS.name):
        return None
    return connection.execute(select(_VERSIONS.c.version_num)).scalar()


def _bring_up_to_date(connection: Connection) -> list[str]:
    if _current(connection) == HEAD:
        return []  # Another process was quicker.
    if not inspect(connection).get_table_names():
        return _make(connection)
    return migrate(connection)


def _make(connection: Connection) -> list[str]:
    """Make in an empty database what all revisions together make there; a test compares the two.

    Alembic would take 0.2 s and 9 MB for it, at the first start of every gateway.
    """
    metadata.create_all(connection, checkfirst=False)
    _VERSIONS.create(connection)
    connection.execute(insert(_VERSIONS).values(version_num=HEAD))
    log.info("made the database's schema, revision %s", HEAD)
    return [HEAD]


def migrate(connection: Connection) -> list[str]:
    """Apply the revisions that the database lacks, in the transaction of `connection`.

    Raises: ConfigurationError when the schema is newer than this program.
    """
    # Alembic and its template engine cost every process that only serves; upgrades are rare.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    revisions = ScriptDirectory.from_config(config)
    known = [script.revision for script in revisions.walk_revisions()][::-1]
    found = _current(connection)
    if found is not None and found not in known:
        raise ConfigurationError(
            "DATABASE_URL",
            "the database was upgraded by a newer version of one-api",
            "that version, or a database of this one",
        )
    applied = known[known.index(found) + 1 :] if found is not None else known
    if applied:
        command.upgrade(config, "head")
        log.info("upgraded the database's schema to revision %s", applied[-1])
    return applied
