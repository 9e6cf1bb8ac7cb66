"""What keys have spent of their budgets, and what running requests may still cost them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from one_api.storage.database import Database
from one_api.storage.tables import budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStanding:
    """One budget of a key; `period` is "day:2026-11-21", "month:2026-11" or "total"."""

    period: str
    spent_microusd: int = 0
    reserved_microusd: int = 0


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
