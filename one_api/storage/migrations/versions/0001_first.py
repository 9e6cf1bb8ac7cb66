"""The first schema: keys, budgets, the ledger with its bodies, and sums by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables in an empty database."""
    make_keys()
    make_budgets()
    make_requests()
    make_bodies()
    make_sums()


def make_keys() -> None:
    """Virtual keys."""
    op.create_table(
        "api_keys",
        text("id"),
        text("prefix"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        text("name"),
        text("owner", default=sa.text("''")),
        sa.Column("tags", sa.JSON(), nullable=False),
        number("created_ms"),
        number("expires_ms", nullable=True),
        number("revoked_ms", nullable=True),
        sa.Column("models", sa.JSON(none_as_null=True)),
        number("requests_per_minute", nullable=True),
        number("tokens_per_minute", nullable=True),
        number("concurrent_requests", nullable=True),
        number("budget_day_microusd", nullable=True),
        number("budget_month_microusd", nullable=True),
        number("budget_total_microusd", nullable=True),
        number("max_tokens", nullable=True),
        flag("may_route"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_prefix", "api_keys", ["prefix"], unique=True)
    op.create_index("ix_api_keys_created_ms_id", "api_keys", ["created_ms", "id"])


def make_budgets() -> None:
    """What each key has spent and promised."""
    op.create_table(
        "budgets",
        text("key_id"),
        text("period"),
        count("spent_microusd"),
        count("reserved_microusd"),
        sa.PrimaryKeyConstraint("key_id", "period", name="pk_budgets"),
    )


def make_requests() -> None:
    """Ledger and log."""
    op.create_table(
        "requests",
        text("request_id"),
        text("state"),
        text("key_id", default=sa.text("''")),
        number("created_ms"),
        number("settled_ms", nullable=True),
        text("endpoint", default=sa.text("''")),
        text("model", default=sa.text("''")),
        text("deployment", default=sa.text("''")),
        count("attempts"),
        sa.Column("status", sa.Integer()),
        sa.Column("error_code", sa.Text()),
        flag("is_stream"),
        number("first_content_ms", nullable=True),
        number("total_ms", nullable=True),
        *tokens(),
        flag("is_estimated"),
        count("cost_microusd"),
        count("reserved_microusd"),
        sa.Column("budget_periods", sa.Text()),
        text("client_address", default=sa.text("''")),
        sa.Column("cache", sa.Text()),
        text("owner", default=sa.text("''")),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
        sa.CheckConstraint(
            "state IN ('reserved', 'settled', 'abandoned')", name=op.f("ck_requests_state")
        ),
    )
    op.create_index("ix_requests_created_ms_request_id", "requests", ["created_ms", "request_id"])
    op.create_index(
        "ix_requests_key_id_created_ms_request_id",
        "requests",
        ["key_id", "created_ms", "request_id"],
    )
    is_reserved = sa.text("state = 'reserved'")
    op.create_index(
        "ix_requests_reserved",
        "requests",
        ["owner"],
        sqlite_where=is_reserved,
        postgresql_where=is_reserved,
    )


def make_bodies() -> None:
    """What was said."""
    op.create_table(
        "request_bodies",
        text("request_id"),
        sa.Column("request", sa.Text()),
        sa.Column("reply", sa.Text()),
        flag("is_truncated"),
        number("created_ms"),
        sa.PrimaryKeyConstraint("request_id", name="pk_request_bodies"),
    )
    op.create_index("ix_request_bodies_created_ms", "request_bodies", ["created_ms"])


def make_sums() -> None:
    """Sums by day, key, model and deployment."""
    op.create_table(
        "usage_days",
        text("day"),
        text("key_id"),
        text("model"),
        text("deployment"),
        count("requests"),
        count("errors"),
        *tokens(),
        count("cost_microusd"),
        sa.PrimaryKeyConstraint("day", "key_id", "model", "deployment", name="pk_usage_days"),
    )
    op.create_index("ix_usage_days_key_id_day", "usage_days", ["key_id", "day"])


def text(name: str, *, default: sa.TextClause | None = None) -> sa.Column[str]:
    """A text that is never NULL."""
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    """A whole number of 64 bits."""
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def count(name: str) -> sa.Column[int]:
    """A number that is 0 when nobody says."""
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))


def flag(name: str) -> sa.Column[bool]:
    """A truth value that is false when nobody says."""
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def tokens() -> list[sa.Column[int]]:
    """The five numbers of tokens that make up a price."""
    kinds = ("prompt", "cached", "cache_write", "completion", "reasoning")
    return [count(f"{kind}_tokens") for kind in kinds]
