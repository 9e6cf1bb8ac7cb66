"""The tables of the database, as SQLAlchemy's Core describes them.

Money is in integer micro-dollars (`*_microusd`), times are UTC epoch milliseconds (`*_ms`), and
whatever counts tokens has 64 bits. What has no key, no model or no deployment says so with "",
since these columns are parts of keys. A change here needs a revision in `migrations/versions`.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _count(name: str) -> Column[int]:
    """A number of something: never unknown, and 0 when nobody says."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def _name(name: str) -> Column[str]:
    """A name that may be missing, which is ""."""
    return Column(name, Text, nullable=False, server_default=text("''"))


#: Virtual keys; the key itself is in none of the columns.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    _name("owner"),
    Column("tags", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("models", JSON(none_as_null=True)),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("concurrent_requests", BigInteger),
    Column("budget_day_microusd", BigInteger),
    Column("budget_month_microusd", BigInteger),
    Column("budget_total_microusd", BigInteger),
    Column("max_tokens", BigInteger),
    _flag("may_route"),
    PrimaryKeyConstraint("id"),
    Index(None, "prefix", unique=True),
    Index(None, "created_ms", "id"),
)

#: What each key has spent and promised, by period: "day:2026-11-21", "month:2026-11" or "total".
budgets = Table(
    "budgets",
    metadata,
    Column("key_id", Text, nullable=False),
    Column("period", Text, nullable=False),
    _count("spent_microusd"),
    _count("reserved_microusd"),
    PrimaryKeyConstraint("key_id", "period"),
)

#: Ledger and log: one row for each request that was reserved. `budget_periods` is a comma-separated
#: list of the budget rows that the reservation stands in, `owner` the journal that wrote the row.
requests = Table(
    "requests",
    metadata,
    Column("request_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    _name("key_id"),
    Column("created_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger),
    _name("endpoint"),
    _name("model"),
    _name("deployment"),
    _count("attempts"),
    Column("status", Integer),
    Column("error_code", Text),
    _flag("is_stream"),
    Column("first_content_ms", BigInteger),
    Column("total_ms", BigInteger),
    _count("prompt_tokens"),
    _count("cached_tokens"),
    _count("cache_write_tokens"),
    _count("completion_tokens"),
    _count("reasoning_tokens"),
    _flag("is_estimated"),
    _count("cost_microusd"),
    _count("reserved_microusd"),
    Column("budget_periods", Text),
    _name("client_address"),
    Column("cache", Text),
    _name("owner"),
    PrimaryKeyConstraint("request_id"),
    CheckConstraint("state IN ('reserved', 'settled', 'abandoned')", name="state"),
    Index(None, "created_ms", "request_id"),
    Index(None, "key_id", "created_ms", "request_id"),
)
# The rows that a start has to look through after a crash: few, however many rows there are.
# `postgres_server` says the same of PostgreSQL, whose dialect would be imported here for it.
reserved_index = Index(
    "ix_requests_reserved",
    requests.c.owner,
    sqlite_where=requests.c.state == "reserved",
)

#: What was said, where the request log keeps that.
request_bodies = Table(
    "request_bodies",
    metadata,
    Column("request_id", Text, nullable=False),
    Column("request", Text),
    Column("reply", Text),
    _flag("is_truncated"),
    Column("created_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("request_id"),
    Index(None, "created_ms"),
)

#: Sums of the settled requests, which stay when their rows are purged; `day` is "2026-11-21" (UTC).
usage_days = Table(
    "usage_days",
    metadata,
    Column("day", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    _count("requests"),
    _count("errors"),
    _count("prompt_tokens"),
    _count("cached_tokens"),
    _count("cache_write_tokens"),
    _count("completion_tokens"),
    _count("reasoning_tokens"),
    _count("cost_microusd"),
    PrimaryKeyConstraint("day", "key_id", "model", "deployment"),
    Index(None, "key_id", "day"),
)
