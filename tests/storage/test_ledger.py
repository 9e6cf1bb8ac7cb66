"""The ledger: one row for each request, and budgets that are never overdrawn, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from one_api.errors import BudgetExceeded, StorageUnavailable
from one_api.events import Usage
from one_api.storage.database import Database
from one_api.storage.entries import (
    MAX_COUNT,
    MAX_MICROUSD,
    BudgetCap,
    Reservation,
    Settlement,
    TokenCounts,
    settled_record,
)
from one_api.storage.journal import Journal, JournalLimits
from one_api.storage.ledger import LEASE_MS, Ledger
from one_api.storage.tables import budgets, request_bodies, requests, usage_days
from tests.storage.postgres import PostgresServer
from tests.storage.test_journal import die, full_disk, segments

#: 2026-11-21T12:00:00Z.
NOON_MS = 1_795_262_400_000
DAY = "day:2026-11-21"
USED = TokenCounts(prompt_tokens=10, cached_tokens=4, completion_tokens=20, reasoning_tokens=5)


def reservation(request_id: str, **changes: Any) -> Reservation:
    given: dict[str, Any] = {
        "request_id": request_id,
        "key_id": "key_1",
        "created_ms": NOON_MS,
        "endpoint": "/v1/chat/completions",
        "model": "small",
    }
    return Reservation(**{**given, **changes})


def settlement(**changes: Any) -> Settlement:
    given: dict[str, Any] = {
        "status": 200,
        "total_ms": 1_500,
        "deployment": "cloud/small-1",
        "attempts": 1,
        "usage": USED,
        "cost_microusd": 70,
    }
    return Settlement(**{**given, **changes})


def cap(microusd: int, period: str = DAY) -> BudgetCap:
    return BudgetCap(period, microusd)


class BreakableDatabase(Database):
    """A database that can be made not to answer."""

    is_down = False
    writes = 0

    @override
    async def write(
        self, work: Callable[[AsyncConnection], Awaitable[Any]], *, timeout_s: float = 2.0
    ) -> Any:
        if self.is_down:
            raise StorageUnavailable("The database does not answer.")
        self.writes += 1
        return await super().write(work, timeout_s=timeout_s)


@pytest.fixture
async def breakable(database_url: str) -> AsyncIterator[BreakableDatabase]:
    opened = await BreakableDatabase.open(database_url)
    try:
        yield opened
    finally:
        opened.is_down = False
        await opened.close()


@pytest.fixture
async def ledger(database: Database, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A ledger that writes only when it is told to."""
    opened = make_ledger(database, tmp_path / "journal")
    yield opened
    await opened.close()


def make_ledger(database: Database, directory: Path, *, now_ms: int = NOON_MS) -> Ledger:
    return Ledger(database, Journal(directory), clock_ms=lambda: now_ms)


@asynccontextmanager
async def running(database: Database, directory: Path) -> AsyncIterator[Ledger]:
    ledger = make_ledger(database, directory)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def rows_of(database: Database) -> dict[str, dict[str, Any]]:
    async with database.read() as connection:
        found = await connection.execute(select(requests))
        return {row["request_id"]: dict(row) for row in found.mappings()}


async def states_of(database: Database) -> dict[str, str]:
    return {key: row["state"] for key, row in (await rows_of(database)).items()}


async def budgets_of(database: Database) -> dict[str, tuple[int, int]]:
    """Spent and reserved, by period."""
    async with database.read() as connection:
        found = await connection.execute(select(budgets))
        return {row.period: (row.spent_microusd, row.reserved_microusd) for row in found}


