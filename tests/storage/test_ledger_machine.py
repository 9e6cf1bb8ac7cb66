"""Whatever happens in whatever order, the ledger agrees with a model that fits on one page."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from one_api.errors import BudgetExceeded, StorageUnavailable
from one_api.storage.database import Database
from one_api.storage.entries import BudgetCap, Reservation, Settlement
from one_api.storage.journal import Journal, JournalLimits
from one_api.storage.ledger import Ledger
from one_api.storage.tables import budgets, requests, usage_days
from tests.storage.test_journal import die

DAY, TOTAL = "day:2026-11-21", "total"
CAP = 100
#: Segments of three records, and two records in memory: everything beyond is in files.
LIMITS = JournalLimits(segment_bytes=1_000, memory_records=2)

MONEY = st.integers(0, 60)
PERIODS = st.sampled_from([(), (DAY,), (TOTAL,), (DAY, TOTAL)])


class BreakableDatabase(Database):
    """A database that can be made not to answer, before or after it did what was asked."""

    is_down = False
    forgets_to_answer = False

    @override
    async def write(
        self, work: Callable[[AsyncConnection], Awaitable[Any]], *, timeout_s: float = 2.0
    ) -> Any:
        if self.is_down:
            raise StorageUnavailable("The database does not answer.")
        result = await super().write(work, timeout_s=timeout_s)
        if self.forgets_to_answer:
            raise StorageUnavailable("The database did not answer in time.")
        return result


@dataclass
class Modelled:
    """What a request is expected to be. `is_written` once the database has to know its end."""

    periods: tuple[str, ...]
    estimate: int
    state: str = "open"
    cost: int = 0
    is_written: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """Reservations, settlements, outages, crashes and ends, in any order."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="one-api-ledger-"))
        shutil.copy(self.template, self.directory / "one_api.db")
        self.model: dict[str, Modelled] = {}

    @initialize()
    def open(self) -> None:
        self.database = self.runner.run(BreakableDatabase.open(str(self.directory / "one_api.db")))
        self.begin()

    @override
    def teardown(self) -> None:
        self.restore()
        self.runner.run(self.ledger.close())
        self.runner.run(self.database.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def begin(self) -> None:
        async def make() -> Ledger:
            journal = Journal(self.directory / "journal", limits=LIMITS)
            ledger = Ledger(self.database, journal, clock_ms=lambda: 1_000)
            await ledger.recover()
            return ledger

        self.ledger = self.runner.run(make())

    def left(self, period: str) -> int:
        """What is neither spent nor reserved, as the database has to know."""
        return CAP - sum(
            request.cost if request.is_written else request.estimate
            for request in self.model.values()
            if period in request.periods
        )

    def write_all(self) -> None:
        for request in self.model.values():
            request.is_written = request.state != "open"

    def abandon(self) -> None:
        for request in self.model.values():
            if request.state == "open":
                request.state = "abandoned"

    @rule(estimate=MONEY, periods=PERIODS)
    def reserve(self, estimate: int, periods: tuple[str, ...]) -> None:
        request_id = f"req_{len(self.model)}"
        request = Modelled(periods, estimate)
        caps = tuple(BudgetCap(period, CAP) for period in periods)
        reserving = self.ledger.reserve(
            Reservation(
                request_id=request_id, key_id="key_1", created_ms=0, endpoint="/", model="small",
                estimate_microusd=estimate, budgets=caps,
            )
        )  # fmt: skip
        if periods and self.database.is_down:
            request.state, request.estimate = "settled", 0
            with pytest.raises(StorageUnavailable):
                self.runner.run(reserving)
        elif any(estimate > self.left(period) for period in periods):
            request.state, request.estimate = "settled", 0
            with pytest.raises(BudgetExceeded):
                self.runner.run(reserving)
        elif periods and self.database.forgets_to_answer:
            # It is reserved until the settlement is written, though nobody was told so.
            request.state = "settled"
            with pytest.raises(StorageUnavailable):
                self.runner.run(reserving)
        else:
            self.runner.run(reserving)
        self.model[request_id] = request

    @precondition(lambda self: self.model)
    @rule(data=st.data(), cost=st.integers(-20, 80))
    def settle(self, data: st.DataObject, cost: int) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.model)))
        request = self.model[request_id]

        is_first = self.ledger.settle(
            request_id,
            Settlement(status=200, total_ms=1, cost_microusd=cost, reply_text="said"),
        )

        assert (request.state == "open") == is_first
        if is_first:
            request.state, request.cost = "settled", max(cost, 0)

    @rule()
    def flush(self) -> None:
        if self.ledger.pending and (self.database.is_down or self.database.forgets_to_answer):
            with pytest.raises(StorageUnavailable):
                self.runner.run(self.ledger.flush())
            assert self.ledger.is_degraded
            if self.database.is_down:
                return
            # The first batch was written and will be again; how much that was is not modelled.
            self.restore()
        self.runner.run(self.ledger.flush())
        self.write_all()

    @rule()
    def break_down(self) -> None:
        self.database.is_down = True

    @rule()
    def fall_silent(self) -> None:
        self.database.forgets_to_answer = True

    @rule()
    def restore(self) -> None:
        self.database.is_down = self.database.forgets_to_answer = False

    @rule()
    def tidy(self) -> None:
        self.runner.run(self.ledger._journal.tidy())

    @rule()
    def crash(self) -> None:
        die(self.ledger._journal)
        self.restore()
        self.abandon()
        self.begin()
        self.write_all()

    @rule()
    def restart(self) -> None:
        """A close during an outage leaves to the next start what it could not write."""
        self.runner.run(self.ledger.close())
        self.restore()
        self.abandon()
        self.begin()
        self.write_all()

    @invariant()
    def database_agrees(self) -> None:
        if not hasattr(self, "ledger"):
            return
        rows, stood, days = self.runner.run(self.read())
        expected: Counter[str] = Counter()
        reserved: Counter[str] = Counter()
        for request_id, request in self.model.items():
            state = rows.get(request_id, "reserved")
            if request.is_written:
                assert request.state == state
            for period in request.periods:
                if request.is_written:
                    expected[period] += request.cost
                else:
                    reserved[period] += request.estimate
        for period, (spent, promised) in stood.items():
            assert (expected[period], reserved[period]) == (spent, promised)
        ended = [request for request in self.model.values() if request.is_written]
        assert (len(ended), sum(request.cost for request in ended)) == days

    async def read(self) -> tuple[dict[str, str], dict[str, tuple[int, int]], tuple[int, int]]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(requests.c.request_id, requests.c.state))
            stood = await connection.execute(select(budgets))
            days = list(await connection.execute(select(usage_days)))
        return (
            {row.request_id: row.state for row in rows},
            {row.period: (row.spent_microusd, row.reserved_microusd) for row in stood},
            (sum(day.requests for day in days), sum(day.cost_microusd for day in days)),
        )


@pytest.mark.slow
def test_ledger_agrees_with_its_model(upgraded_file: Path) -> None:
    LedgerMachine.template = upgraded_file
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
