"""Budgets of which little is left: those of keys in force, of now, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.storage import BudgetReport, Database, KeySpec, KeyStore
from one_api.storage.tables import budgets

NOW = {"day": "day:2026-11-21", "month": "month:2026-11", "total": "total"}


async def key_with(
    database: Database, taken: dict[str, tuple[int, int]], **limits: Any
) -> tuple[KeyStore, str]:
    """A key with these limits that has spent and reserved so much in each period."""
    store = KeyStore(database, b"s" * 32)
    _, key = await store.create(KeySpec(name="team", **limits))

    async def work(connection: AsyncConnection) -> None:
        for period, (spent, reserved) in taken.items():
            row = {"key_id": key.id, "period": period}
            amounts = {"spent_microusd": spent, "reserved_microusd": reserved}
            await connection.execute(insert(budgets).values(**row, **amounts))

    await database.write(work)
    return store, key.id


@pytest.mark.parametrize(
    ("spent", "reserved", "is_strained"),
    [(799, 0, False), (800, 0, True), (700, 100, True), (1000, 0, True), (2000, 0, True)],
)
async def test_what_is_promised_counts_as_spent(
    spent: int, reserved: int, is_strained: bool, database: Database
) -> None:
    _, key_id = await key_with(
        database, {"day:2026-11-21": (spent, reserved)}, budget_day_microusd=1000
    )
    found = await BudgetReport(database).strained(NOW, 80)
    assert ([key_id] if is_strained else []) == [one.key_id for one in found]
    if is_strained:
        (one,) = found
        assert ("team", "day:2026-11-21", spent + reserved, 1000) == (
            one.name, one.period, one.taken_microusd, one.budget_microusd,
        )  # fmt: skip


async def test_each_period_has_its_own_budget(database: Database) -> None:
    taken = {"day:2026-11-21": (90, 0), "month:2026-11": (90, 0), "total": (90, 0)}
    await key_with(database, taken, budget_month_microusd=100, budget_total_microusd=1000)
    found = await BudgetReport(database).strained(NOW, 80)
    assert ["month:2026-11"] == [one.period for one in found]


async def test_yesterday_is_over(database: Database) -> None:
    await key_with(database, {"day:2026-11-20": (90, 0)}, budget_day_microusd=100)
    assert () == await BudgetReport(database).strained(NOW, 80)


async def test_revoked_keys_spend_nothing_more(database: Database) -> None:
    store, key_id = await key_with(database, {"total": (90, 0)}, budget_total_microusd=100)
    await store.revoke(key_id)
    assert () == await BudgetReport(database).strained(NOW, 80)


async def test_no_more_than_asked_for(database: Database) -> None:
    for _ in range(3):
        await key_with(database, {"total": (90, 0)}, budget_total_microusd=100)
    assert 2 == len(await BudgetReport(database).strained(NOW, 80, limit=2))