async def days_of(database: Database) -> list[tuple[Any, ...]]:
    columns = usage_days.c
    query = select(columns.day, columns.deployment, columns.requests, columns.errors,
                   columns.prompt_tokens, columns.cost_microusd)  # fmt: skip
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(query.order_by(*columns))]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def test_a_settled_request_is_one_row(ledger: Ledger, database: Database) -> None:
    await ledger.reserve(reservation("req_1", client_address="192.0.2.1", estimate_microusd=90))
    assert ledger.settle(
        "req_1",
        settlement(is_stream=True, first_content_ms=200, cache="hit", is_estimated=True),
    )
    await ledger.flush()

    row = (await rows_of(database))["req_1"]
    assert row.pop("owner").startswith(ledger._journal.directory_id)
    assert {
        "request_id": "req_1",
        "state": "settled",
        "key_id": "key_1",
        "created_ms": NOON_MS,
        "settled_ms": NOON_MS + 1_500,
        "endpoint": "/v1/chat/completions",
        "model": "small",
        "deployment": "cloud/small-1",
        "attempts": 1,
        "status": 200,
        "error_code": None,
        "is_stream": True,
        "first_content_ms": 200,
        "total_ms": 1_500,
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "cache_write_tokens": 0,
        "completion_tokens": 20,
        "reasoning_tokens": 5,
        "is_estimated": True,
        "cost_microusd": 70,
        "reserved_microusd": 90,
        "budget_periods": None,
        "client_address": "192.0.2.1",
        "cache": "hit",
    } == row
    assert [("2026-11-21", "cloud/small-1", 1, 0, 10, 70)] == await days_of(database)


async def test_a_request_under_way_is_a_row_too(ledger: Ledger, database: Database) -> None:
    await ledger.reserve(reservation("req_1"))
    await ledger.flush()

    assert {"req_1": "reserved"} == await states_of(database)
    assert [] == await days_of(database)
    ledger.settle("req_1", settlement())
    await ledger.flush()
    assert {"req_1": "settled"} == await states_of(database)


async def test_the_first_settlement_counts(ledger: Ledger, database: Database) -> None:
    await ledger.reserve(reservation("req_1", estimate_microusd=90, budgets=(cap(100),)))

    assert ledger.settle("req_1", settlement(cost_microusd=70))
    assert not ledger.settle("req_1", settlement(cost_microusd=1))
    await ledger.flush()
    assert not ledger.settle("req_1", settlement(cost_microusd=1))
    await ledger.flush()

    assert {DAY: (70, 0)} == await budgets_of(database)
    assert 70 == (await rows_of(database))["req_1"]["cost_microusd"]


async def test_what_never_began_cannot_be_settled(ledger: Ledger, database: Database) -> None:
    assert not ledger.settle("req_1", settlement())
    await ledger.flush()
    assert {} == await rows_of(database)


async def test_an_id_is_for_one_request_at_a_time(ledger: Ledger) -> None:
    await ledger.reserve(reservation("req_1"))

    with pytest.raises(ValueError, match="under way"):
        await ledger.reserve(reservation("req_1"))


async def test_what_begins_without_budgets_waits_for_nothing(
    ledger: Ledger, database: Database
) -> None:
    ledger.begin(reservation("req_1"))
    with pytest.raises(ValueError, match="under way"):
        ledger.begin(reservation("req_1"))
    await ledger.flush()

    assert "reserved" == (await rows_of(database))["req_1"]["state"]


async def test_an_id_that_was_used_before_changes_nothing(
    ledger: Ledger, database: Database
) -> None:
    for cost in (70, 5):
        await ledger.reserve(reservation("req_1"))
        ledger.settle("req_1", settlement(cost_microusd=cost))
        await ledger.flush()

    with pytest.raises(IntegrityError):
        await ledger.reserve(reservation("req_1", budgets=(cap(100),)))
    await ledger.flush()

    assert [("2026-11-21", "cloud/small-1", 1, 0, 10, 70)] == await days_of(database)
    assert {} == await budgets_of(database)


