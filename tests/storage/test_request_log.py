"""The request log: pages that do not shift, everything exported once, purged a little at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select
from typing_extensions import override

from one_api.storage.database import Database
from one_api.storage.request_log import (
    MAX_PAGE_ROWS,
    Bodies,
    Cursor,
    LoggedRequest,
    RequestFilter,
    RequestLog,
)
from one_api.storage.tables import request_bodies, requests, usage_days

DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS


async def put(database: Database, rows: Iterable[dict[str, Any]]) -> None:
    """Make rows; each is settled unless it says otherwise."""
    given = [{"state": "settled", "status": 200, **row} for row in rows]
    async with database.alone() as connection:
        await connection.execute(insert(requests), given)


async def say(database: Database, request_id: str, created_ms: int) -> None:
    async with database.alone() as connection:
        await connection.execute(
            insert(request_bodies).values(
                request_id=request_id, request="{}", reply="Hi", created_ms=created_ms
            )
        )


async def left(database: Database) -> tuple[set[str], set[str]]:
    """The ids of the rows, and of the bodies, that there are."""
    async with database.read() as connection:
        rows = set(await connection.scalars(select(requests.c.request_id)))
        bodies = set(await connection.scalars(select(request_bodies.c.request_id)))
    return rows, bodies


def ids(page: Iterable[LoggedRequest]) -> list[str]:
    return [request.request_id for request in page]


async def exported(log: RequestLog, **arguments: Any) -> list[str]:
    return [request.request_id async for request in log.export(**arguments)]


async def test_pages_are_latest_first_and_do_not_shift(database: Database) -> None:
    """Also requests of the same millisecond are on one page only."""
    log = RequestLog(database)
    await put(database, ({"request_id": f"req_{n}", "created_ms": n // 3} for n in range(9)))

    first = await log.list(limit=4)
    await put(database, [{"request_id": "new", "created_ms": 99}])
    second = await log.list(limit=4, before=first[-1].cursor)
    third = await log.list(limit=4, before=second[-1].cursor)

    assert ["req_8", "req_7", "req_6", "req_5"] == ids(first)
    assert ["req_4", "req_3", "req_2", "req_1"] == ids(second)
    assert ["req_0"] == ids(third)
    assert () == await log.list(before=third[-1].cursor)


@pytest.mark.parametrize(("limit", "count"), [(-1, 0), (0, 0), (1, 1), (10**9, MAX_PAGE_ROWS)])
async def test_a_page_is_bounded(database: Database, limit: int, count: int) -> None:
    await put(database, ({"request_id": f"req_{n}", "created_ms": n} for n in range(250)))

    assert count == len(await RequestLog(database).list(limit=limit))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param(RequestFilter(), ["d", "c", "b", "a"], id="all"),
        pytest.param(RequestFilter(key_id="key_1"), ["c", "a"], id="of a key"),
        pytest.param(RequestFilter(model="large"), ["d", "c"], id="of a model"),
        pytest.param(RequestFilter(status=500), ["c"], id="of a status"),
        pytest.param(RequestFilter(since_ms=2, until_ms=4), ["c", "b"], id="of a time"),
        pytest.param(RequestFilter(key_id="key_1", model="large"), ["c"], id="of both"),
        pytest.param(RequestFilter(key_id="' OR 1=1 --"), [], id="of a key that is none"),
    ],
)
async def test_a_filter_finds_what_it_says(
    database: Database, wanted: RequestFilter, found: list[str]
) -> None:
    names = ["key_id", "model", "status"]
    rows = [("key_1", "small", 200), ("key_2", "small", 200), ("key_1", "large", 500),
            ("key_2", "large", 200)]  # fmt: skip
    await put(
        database,
        (
            {"request_id": "abcd"[n], "created_ms": n + 1, **dict(zip(names, row, strict=True))}
            for n, row in enumerate(rows)
        ),
    )
    log = RequestLog(database)

    assert found == ids(await log.list(wanted))
    assert found[::-1] == await exported(log, wanted=wanted)


async def test_a_request_is_told_with_what_was_said(database: Database) -> None:
    log = RequestLog(database)
    await put(database, [{"request_id": "req_1", "created_ms": 5, "cost_microusd": 7}])
    await put(database, [{"request_id": "req_2", "created_ms": 6, "state": "reserved"}])
    await say(database, "req_1", 5)

    told = await log.get("req_1")
    silent = await log.get("req_2")

    assert told is not None
    assert (7, Bodies(request="{}", reply="Hi", is_truncated=False)) == (
        told[0].cost_microusd, told[1])  # fmt: skip
    assert silent is not None
    assert ("reserved", None) == (silent[0].state, silent[1])
    assert None is await log.get("req_3")


async def test_an_export_tells_each_request_once_and_goes_on_where_it_ended(
    database: Database,
) -> None:
    log = RequestLog(database)
    await put(database, ({"request_id": f"{n:04}", "created_ms": n // 7} for n in range(450)))

    everything = await exported(log)
    assert [f"{n:04}" for n in range(450)] == everything
    assert ["0449"] == await exported(log, after=Cursor(448 // 7, "0448"))
    assert [] == await exported(log, after=Cursor(449 // 7, "0449"))


async def test_what_begins_during_an_export_is_told_too(database: Database) -> None:
    log = RequestLog(database)
    await put(database, ({"request_id": f"{n:04}", "created_ms": n} for n in range(MAX_PAGE_ROWS)))
    found: list[str] = []
    async for request in log.export():
        if not found:
            await put(database, [{"request_id": "late", "created_ms": 10_000}])
        found.append(request.request_id)

    assert "late" == found[-1]
    assert MAX_PAGE_ROWS + 1 == len(found)


async def test_a_purge_by_age_keeps_what_is_young_or_under_way(database: Database) -> None:
    log = RequestLog(database, clock_ms=lambda: NOW_MS)
    old_ms = NOW_MS - 30 * DAY_MS
    await put(
        database,
        [
            {"request_id": "old", "created_ms": old_ms - 1},
            {"request_id": "given up", "created_ms": old_ms - 1, "state": "abandoned"},
            {"request_id": "under way", "created_ms": old_ms - 1, "state": "reserved"},
            {"request_id": "young", "created_ms": old_ms},
        ],
    )
    await say(database, "old", old_ms - 1)
    await say(database, "young", old_ms)

    assert 2 == await log.purge(max_age_days=30)
    assert ({"under way", "young"}, {"young"}) == await left(database)
    assert 0 == await log.purge(max_age_days=30)


async def test_a_purge_by_number_keeps_the_latest(database: Database) -> None:
    log = RequestLog(database)
    await put(database, ({"request_id": f"req_{n}", "created_ms": n // 2} for n in range(9)))

    assert 6 == await log.purge(max_rows=3)
    assert {"req_6", "req_7", "req_8"} == (await left(database))[0]
    assert 0 == await log.purge(max_rows=3)
    assert 3 == await log.purge(max_rows=0)


async def test_a_purge_without_limits_deletes_nothing(database: Database) -> None:
    await put(database, [{"request_id": "req_1", "created_ms": 0}])

    assert 0 == await RequestLog(database).purge()
    assert {"req_1"} == (await left(database))[0]


async def test_a_purge_never_holds_many_rows_at_once(database: Database) -> None:
    batches: list[int] = []

    class Counted(Database):
        """Counts the rows that each transaction deletes."""

        @override
        async def write(self, work: Any, *, timeout_s: float = 2.0) -> Any:
            count = await database.write(work, timeout_s=timeout_s)
            batches.append(count)
            return count

    await put(database, ({"request_id": f"req_{n}", "created_ms": n} for n in range(25)))
    counted = Counted(database._parts)

    assert 25 == await RequestLog(counted, clock_ms=lambda: NOW_MS).purge(max_age_days=1, batch=10)
    assert [10, 10, 5, 0] == batches


async def test_sums_outlive_the_rows(database: Database) -> None:
    await put(database, [{"request_id": "req_1", "created_ms": 0}])
    async with database.alone() as connection:
        await connection.execute(
            insert(usage_days).values(day="1970-01-01", key_id="k", model="m", deployment="d")
        )

    await RequestLog(database).purge(max_rows=0)

    async with database.read() as connection:
        assert 1 == await connection.scalar(select(func.count()).select_from(usage_days))


async def test_a_page_reads_no_more_rows_than_it_has(upgraded_file: Path, tmp_path: Path) -> None:
    """Sorting all requests to show twenty would hold the database up."""
    path = tmp_path / "one_api.db"
    shutil.copy(upgraded_file, path)
    database = await Database.open(str(path))
    pages: list[tuple[str, Any]] = []
    engine = database._parts.readers.sync_engine

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: Any, _u: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        if statement.startswith("SELECT"):
            pages.append((statement, parameters))

    log = RequestLog(database)
    await log.list(RequestFilter(key_id="key_1"), before=Cursor(5, "x"))
    await log.list(before=Cursor(5, "x"))
    plans = []
    for statement, parameters in pages:
        async with database.read() as connection:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append(" ".join(str(step.detail) for step in plan))
    await database.close()

    assert 2 == len(plans)
    assert [] == [plan for plan in plans if "SEARCH" not in plan or "TEMP B-TREE" in plan]
