"""How Alembic runs the revisions: on the connection, and in the transaction, that it is given.

Only `one_api.storage.schema` starts it. All revisions run in the one transaction that also holds
the lock, so that a process killed at any step leaves the schema that it found. Revisions are
therefore written without COMMIT, without AUTOCOMMIT blocks, and for both dialects.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from one_api.storage.tables import metadata

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection)  # noqa: S101 - there is no other way to run this file

context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite has no ALTER for most things; Alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