async def test_a_reservation_stands_in_all_budgets_or_none(
    ledger: Ledger, database: Database
) -> None:
    wide, narrow = cap(1_000, "total"), cap(100, DAY)
    await ledger.reserve(reservation("req_1", estimate_microusd=60, budgets=(wide, narrow)))

    with pytest.raises(BudgetExceeded, match=DAY):
        await ledger.reserve(reservation("req_2", estimate_microusd=60, budgets=(wide, narrow)))

    assert {"total": (0, 60), DAY: (0, 60)} == await budgets_of(database)
    await ledger.flush()
    assert {"req_1": "reserved", "req_2": "settled"} == await states_of(database)
    refused = (await rows_of(database))["req_2"]
    assert (429, "insufficient_quota", 0) == (
        refused["status"], refused["error_code"], refused["cost_microusd"])  # fmt: skip


async def test_a_budget_can_be_spent_to_its_last_microdollar(
    ledger: Ledger, database: Database
) -> None:
    for number in range(2):
        request_id = f"req_{number}"
        await ledger.reserve(reservation(request_id, estimate_microusd=50, budgets=(cap(100),)))
        ledger.settle(request_id, settlement(cost_microusd=50))
        await ledger.flush()

    with pytest.raises(BudgetExceeded):
        await ledger.reserve(reservation("req_3", estimate_microusd=1, budgets=(cap(100),)))

    assert {DAY: (100, 0)} == await budgets_of(database)


async def test_an_estimate_over_the_whole_budget_is_refused(
    ledger: Ledger, database: Database
) -> None:
    with pytest.raises(BudgetExceeded):
        await ledger.reserve(reservation("req_1", estimate_microusd=101, budgets=(cap(100),)))

    assert {} == await budgets_of(database)


async def test_a_cost_over_the_estimate_counts_in_full(ledger: Ledger, database: Database) -> None:
    await ledger.reserve(reservation("req_1", estimate_microusd=100, budgets=(cap(100),)))
    ledger.settle("req_1", settlement(cost_microusd=150))
    await ledger.flush()

    assert {DAY: (150, 0)} == await budgets_of(database)
    with pytest.raises(BudgetExceeded):
        await ledger.reserve(reservation("req_2", budgets=(cap(100),)))


async def test_a_new_period_has_a_budget_of_its_own(ledger: Ledger, database: Database) -> None:
    for day in ("day:2026-11-21", "day:2026-11-22"):
        await ledger.reserve(reservation(day, estimate_microusd=100, budgets=(cap(100, day),)))

    assert {"day:2026-11-21": (0, 100), "day:2026-11-22": (0, 100)} == await budgets_of(database)


async def test_negative_usage_gives_nothing_back(ledger: Ledger, database: Database) -> None:
    await ledger.reserve(reservation("req_1", estimate_microusd=50, budgets=(cap(100),)))
    ledger.settle("req_1", settlement(cost_microusd=60))
    await ledger.flush()
    await ledger.reserve(reservation("req_2", estimate_microusd=10, budgets=(cap(100),)))
    usage = TokenCounts(prompt_tokens=-5, completion_tokens=-(10**12))
    ledger.settle("req_2", settlement(cost_microusd=-60, usage=usage, total_ms=-1))
    await ledger.reserve(reservation("req_3", estimate_microusd=-100))
    await ledger.flush()

    row = (await rows_of(database))["req_2"]
    assert {DAY: (60, 0)} == await budgets_of(database)
    assert [0, 0, 0] == [
        row[name] for name in ("prompt_tokens", "completion_tokens", "cost_microusd")]  # fmt: skip


async def test_numbers_that_no_reply_has_are_cut(ledger: Ledger, database: Database) -> None:
    usage = TokenCounts.of(Usage(prompt_tokens=10**30, completion_tokens=10**12))
    await ledger.reserve(reservation("req_1"))
    ledger.settle("req_1", settlement(usage=usage, cost_microusd=10**40, first_content_ms=10**20))
    await ledger.flush()

    row = (await rows_of(database))["req_1"]
    assert (MAX_COUNT, MAX_COUNT, MAX_MICROUSD, MAX_COUNT) == (
        row["prompt_tokens"], row["completion_tokens"], row["cost_microusd"],
        row["first_content_ms"])  # fmt: skip


