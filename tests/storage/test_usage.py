"""Usage reports: exact sums, grouped by any names, of what the ledger settled."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from one_api.storage.database import Database
from one_api.storage.tables import usage_days
from one_api.storage.usage import MAX_LINES, Group, UsageLine, UsageReport, add_usage

GROUPS: tuple[Group, ...] = ("day", "key", "model", "deployment")
#: 2026-11-21T00:00:00Z.
MIDNIGHT_MS = 1_795_219_200_000


def row(day: str, key_id: str, model: str, deployment: str, amount: int) -> dict[str, str | int]:
    """A line of the table; its numbers are all different, so that none passes for another."""
    return {
        "day": f"2026-11-{day}",
        "key_id": key_id,
        "model": model,
        "deployment": deployment,
        "requests": amount,
        "errors": amount * 2,
        "prompt_tokens": amount * 3,
        "cached_tokens": amount * 5,
        "cache_write_tokens": amount * 7,
        "completion_tokens": amount * 11,
        "reasoning_tokens": amount * 13,
        "cost_microusd": amount * 17,
    }


SUMS = {name for name, value in row("", "", "", "", 0).items() if value == 0}
ROWS = [
    row("20", "key_1", "small", "cloud/a", 1),
    row("20", "key_2", "small", "cloud/b", 10),
    row("21", "key_1", "small", "cloud/b", 100),
    row("21", "key_1", "large", "cloud/a", 1_000),
    row("22", "key_2", "large", "cloud/a", 10**17),
]


def line(amount: int, **names: str) -> UsageLine:
    numbers: dict[str, Any] = {
        name: value for name, value in row("", "", "", "", amount).items() if name in SUMS
    }
    return UsageLine(**numbers | names)


async def sums(
    report: UsageReport,
    groups: Sequence[Group],
    *,
    key_id: str | None = None,
    limit: int = MAX_LINES,
) -> tuple[UsageLine, ...]:
    """The report of all days."""
    return await report.by(
        groups, since_day="0000-00-00", until_day="9999-99-99", key_id=key_id, limit=limit
    )


@pytest.fixture
async def report(database: Database) -> UsageReport:
    async with database.alone() as connection:
        await connection.execute(insert(usage_days), ROWS)
    return UsageReport(database)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param([], [line(10**17 + 1_111)], id="in all"),
        pytest.param(
            ["key"],
            [line(10**17 + 10, key_id="key_2"), line(1_101, key_id="key_1")],
            id="by key, costliest first",
        ),
        pytest.param(
            ["day"],
            [
                line(10**17, day="2026-11-22"),
                line(1_100, day="2026-11-21"),
                line(11, day="2026-11-20"),
            ],
            id="by day, latest first",
        ),
        pytest.param(
            ["model", "key"],
            [
                line(10**17, key_id="key_2", model="large"),
                line(1_000, key_id="key_1", model="large"),
                line(101, key_id="key_1", model="small"),
                line(10, key_id="key_2", model="small"),
            ],
            id="by model and key",
        ),
        pytest.param(
            ["deployment"],
            [line(10**17 + 1_001, deployment="cloud/a"), line(110, deployment="cloud/b")],
            id="by deployment",
        ),
    ],
)
async def test_sums_are_exact(
    report: UsageReport, groups: Sequence[Group], expected: list[UsageLine]
) -> None:
    assert expected == list(await sums(report, groups))


async def test_any_combination_adds_up_to_the_same(report: UsageReport) -> None:
    for size in range(5):
        for groups in itertools.combinations(GROUPS, size):
            lines = await sums(report, groups)
            assert 10**17 + 1_111 == sum(found.requests for found in lines)


async def test_both_days_are_included(report: UsageReport) -> None:
    lines = await report.by(["day"], since_day="2026-11-20", until_day="2026-11-21")

    assert ["2026-11-21", "2026-11-20"] == [found.day for found in lines]


async def test_a_key_is_told_of_itself_only(report: UsageReport) -> None:
    assert [line(1_101)] == list(await sums(report, [], key_id="key_1"))
    assert [line(0)] == list(await sums(report, [], key_id="key_"))
    assert [] == list(await sums(report, ["day"], key_id="key_3"))


async def test_a_report_is_bounded(database: Database) -> None:
    async with database.alone() as connection:
        await connection.execute(
            insert(usage_days), [row("20", f"key_{n}", "m", "d", n) for n in range(1_100)]
        )
    report = UsageReport(database)

    assert 1_000 == len(await sums(report, ["key"], limit=10**9))
    assert ["key_1099"] == [found.key_id for found in await sums(report, ["key"], limit=1)]


async def test_a_group_that_there_is_not_is_refused(report: UsageReport) -> None:
    with pytest.raises(KeyError):
        await sums(report, ["client_address"])  # type: ignore[list-item]  # the point


async def test_a_day_is_one_of_utc_on_which_the_request_began(database: Database) -> None:
    ended = {
        "state": "settled", "key_id": "k", "model": "m", "deployment": "d", "status": 200,
        "prompt_tokens": 1, "cached_tokens": 0, "cache_write_tokens": 0, "completion_tokens": 0,
        "reasoning_tokens": 0, "cost_microusd": 1,
    }  # fmt: skip

    async def add(connection: AsyncConnection) -> None:
        moments = (MIDNIGHT_MS - 1, MIDNIGHT_MS, MIDNIGHT_MS + 86_399_999)
        await add_usage(connection, [({**ended, "created_ms": ms}, None) for ms in moments])

    await database.write(add)
    lines = await sums(UsageReport(database), ["day"])

    assert [("2026-11-21", 2), ("2026-11-20", 1)] == [
        (found.day, found.requests) for found in lines
    ]
