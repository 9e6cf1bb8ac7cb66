"""Sums that follow from requests, of money by budget and of all that was used by day.

The ledger keeps them in the transactions in which the requests' rows change; reports read them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.errors import BudgetExceeded
from one_api.schemas import JsonObject
from one_api.storage.database import Database
from one_api.storage.entries import insert_into
from one_api.storage.tables import budgets, usage_days

Group = Literal["day", "key", "model", "deployment"]

MAX_LINES = 1_000

_COLUMNS = {
    "day": usage_days.c.day,
    "key": usage_days.c.key_id,
    "model": usage_days.c.model,
    "deployment": usage_days.c.deployment,
}
_BUDGET = ("key_id", "period")
_LINE = ("day", "key_id", "model", "deployment")
_SUMS = (
    "requests",
    "errors",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost_microusd",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """Sums over all requests that ended and have these names in common.

    What the report was not grouped by is None. `day` is "2026-11-21", in UTC, the day on which the
    requests began. `errors` are those with a status from 400 on, and the abandoned ones.
    """

    day: str | None = None
    key_id: str | None = None
    model: str | None = None
    deployment: str | None = None
    requests: int
    errors: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_microusd: int


class UsageReport:
    """Exact sums, also of requests whose rows are purged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by(
        self,
        groups: Iterable[Group],
        *,
        since_day: str,
        until_day: str,
        key_id: str | None = None,
        limit: int = MAX_LINES,
    ) -> tuple[UsageLine, ...]:
        """One line for each combination of `groups`; without groups, one line in all.

        Both days ("2026-11-21") are included. The latest days come first, and within a day, or
        without days, what cost most. `limit` is at most 1,000.
        Raises: StorageUnavailable; KeyError for a group that there is not.
        """
        wanted = set(groups)
        columns = [_COLUMNS[group] for group in sorted(wanted)]
        sums = [func.coalesce(func.sum(usage_days.c[name]), 0).label(name) for name in _SUMS]
        days = usage_days.c.day
        query = select(*columns, *sums).where(days >= since_day, days <= until_day)
        if key_id is not None:
            query = query.where(usage_days.c.key_id == key_id)
        order = [days.desc()] if "day" in wanted else []
        cost = func.sum(usage_days.c.cost_microusd).desc()
        query = query.group_by(*columns).order_by(*order, cost, *columns)
        async with self._database.read() as connection:
            found = await connection.execute(query.limit(min(max(limit, 0), MAX_LINES)))
            return tuple(_line_of(dict(row)) for row in found.mappings())


async def promise_cost(
    connection: AsyncConnection, row: JsonObject, caps: Mapping[str, int]
) -> None:
    """Reserve what a request may cost in all the periods of `caps`, in the caller's transaction.

    `caps` says how much may be spent in each. Raises: BudgetExceeded when one has too little left.
    """
    estimate = row["reserved_microusd"]
    spent, reserved = budgets.c.spent_microusd, budgets.c.reserved_microusd
    # In the order in which `move_budgets` has them too: transactions never wait in a circle.
    fitting = [period for period, cap in sorted(caps.items()) if estimate <= cap]
    promised = set(fitting)
    if len(fitting) == len(caps):
        promise = insert_into(connection, budgets).values(
            [
                {"key_id": row["key_id"], "period": period, "reserved_microusd": estimate}
                for period in fitting
            ]
        )
        promise = promise.on_conflict_do_update(
            index_elements=[budgets.c[name] for name in _BUDGET],
            set_={"reserved_microusd": reserved + promise.excluded.reserved_microusd},
            where=spent + reserved + promise.excluded.reserved_microusd
            <= case(dict(caps), value=budgets.c.period),
        )
        promised = set(await connection.scalars(promise.returning(budgets.c.period)))
    for period in sorted(caps.keys() - promised):
        raise BudgetExceeded(f"The budget of this API key ({period}) does not cover the request.")


async def move_budgets(
    connection: AsyncConnection, ended: Iterable[tuple[JsonObject, Mapping[str, Any] | None]]
) -> None:
    """Take back what was promised for requests that ended, and add what they cost."""
    spent: Counter[tuple[str, str]] = Counter()
    released: Counter[tuple[str, str]] = Counter()
    for row, before in ended:
        periods = row["budget_periods"]
        for period in periods.split(",") if periods else ():
            line = row["key_id"], period
            spent[line] += row["cost_microusd"]
            if before is not None and before["state"] == "reserved":
                released[line] += before["reserved_microusd"]
    rows = [
        {
            **dict(zip(_BUDGET, line, strict=True)),
            "spent_microusd": cost,
            "b_released": released[line],
        }
        for line, cost in sorted(spent.items())
    ]
    if not rows:
        return
    statement = insert_into(connection, budgets)
    reserved, release = budgets.c.reserved_microusd, bindparam("b_released", type_=BigInteger)
    statement = statement.on_conflict_do_update(
        index_elements=[budgets.c.key_id, budgets.c.period],
        set_={
            "spent_microusd": budgets.c.spent_microusd + statement.excluded.spent_microusd,
            "reserved_microusd": case((reserved > release, reserved - release), else_=0),
        },
    )
    await connection.execute(statement, rows)


async def add_usage(
    connection: AsyncConnection,
    ended: Iterable[tuple[JsonObject, Mapping[str, Any] | None]],
) -> None:
    """Add requests that ended to the sums of their days, in the caller's transaction.

    With each comes the row that was there before: one that was taken for abandoned is in the sums
    already, and taken out.
    """
    lines: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row, before in ended:
        lines[_names_of(row)].update(_amounts_of(row))
        if before is not None and before["state"] == "abandoned":
            lines[_names_of(before)].subtract(_amounts_of(before))
    rows = [
        dict(zip(_LINE, names, strict=True)) | {name: amounts[name] for name in _SUMS}
        for names, amounts in sorted(lines.items())
    ]
    if not rows:
        return
    statement = insert_into(connection, usage_days)
    statement = statement.on_conflict_do_update(
        index_elements=[usage_days.c[name] for name in _LINE],
        set_={name: usage_days.c[name] + statement.excluded[name] for name in _SUMS},
    )
    await connection.execute(statement, rows)


def _names_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    began = datetime.fromtimestamp(row["created_ms"] / 1_000, UTC)
    return began.strftime("%Y-%m-%d"), *(row[name] for name in _LINE[1:])


def _amounts_of(row: Mapping[str, Any]) -> dict[str, int]:
    has_failed = row["state"] == "abandoned" or (row["status"] or 0) >= 400
    return {"requests": 1, "errors": int(has_failed), **{name: row[name] for name in _SUMS[2:]}}


def _line_of(row: dict[str, Any]) -> UsageLine:
    # PostgreSQL sums 64-bit integers as NUMERIC, which comes as Decimal.
    return UsageLine(**row | {name: int(row[name]) for name in _SUMS})