async def test_text_that_no_database_takes_is_mended(ledger: Ledger, database: Database) -> None:
    model = "a\0b\ud800" + "x" * 5_000
    await ledger.reserve(reservation("req_1", model=model))
    ledger.settle("req_1", settlement(request_body="\0\udfff" + "y" * 5_000))
    await ledger.flush()

    assert "ab?" + "x" * 1_021 == (await rows_of(database))["req_1"]["model"]
    async with database.read() as connection:
        (said,) = await connection.scalars(select(request_bodies.c.request))
    assert "?" + "y" * 5_000 == said
    assert 0 == ledger.lost


async def test_what_was_said_is_kept_beside_the_row(ledger: Ledger, database: Database) -> None:
    await ledger.reserve(reservation("req_1"))
    ledger.settle("req_1", settlement(request_body="{}", reply_text="Hi", is_truncated=True))
    await ledger.reserve(reservation("req_2"))
    ledger.settle("req_2", settlement())
    await ledger.flush()

    async with database.read() as connection:
        found = [tuple(row) for row in await connection.execute(select(request_bodies))]
    assert [("req_1", "{}", "Hi", True, NOON_MS)] == found


async def test_what_a_process_left_is_abandoned_and_its_budgets_released(
    database: Database, tmp_path: Path
) -> None:
    dead = make_ledger(database, tmp_path)
    await dead.reserve(reservation("told", estimate_microusd=10, budgets=(cap(100),)))
    dead.settle("told", settlement(cost_microusd=7))
    await dead.reserve(reservation("budgeted", estimate_microusd=20, budgets=(cap(100),)))
    await dead.reserve(reservation("in the database"))
    await dead.flush()
    await dead.reserve(reservation("in the journal"))
    await dead.reserve(reservation("settled in the journal"))
    dead.settle("settled in the journal", settlement(cost_microusd=1, request_body="asked"))
    die(dead._journal)

    heir = make_ledger(database, tmp_path, now_ms=NOON_MS + 5)
    await heir.recover()
    await heir.recover()

    assert {
        "told": "settled",
        "budgeted": "abandoned",
        "in the database": "abandoned",
        "in the journal": "abandoned",
        "settled in the journal": "settled",
    } == await states_of(database)
    assert {DAY: (7, 0)} == await budgets_of(database)
    row = (await rows_of(database))["budgeted"]
    assert (None, "abandoned", NOON_MS + 5, 0) == (
        row["status"], row["error_code"], row["settled_ms"], row["cost_microusd"])  # fmt: skip
    assert [
        ("2026-11-21", "", 3, 3, 0, 0),
        ("2026-11-21", "cloud/small-1", 2, 0, 20, 8),
    ] == await days_of(database)
    async with database.read() as connection:
        assert 1 == await connection.scalar(select(func.count()).select_from(request_bodies))
    await heir.close()
    assert [] == segments(tmp_path)


async def test_the_living_are_not_abandoned(database: Database, tmp_path: Path) -> None:
    alive, other = make_ledger(database, tmp_path), make_ledger(database, tmp_path)
    await alive.reserve(reservation("req_1", budgets=(cap(100),)))
    await alive.flush()

    await other.recover()

    assert {"req_1": "reserved"} == await states_of(database)
    await other.close()
    await alive.close()
    assert {"req_1": "abandoned"} == await states_of(database)


async def test_rows_without_a_journal_are_abandoned_at_once_where_it_was_ours(
    database: Database, tmp_path: Path
) -> None:
    dead = make_ledger(database, tmp_path)
    await dead.reserve(reservation("req_1", estimate_microusd=9, budgets=(cap(100),)))
    die(dead._journal)
    for path in segments(tmp_path):
        path.unlink()

    heir = make_ledger(database, tmp_path)
    await heir.recover()

    assert {"req_1": "abandoned"} == await states_of(database)
    assert {DAY: (0, 0)} == await budgets_of(database)
    await heir.close()


