"""What keys have spent of their budgets, and what running requests may still cost them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select, union_all

from one_api.storage.database import Database
from one_api.storage.tables import api_keys, budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStanding:
    """One budget of a key; `period` is "day:2026-11-21", "month:2026-11" or "total"."""

    period: str
    spent_microusd: int = 0
    reserved_microusd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StrainedBudget:
    """A budget of a key of which much is gone: spent, or promised to running requests."""

    key_id: str
    name: str
    period: str
    taken_microusd: int
    budget_microusd: int


class BudgetReport:
    """The budgets of one database, as the ledger left them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, key_id: str, periods: Collection[str]) -> tuple[BudgetStanding, ...]:
        """Where the key stands in each of `periods`, in their order.

        Raises: StorageUnavailable.
        """
        columns = (budgets.c.period, budgets.c.spent_microusd, budgets.c.reserved_microusd)
        query = select(*columns).where(budgets.c.key_id == key_id, budgets.c.period.in_(periods))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = {row["period"]: BudgetStanding(**row) for row in rows}
        return tuple(found.get(period, BudgetStanding(period=period)) for period in periods)

    async def strained(
        self, periods: Mapping[str, str], percent: int, limit: int = 200
    ) -> tuple[StrainedBudget, ...]:
        """Budgets of keys in force of which at least `percent` is gone, up to `limit` of them.

        `periods` are those of now by what the budget is per: "day", "month" and "total".
        Raises: StorageUnavailable.
        """
        taken = budgets.c.spent_microusd + budgets.c.reserved_microusd
        queries = []
        for per, period in periods.items():
            cap = api_keys.c[f"budget_{per}_microusd"]
            queries.append(
                select(
                    api_keys.c.id.label("key_id"),
                    api_keys.c.name,
                    budgets.c.period,
                    taken.label("taken_microusd"),
                    cap.label("budget_microusd"),
                )
                .join(budgets, budgets.c.key_id == api_keys.c.id)
                .where(
                    budgets.c.period == period,
                    api_keys.c.revoked_ms.is_(None),
                    cap.is_not(None),
                    taken * 100 >= cap * percent,
                )
            )
        async with self._database.read() as connection:
            rows = (await connection.execute(union_all(*queries).limit(limit))).mappings().all()
        return tuple(StrainedBudget(**row) for row in rows)
