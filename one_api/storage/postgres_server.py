"""Connections to a PostgreSQL server, none of which waits long for it.

Importing this needs the driver, which is an extra: only a URL of PostgreSQL brings it in.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import URL, NullPool, event
from sqlalchemy.engine import ExceptionContext
from typing_extensions import override

from one_api.storage.engines import AsyncEngine, create_async_engine
from one_api.storage.faults import sqlstate
from one_api.storage.tables import requests, reserved_index

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection

reserved_index.dialect_kwargs["postgresql_where"] = requests.c.state == "reserved"

#: What a server says to writes that has become a standby, or is kept from writing otherwise:
#: read_only_sql_transaction (https://www.postgresql.org/docs/18/errcodes-appendix.html).
_READ_ONLY = "25006"
#: How long a server may take to say goodbye. SQLAlchemy would give it 2 s, and whoever gets an
#: error would wait for that, too.
_FAREWELL_S = 0.2


class _BriskConnection(_Connection):
    """A connection that is closed soon, whether the server agrees or not."""

    @override
    async def close(self, *, timeout: float | None = None) -> None:
        """Close it in order if that is possible at once, and cut it off otherwise."""
        with suppress(TimeoutError):
            await super().close(timeout=_FAREWELL_S)


def connect(url: URL, *, patience_s: float, pool_size: int) -> AsyncEngine:
    """A pool of connections; each step of using one takes `patience_s` at most."""
    settings = {
        "statement_timeout": _ms(patience_s),
        # A process that hangs in a transaction keeps everybody's rows locked.
        "idle_in_transaction_session_timeout": _ms(5 * patience_s),
    }
    engine = create_async_engine(
        _for_asyncpg(url),
        connect_args=_arguments(patience_s, settings, command_timeout=patience_s),
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience_s,
        pool_pre_ping=True,
    )
    event.listen(engine.sync_engine, "handle_error", _leave_standby)
    return engine


def connect_patiently(url: URL, *, patience_s: float, lock_patience_s: float) -> AsyncEngine:
    """Single connections whose statements take as long as they take, once they have their locks."""
    settings = {"lock_timeout": _ms(lock_patience_s)}
    return create_async_engine(
        _for_asyncpg(url),
        connect_args=_arguments(patience_s, settings),
        hide_parameters=True,
        poolclass=NullPool,
    )


def _leave_standby(context: ExceptionContext) -> None:
    """Give up all connections to a server that does not let us write any more.

    It goes on answering, so that nothing else would ever make us look for the one that has taken
    its place at the same address.
    """
    if context.original_exception is not None and sqlstate(context.original_exception) == (
        _READ_ONLY
    ):
        context.is_disconnect = True


def _arguments(patience_s: float, settings: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "timeout": patience_s,
        "connection_class": _BriskConnection,
        "server_settings": {"application_name": "one-api", **settings},
        **more,
    }


def _for_asyncpg(url: URL) -> URL:
    """`url` with what PostgreSQL's own programs call `sslmode` under the driver's name for it."""
    query = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
