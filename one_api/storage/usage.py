"""Sums that follow from requests, of money by budget and of all that was used by day.

The ledger keeps them in the transactions in which the requests' rows change; reports read them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal

from sqlalchemy import BigInteger, Insert, Text, bindparam, case, func, literal_column, select

from one_api.errors import BudgetExceeded
from one_api.schemas import JsonObject
from one_api.storage.database import Database
from one_api.storage.engines import AsyncConnection
from one_api.storage.statements import Prepared, insert_into
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
#: What of a request is in the sums, or says whether it is.
SUMMED = ("state", "status", "created_ms", *_LINE[1:], *_SUMS[2:])
_MS_PER_DAY = 86_400_000


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
    # In the order in which `move_budgets` has them too: transactions never wait in a circle.
    fitting = [period for period, cap in sorted(caps.items()) if estimate <= cap]
    promised = set(fitting)
    if fitting and len(fitting) == len(caps):
        named = {"b_key_id": row["key_id"], "b_estimate": estimate}
        for at, period in enumerate(fitting):
            named |= {f"b_period_{at}": period, f"b_cap_{at}": caps[period]}
        promised = set(await _promise_to(len(fitting)).scalars(connection, named))
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
    await _MOVE_BUDGETS.run(connection, rows)


async def add_usage(
    connection: AsyncConnection,
    ended: Iterable[tuple[JsonObject, Mapping[str, Any] | None]],
) -> None:
    """Add requests that ended to the sums of their days, in the caller's transaction.

    With each comes the row that was there before: one that was taken for abandoned is in the sums
    already, and taken out.
    """
    lines: defaultdict[tuple[str, ...], list[tuple[int, ...]]] = defaultdict(list)
    for row, before in ended:
        lines[_names_of(row)].append(_amounts_of(row))
        if before is not None and before["state"] == "abandoned":
            lines[_names_of(before)].append(tuple(-amount for amount in _amounts_of(before)))
    rows = [
        dict(zip((*_LINE, *_SUMS), (*names, *map(sum, zip(*amounts, strict=True))), strict=True))
        for names, amounts in sorted(lines.items())
    ]
    await _ADD_USAGE.run(connection, rows)


@lru_cache(maxsize=16)
def _promise_to(count: int) -> Prepared:
    """Reserves an estimate in `count` periods, as far as there is room; tells in which."""
    periods = [bindparam(f"b_period_{at}", type_=Text) for at in range(count)]
    caps = [bindparam(f"b_cap_{at}", type_=BigInteger) for at in range(count)]
    key_id, estimate = bindparam("b_key_id", type_=Text), bindparam("b_estimate", type_=BigInteger)

    def make(dialect_name: str) -> Insert:
        statement = insert_into(dialect_name, budgets).values(
            [
                {"key_id": key_id, "period": period, "reserved_microusd": estimate}
                for period in periods
            ]
        )
        spent, reserved = budgets.c.spent_microusd, budgets.c.reserved_microusd
        cap = case(
            *((budgets.c.period == one, cap) for one, cap in zip(periods, caps, strict=True))
        )
        return statement.on_conflict_do_update(
            index_elements=[budgets.c[name] for name in _BUDGET],
            set_={"reserved_microusd": reserved + statement.excluded.reserved_microusd},
            where=spent + reserved + statement.excluded.reserved_microusd <= cap,
        ).returning(budgets.c.period)

    return Prepared(make)


def _move_budgets(dialect_name: str) -> Insert:
    statement = insert_into(dialect_name, budgets).values(
        {name: bindparam(name) for name in (*_BUDGET, "spent_microusd")}
    )
    reserved, release = budgets.c.reserved_microusd, bindparam("b_released", type_=BigInteger)
    left = case((reserved > release, reserved - release), else_=literal_column("0"))
    return statement.on_conflict_do_update(
        index_elements=[budgets.c[name] for name in _BUDGET],
        set_={
            "spent_microusd": budgets.c.spent_microusd + statement.excluded.spent_microusd,
            "reserved_microusd": left,
        },
    )


def _add_usage(dialect_name: str) -> Insert:
    statement = insert_into(dialect_name, usage_days)
    return statement.on_conflict_do_update(
        index_elements=[usage_days.c[name] for name in _LINE],
        set_={name: usage_days.c[name] + statement.excluded[name] for name in _SUMS},
    )


_MOVE_BUDGETS = Prepared(_move_budgets)
_ADD_USAGE = Prepared(_add_usage)

_tokens_and_cost_of = itemgetter(*_SUMS[2:])


def _names_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    return _day_of(row["created_ms"] // _MS_PER_DAY), row["key_id"], row["model"], row["deployment"]


@lru_cache(maxsize=64)
def _day_of(days: int) -> str:
    return datetime.fromtimestamp(days * _MS_PER_DAY / 1_000, UTC).strftime("%Y-%m-%d")


def _amounts_of(row: Mapping[str, Any]) -> tuple[int, ...]:
    """What one request adds to the sums, in their order."""
    has_failed = row["state"] == "abandoned" or (row["status"] or 0) >= 400
    return 1, int(has_failed), *_tokens_and_cost_of(row)


def _line_of(row: dict[str, Any]) -> UsageLine:
    # PostgreSQL sums 64-bit integers as NUMERIC, which comes as Decimal.
    return UsageLine(**row | {name: int(row[name]) for name in _SUMS})
