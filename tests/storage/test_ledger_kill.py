"""A gateway killed thirty times under load has forgotten no request, and counted none twice."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import select
from typing_extensions import override

from one_api.storage.database import Database
from one_api.storage.entries import BudgetCap, Reservation, Settlement, TokenCounts
from one_api.storage.journal import Journal, JournalLimits
from one_api.storage.ledger import Ledger
from one_api.storage.tables import budgets, requests, usage_days

KILLS = 30
CALLERS = 8
PERIODS = ("day:2026-11-21", "month:2026-11", "total")
SUMS = ("prompt_tokens", "completion_tokens", "cost_microusd")
#: Small enough that segments end, and records leave the memory, while the load lasts.
LIMITS = JournalLimits(segment_bytes=100_000, memory_records=200)


def work(url: str, directory: str, generation: int, told: Connection) -> None:
    """Serve made-up requests until killed; tell which began (b) and which ended (e), when sure."""
    logging.disable(logging.CRITICAL)

    async def call(ledger: Ledger, caller: int) -> None:
        number = 0
        while True:
            number += 1
            request_id = f"req_{generation}_{caller}_{number}"
            caps = tuple(BudgetCap(period, 10**12) for period in PERIODS) if caller % 4 == 0 else ()
            await ledger.reserve(
                Reservation(
                    request_id=request_id,
                    key_id=f"key_{caller % 2}",
                    created_ms=time.time_ns() // 1_000_000,
                    endpoint="/v1/chat/completions",
                    model="small",
                    estimate_microusd=1_000,
                    budgets=caps,
                )
            )
            os.write(told.fileno(), f"b {request_id}\n".encode())
            await asyncio.sleep(0.002)
            ledger.settle(
                request_id,
                Settlement(
                    status=200 if number % 5 else 502,
                    total_ms=2,
                    deployment=f"cloud/{caller}",
                    usage=TokenCounts(prompt_tokens=number, completion_tokens=caller),
                    cost_microusd=number,
                    reply_text="said" if number % 3 else None,
                ),
            )
            os.write(told.fileno(), f"e {request_id}\n".encode())

    async def serve() -> None:
        database = await Database.open(url)
        ledger = Ledger(database, Journal(Path(directory), limits=LIMITS))
        await ledger.start()
        async with asyncio.TaskGroup() as callers:
            for caller in range(CALLERS):
                callers.create_task(call(ledger, caller))

    asyncio.run(serve())


class Listener(threading.Thread):
    """Keeps what a child told before it was killed."""

    def __init__(self, told: Connection) -> None:
        super().__init__(daemon=True)
        self._told = told
        self.began: set[str] = set()
        self.ended: set[str] = set()
        self.has_heard = threading.Event()

    @override
    def run(self) -> None:
        with os.fdopen(os.dup(self._told.fileno()), "rb") as lines:
            for line in lines:
                kind, _, request_id = line.decode().strip().partition(" ")
                (self.began if kind == "b" else self.ended).add(request_id)
                self.has_heard.set()


def run_and_kill(
    spawning: multiprocessing.context.ForkServerContext,
    url: str,
    directory: str,
    generation: int,
) -> Listener:
    """One life of a gateway. Some are killed as they start, others 0 to 200 ms into the load."""
    hear, tell = spawning.Pipe(duplex=False)
    process = spawning.Process(target=work, args=(url, directory, generation, tell))
    process.start()
    tell.close()
    listener = Listener(hear)
    listener.start()
    if generation % 6 != 5:
        assert listener.has_heard.wait(20)
    time.sleep(generation * 37 % 200 / 1_000)
    process.kill()
    process.join()
    listener.join()
    hear.close()
    return listener


async def recover(url: str, directory: Path) -> None:
    database = await Database.open(url)
    ledger = Ledger(database, Journal(directory))
    await ledger.start()
    await ledger.close()
    await database.close()


async def check(url: str, began: set[str], ended: set[str]) -> None:
    database = await Database.open(url)
    async with database.read() as connection:
        found = (await connection.execute(select(requests))).mappings()
        rows = {row["request_id"]: dict(row) for row in found}
        stood = {(row.key_id, row.period): (row.spent_microusd, row.reserved_microusd)
                 for row in await connection.execute(select(budgets))}  # fmt: skip
        days = [dict(row) for row in (await connection.execute(select(usage_days))).mappings()]
    await database.close()

    settled = {key for key, row in rows.items() if row["state"] == "settled"}
    assert set() == ended - settled
    assert set() == began - rows.keys()
    assert {"settled", "abandoned"} == {row["state"] for row in rows.values()}
    assert all(row["cost_microusd"] == int(key.split("_")[3])
               for key, row in rows.items() if key in settled)  # fmt: skip

    spent: Counter[tuple[str, str]] = Counter()
    for row in rows.values():
        for period in (row["budget_periods"] or "").split(",") if row["budget_periods"] else ():
            spent[row["key_id"], period] += row["cost_microusd"]
    assert {key: (cost, 0) for key, cost in spent.items()} == stood

    expected = Counter({name: sum(row[name] for row in rows.values()) for name in SUMS})
    expected["requests"] = len(rows)
    expected["errors"] = sum(row["status"] != 200 for row in rows.values())
    assert expected == Counter({name: sum(day[name] for day in days) for name in expected})


@pytest.mark.slow
def test_a_gateway_killed_thirty_times_loses_and_repeats_nothing(
    upgraded_file: Path, tmp_path: Path
) -> None:
    database = tmp_path / "one_api.db"
    database.write_bytes(upgraded_file.read_bytes())
    journal = tmp_path / "journal"
    spawning = multiprocessing.get_context("forkserver")
    spawning.set_forkserver_preload(["tests.storage.test_ledger_kill"])
    began: set[str] = set()
    ended: set[str] = set()
    for generation in range(KILLS):
        listener = run_and_kill(spawning, str(database), str(journal), generation)
        began |= listener.began
        ended |= listener.ended

    asyncio.run(recover(str(database), journal))

    asyncio.run(check(str(database), began, ended))
    assert [] == list(journal.glob("journal-*.jsonl"))
    # Enough went on for a kill to hit anything at all.
    assert len(ended) > 1_000
    assert len(began - ended) > KILLS / 2