@pytest.mark.parametrize(
    ("age_ms", "state"),
    [
        pytest.param(LEASE_MS, "reserved", id="within its lease"),
        pytest.param(LEASE_MS + 1, "abandoned", id="after its lease"),
    ],
)
async def test_rows_of_another_directory_are_abandoned_after_their_lease(
    database: Database, tmp_path: Path, age_ms: int, state: str
) -> None:
    elsewhere = make_ledger(database, tmp_path / "elsewhere")
    await elsewhere.reserve(reservation("req_1", estimate_microusd=9, budgets=(cap(100),)))

    here = make_ledger(database, tmp_path / "here", now_ms=NOON_MS + age_ms)
    await here.recover()

    assert {"req_1": state} == await states_of(database)
    elsewhere.settle("req_1", settlement(cost_microusd=5))
    await elsewhere.close()
    # It was alive after all: what it cost is not forgotten, and nothing is counted twice.
    assert {"req_1": "settled"} == await states_of(database)
    assert {DAY: (5, 0)} == await budgets_of(database)
    assert (1, 0) == (
        sum(line[2] for line in await days_of(database)),
        sum(line[3] for line in await days_of(database)),
    )
    await here.close()


async def test_a_close_abandons_what_is_under_way(database: Database, tmp_path: Path) -> None:
    ledger = make_ledger(database, tmp_path)
    await ledger.reserve(reservation("req_1", estimate_microusd=9, budgets=(cap(100),)))
    await ledger.close()
    await ledger.close()

    assert {"req_1": "abandoned"} == await states_of(database)
    assert {DAY: (0, 0)} == await budgets_of(database)
    assert [] == segments(tmp_path)
    assert not ledger.settle("req_1", settlement())
    with pytest.raises(StorageUnavailable):
        await ledger.reserve(reservation("req_2"))


async def test_a_running_ledger_writes_by_itself(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as ledger:
        for number in range(20):
            await ledger.reserve(reservation(f"req_{number}"))
            ledger.settle(f"req_{number}", settlement())
        await eventually(lambda: ledger.pending == 0)

        assert 20 == len(await rows_of(database))


async def test_what_budgets_are_owed_waits_less_than_other_records(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("one_api.storage.ledger.BATCH_WAIT_S", 60.0)
    async with running(database, tmp_path) as ledger:
        await ledger.reserve(reservation("req_1", estimate_microusd=90, budgets=(cap(100),)))
        ledger.settle("req_1", settlement(cost_microusd=5))
        await eventually(lambda: ledger.pending == 0)

        assert {DAY: (5, 0)} == await budgets_of(database)


async def test_a_journal_of_an_earlier_version_is_replayed(
    database: Database, tmp_path: Path
) -> None:
    """It said null where a name was missing, and quoted what no database takes."""
    dead = make_ledger(database, tmp_path)
    await dead.reserve(reservation("req_1"))
    reserved = dead._open["req_1"]
    nulls = {"client_address": None, "deployment": None, "model": "a\0b" + "x" * 5_000}
    dead._journal.append({**settled_record(reserved, settlement()), **nulls})
    die(dead._journal)

    await make_ledger(database, tmp_path).recover()

    row = (await rows_of(database))["req_1"]
    assert ("settled", "", "", "ab" + "x" * 1_022) == tuple(
        row[name] for name in ("state", "client_address", "deployment", "model")
    )


async def test_a_journal_of_a_later_version_is_replayed(database: Database, tmp_path: Path) -> None:
    """It says what there is no column for, and says nothing of one that there is."""
    dead = make_ledger(database, tmp_path)
    await dead.reserve(reservation("req_1"))
    record = settled_record(dead._open["req_1"], settlement(cost_microusd=5))
    del record["cache"]
    dead._journal.append({**record, "mood": "fine"})
    die(dead._journal)

    await make_ledger(database, tmp_path).recover()

    row = (await rows_of(database))["req_1"]
    assert ("settled", 5, None) == (row["state"], row["cost_microusd"], row["cache"])


async def test_many_records_are_few_transactions(
    breakable: BreakableDatabase, tmp_path: Path
) -> None:
    ledger = make_ledger(breakable, tmp_path)
    for number in range(1_000):
        await ledger.reserve(reservation(f"req_{number}"))
        ledger.settle(f"req_{number}", settlement())
    await ledger.flush()

    assert 4 == breakable.writes
    assert 1_000 == len(await rows_of(breakable))
    await ledger.close()


async def test_requests_without_budget_need_no_database(
    breakable: BreakableDatabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    breakable.is_down = True
    async with running(breakable, tmp_path) as ledger:
        for number in range(10):
            await ledger.reserve(reservation(f"req_{number}"))
            assert ledger.settle(f"req_{number}", settlement())
        await eventually(lambda: ledger.is_degraded)
        pending = ledger.pending
        breakable.is_down = False
        await eventually(lambda: ledger.pending == 0)
        is_degraded = ledger.is_degraded

    assert (20, False) == (pending, is_degraded)
    assert {"settled"} == set((await states_of(breakable)).values())
    assert [("2026-11-21", "cloud/small-1", 10, 0, 100, 700)] == await days_of(breakable)
    waiting = [line for line in caplog.messages if "wait for the database" in line]
    assert 1 == len(waiting)


async def test_budgets_fail_closed_without_a_database(
    breakable: BreakableDatabase, tmp_path: Path
) -> None:
    ledger = make_ledger(breakable, tmp_path)
    breakable.is_down = True

    with pytest.raises(StorageUnavailable):
        await ledger.reserve(reservation("req_1", estimate_microusd=9, budgets=(cap(100),)))

    breakable.is_down = False
    await ledger.flush()
    row = (await rows_of(breakable))["req_1"]
    assert (503, "storage_unavailable") == (row["status"], row["error_code"])
    assert {DAY: (0, 0)} == await budgets_of(breakable)
    await ledger.close()


async def test_an_outage_leaves_the_rest_to_the_next_start(
    breakable: BreakableDatabase, tmp_path: Path
) -> None:
    breakable.is_down = True
    async with running(breakable, tmp_path) as ledger:
        await ledger.reserve(reservation("req_1"))
        ledger.settle("req_1", settlement())
        await ledger.reserve(reservation("req_2"))
    left = len(segments(tmp_path))
    breakable.is_down = False
    async with running(breakable, tmp_path):
        states = await states_of(breakable)

    assert 1 == left
    assert {"req_1": "settled", "req_2": "abandoned"} == states
    assert [] == segments(tmp_path)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
async def test_a_cancelled_reservation_leaves_nothing_reserved(
    database: Database, tmp_path: Path, steps: int
) -> None:
    """Cancelled wherever it may be: before the transaction, in it, or after its commit."""
    ledger = make_ledger(database, tmp_path)
    reserving = asyncio.create_task(
        ledger.reserve(reservation("req_1", estimate_microusd=9, budgets=(cap(100),)))
    )
    for _ in range(steps):
        await asyncio.sleep(0)
    reserving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reserving
    is_open = ledger.settle("req_1", settlement())
    await ledger.close()

    assert not is_open
    assert {"req_1": 499} == {
        key: row["status"] for key, row in (await rows_of(database)).items()}  # fmt: skip
    assert {DAY: (0, 0)} == await budgets_of(database)


async def test_a_record_that_the_database_refuses_holds_up_no_other(
    ledger: Ledger, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(20):
        await ledger.reserve(reservation(f"req_{number}"))
        ledger.settle(f"req_{number}", settlement())
    # As a journal that another release wrote might hold it.
    ledger._journal.append({"state": "settled", "request_id": "bad", "created_ms": "yesterday"})
    await ledger.flush()

    states = await states_of(database)
    assert 20 == list(states.values()).count("settled")
    assert (0, 1) == (ledger.pending, ledger.lost)
    assert "request bad is given up" in caplog.text
    assert [("2026-11-21", "cloud/small-1", 20, 0, 200, 20 * 70)] == await days_of(database)


async def test_a_row_that_appears_meanwhile_is_settled_all_the_same(
    breakable: BreakableDatabase, tmp_path: Path
) -> None:
    """A reservation that ran out of time may be committed after all, even beside its settlement."""
    ledger = make_ledger(breakable, tmp_path)
    await ledger.reserve(reservation("req_1", estimate_microusd=9, budgets=(cap(100),)))
    ledger.settle("req_1", settlement(cost_microusd=5))
    other = make_ledger(breakable, tmp_path)
    taken = await ledger._journal.take(10)
    await asyncio.gather(*(ledger._write([pending.record for pending in taken]) for _ in range(4)))
    ledger._journal.done(taken)

    assert {DAY: (5, 0)} == await budgets_of(breakable)
    assert [("2026-11-21", "cloud/small-1", 1, 0, 10, 5)] == await days_of(breakable)
    await ledger.close()
    await other.close()


async def test_a_full_disk_does_not_concern_requests(database: Database, tmp_path: Path) -> None:
    ledger = Ledger(database, Journal(tmp_path / "journal"), clock_ms=lambda: NOON_MS)
    # The database has the disk to itself here: only the journal's file may not grow.
    with full_disk():
        for number in range(60):
            await ledger.reserve(reservation(f"req_{number}"))
            assert ledger.settle(f"req_{number}", settlement(reply_text="x" * 100))
        assert ledger.is_degraded
    await ledger.flush()

    assert 60 == list((await states_of(database)).values()).count("settled")
    assert [60 * 70] == [line[5] for line in await days_of(database)]
    # What was said is what is given up.
    assert 0 < ledger.lost < 60
    await ledger.close()


async def test_memory_is_bounded_while_the_database_is_down(
    breakable: BreakableDatabase, tmp_path: Path
) -> None:
    limits = JournalLimits(memory_records=50, segment_bytes=20_000)
    ledger = Ledger(breakable, Journal(tmp_path, limits=limits), clock_ms=lambda: NOON_MS)
    breakable.is_down = True
    for number in range(300):
        await ledger.reserve(reservation(f"req_{number}"))
        ledger.settle(f"req_{number}", settlement())
        if number % 100 == 99:
            with pytest.raises(StorageUnavailable):
                await ledger.flush()
    held = len(ledger._journal._head) + len(ledger._batch)
    breakable.is_down = False
    await ledger.flush()

    assert held <= 100
    assert 300 == list((await states_of(breakable)).values()).count("settled")
    await ledger.close()
    assert [] == segments(tmp_path)


async def is_admitted(ledger: Ledger, name: str) -> bool:
    """Whether a request gets 60 of a budget of 100 micro-dollars.

    Many at once may wait longer for their turn, on a busy machine, than is given to a database
    that is away: those are told so, and ask again.
    """
    async with asyncio.timeout(60):
        for attempt in itertools.count():
            asked = reservation(f"{name}_{attempt}", estimate_microusd=60, budgets=(cap(100),))
            try:
                await ledger.reserve(asked)
            except BudgetExceeded:
                return False
            except StorageUnavailable:
                with contextlib.suppress(StorageUnavailable):
                    await ledger.flush()  # gives back what was promised to it, if anything was
            else:
                return True
    raise AssertionError("unreachable")


async def test_of_200_requests_at_once_a_budget_for_one_admits_one(
    database_url: str, tmp_path: Path
) -> None:
    database = await Database.open(database_url, pool_size=20)
    ledger = Ledger(database, Journal(tmp_path / "journal"), admission_timeout_s=30.0)

    admitted = await asyncio.gather(*(is_admitted(ledger, f"req_{n}") for n in range(200)))

    assert 1 == sum(admitted)
    assert {DAY: (0, 60)} == await budgets_of(database)
    await ledger.close()
    await database.close()


def race(url: str, directory: str, process: int, results: Any) -> None:
    """Ask for 50 reservations at once; tell which were admitted."""

    async def run() -> None:
        database = await Database.open(url)
        ledger = Ledger(database, Journal(Path(directory)), admission_timeout_s=30.0)
        asked = (is_admitted(ledger, f"req_{process}_{number}") for number in range(50))
        admitted = await asyncio.gather(*asked)
        await asyncio.to_thread(results.put, admitted)
        # Reserved until all have asked: a close would give it back.
        die(ledger._journal)
        await database.close()

    logging.disable(logging.WARNING)
    asyncio.run(run())


@pytest.mark.slow
async def test_of_four_processes_a_budget_for_one_admits_one(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    spawning = multiprocessing.get_context("spawn")
    results = spawning.Queue()
    processes = [
        spawning.Process(target=race, args=(database_url, str(tmp_path / "j"), number, results))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    admitted: list[bool] = []
    for _ in processes:
        admitted += await asyncio.to_thread(results.get, timeout=120)
    for process in processes:
        await asyncio.to_thread(process.join)

    assert 200 == len(admitted)
    assert 1 == sum(admitted)
    assert {DAY: (0, 60)} == await budgets_of(database)


@pytest.mark.slow
async def test_a_locked_database_file_holds_up_no_request(
    upgraded_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "locked.db"
    shutil.copy(upgraded_file, path)
    database = await Database.open(str(path))
    async with running(database, tmp_path / "journal") as ledger:
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        slowest_s = 0.0
        for number in range(1_000):
            before_s = time.perf_counter()
            await ledger.reserve(reservation(f"req_{number}"))
            ledger.settle(f"req_{number}", settlement())
            slowest_s = max(slowest_s, time.perf_counter() - before_s)
            await asyncio.sleep(0.0005)
        with pytest.raises(StorageUnavailable):
            await ledger.reserve(reservation("req_b", budgets=(cap(100),)))
        lock.execute("ROLLBACK")
        lock.close()
        await eventually(lambda: ledger.pending == 0)
        states = await states_of(database)
    await database.close()

    assert slowest_s < 0.25
    assert 1_001 == list(states.values()).count("settled")


@pytest.mark.slow
@pytest.mark.postgres
async def test_a_server_that_stops_costs_no_row(
    postgres: PostgresServer, upgraded_name: str, tmp_path: Path
) -> None:
    url = postgres.url(postgres.create_database(upgraded_name))
    database = await Database.open(url)
    async with running(database, tmp_path) as ledger:
        await asyncio.to_thread(postgres.stop)
        try:
            for number in range(100):
                await ledger.reserve(reservation(f"req_{number}"))
                ledger.settle(f"req_{number}", settlement())
            with pytest.raises(StorageUnavailable):
                await ledger.reserve(reservation("req_b", budgets=(cap(100),)))
            await eventually(lambda: ledger.is_degraded)
        finally:
            # Not in a thread: the server ends with the thread that started it.
            postgres.start()
        await eventually(lambda: ledger.pending == 0)
        states = await states_of(database)
    await database.close()

    assert 101 == list(states.values()).count("settled")


async def test_rows_of_others_are_not_touched(ledger: Ledger, database: Database) -> None:
    """A row that somebody mended by hand stays mended."""
    await ledger.reserve(reservation("req_1"))
    ledger.settle("req_1", settlement())
    await ledger.flush()

    async def mend(connection: AsyncConnection) -> None:
        await connection.execute(update(requests).values(cost_microusd=1))

    await database.write(mend)
    await ledger.recover()
    await ledger.flush()

    assert 1 == (await rows_of(database))["req_1"]["cost_microusd"]


@pytest.mark.slow
def test_a_ledger_needs_no_server_to_be_imported() -> None:
    program = "import sys, one_api.storage.ledger; assert 'asyncpg' not in sys.modules"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode
