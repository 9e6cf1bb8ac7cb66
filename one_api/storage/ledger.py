"""What every request may cost, and did: promised before the upstream is called, settled once.

Budgets are taken from the database before a request goes on. All else goes to the journal first,
which no database can hold up, and from there to the database in batches. Whatever is killed when,
each request ends as one row: a record changes something only where it says more than the row that
is there, and reserved is less than abandoned, which is less than settled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from one_api.errors import GatewayError, StorageUnavailable
from one_api.schemas import JsonObject
from one_api.storage.database import Database
from one_api.storage.engines import AsyncConnection
from one_api.storage.entries import (
    Reservation,
    Settlement,
    abandoned_record,
    bodies_record,
    follows,
    latest_of_each,
    reserved_record,
    row_of,
    settled_record,
)
from one_api.storage.journal import Journal, Orphan, Pending
from one_api.storage.request_log import lock_rows, store_bodies, store_rows
from one_api.storage.tables import requests
from one_api.storage.usage import add_usage, move_budgets, promise_cost

logger = logging.getLogger(__name__)

BATCH_RECORDS = 500
#: How long records wait for others; a transaction costs as much as 50 rows. Most requests end while
#: they wait, and are one row written once.
BATCH_WAIT_S = 0.5
#: How long those wait that give back what was promised to budgets: the next request needs it.
BUDGET_WAIT_S = 0.1
#: How long a batch waits for its transaction.
BATCH_TIMEOUT_S = 5.0
#: How long `Ledger.close` tries to bring everything into the database.
CLOSE_TIMEOUT_S = 5.0
#: A reservation made under another directory counts as abandoned after so long. Should its request
#: end after all, it is settled all the same.
LEASE_MS = 3_600_000

_TIDY_S = 1.0
_REPLAY_S = 60.0
_REPLAY_RETRY_S = 5.0
_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CLIENT_GONE = 499


class Ledger:
    """One row for each request, and the budgets and daily sums that follow from them.

    To be used on the event loop's thread only. `journal` is closed along with the ledger;
    `database` is not. `clock_ms` tells the time since 1970, in milliseconds. A reservation waits
    `admission_timeout_s` for its budgets.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        admission_timeout_s: float = 2.0,
    ) -> None:
        self._database = database
        self._admission_timeout_s = admission_timeout_s
        self._journal = journal
        self._clock_ms = clock_ms
        self._open: dict[str, JsonObject] = {}
        self._batch: list[Pending] = []
        self._posting = asyncio.Lock()
        self._has_work = asyncio.Event()
        self._has_batch = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hurry: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_behind = False
        self._is_closed = False
        self._refused = 0

    @property
    def is_degraded(self) -> bool:
        """Whether the journal cannot be written, or the database did not take the last batch."""
        return self._is_behind or self._journal.is_degraded

    @property
    def pending(self) -> int:
        """How many records the database does not have yet."""
        return self._journal.pending

    @property
    def lost(self) -> int:
        """How many records will never be in the database."""
        return self._journal.lost + self._refused

    async def start(self) -> None:
        """Settle what dead processes left behind, and write in the background from now on.

        A database that does not answer is asked again later.
        """
        wait_s = await self._try_recover()
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._keep_posting()),
            asyncio.create_task(self._keep_tidy(wait_s)),
        ]

    async def close(self) -> None:
        """Abandon what is not settled, and write everything; what cannot be is left to a start."""
        if self._is_closed:
            return
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for record in self._open.values():
            self._append(abandoned_record(record, self._clock_ms()))
        self._open.clear()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.flush()
        except (StorageUnavailable, TimeoutError, OSError):
            logger.warning("%d records of requests wait for the next start", self.pending)
        finally:
            self._journal.close()

    async def reserve(self, reservation: Reservation) -> None:
        """Write down that a request begins, and promise its estimated cost to all its budgets.

        A request that is refused, or cancelled here, is settled thereby.
        Raises: BudgetExceeded; StorageUnavailable when there are budgets and the database cannot
        be asked in time, or after `close`; ValueError for an id that is in use.
        """
        if not reservation.budgets:
            self.begin(reservation)
            return
        record = self._opened(reservation)
        try:
            # The row itself is the promise, so the journal need not have it too.
            work = partial(_admit, record=record, caps=dict(reservation.budgets))
            await self._database.write(work, timeout_s=self._admission_timeout_s)
        except BaseException as error:
            # Whether the row is there is not known when time ran out.
            self.settle(reservation.request_id, self._refusal(reservation, error))
            raise

    def begin(self, reservation: Reservation) -> None:
        """Write down that a request without budgets begins; never waits.

        Raises: StorageUnavailable after `close`; ValueError for an id that is in use.
        """
        self._append(self._opened(reservation))

    def _opened(self, reservation: Reservation) -> JsonObject:
        if self._is_closed:
            raise StorageUnavailable("The ledger is closed.")
        request_id = reservation.request_id
        if request_id in self._open:
            raise ValueError("a request of this id is under way")
        record = self._open[request_id] = reserved_record(reservation, self._journal.name)
        return record

    def settle(self, request_id: str, settlement: Settlement) -> bool:
        """Write down how a request ended; False when that is known already, or it never began.

        Takes microseconds, never waits and never raises.
        """
        reserved = self._open.pop(request_id, None)
        if reserved is None:
            return False
        self._append(settled_record(reserved, settlement))
        if reserved["budget_periods"] and self._hurry is None and self._loop is not None:
            self._hurry = self._loop.call_later(BUDGET_WAIT_S, self._has_batch.set)
        bodies = bodies_record(reserved, settlement)
        if bodies is not None:
            self._append(bodies, is_expendable=True)
        return True

    async def flush(self) -> None:
        """Bring all that is pending into the database.

        Raises: StorageUnavailable; OSError when the journal cannot be read.
        """
        while await self._write_batch():
            pass

    async def recover(self) -> None:
        """Settle or abandon what dead processes left, in this directory and in the database.

        Raises: StorageUnavailable; OSError when the directory cannot be read.
        """
        while orphan := self._journal.seize_orphan():
            try:
                await self._replay(orphan)
            except BaseException:
                orphan.release()
                raise
            orphan.discard()
        query = select(requests.c.owner).where(requests.c.state == "reserved").distinct()
        async with self._database.read() as connection:
            owners = set(await connection.scalars(query))
        # Read after the rows: an owner that is gone by now has settled them, or was replayed above.
        for owner in sorted(owners - self._journal.owners()):
            is_ours = owner.startswith(self._journal.directory_id)
            await self._abandon(owner, None if is_ours else self._clock_ms() - LEASE_MS)

    def _append(self, record: JsonObject, *, is_expendable: bool = False) -> None:
        journal = self._journal
        journal.append(record, is_expendable=is_expendable)
        self._has_work.set()
        if journal.pending >= BATCH_RECORDS:
            self._has_batch.set()

    def _refusal(self, reservation: Reservation, error: BaseException) -> Settlement:
        status, code = 500, "internal_error"
        if isinstance(error, GatewayError):
            status, code = error.status, error.code or code
        elif isinstance(error, asyncio.CancelledError):
            status, code = _CLIENT_GONE, "client_disconnected"
        elapsed_ms = self._clock_ms() - reservation.created_ms
        return Settlement(status=status, error_code=code, total_ms=elapsed_ms)

    async def _write_batch(self) -> bool:
        """Bring the next records into the database; False when there are none."""
        async with self._posting:
            # One that failed, or was cancelled, is still there.
            self._batch = self._batch or await self._journal.take(BATCH_RECORDS)
            try:
                await self._write([pending.record for pending in self._batch])
            except StorageUnavailable:
                self._is_behind = True
                raise
            written, self._batch = self._batch, []
            self._is_behind = False
            self._journal.done(written)
            return bool(written)

    async def _keep_posting(self) -> None:
        failures = 0
        while True:
            await self._has_work.wait()
            await self._wait_for_batch()
            self._has_work.clear()
            self._has_batch.clear()
            if self._hurry is not None:
                self._hurry.cancel()
                self._hurry = None
            try:
                await self._write_batch()
                failures = 0
                if self._journal.pending:
                    self._has_work.set()
            except (StorageUnavailable, OSError) as error:
                if not failures:
                    logger.warning("records of requests wait for the database: %s", error)
                self._has_work.set()
                await asyncio.sleep(min(_SHORTEST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S))
                failures = min(failures + 1, 10)

    async def _wait_for_batch(self) -> None:
        if self._journal.pending >= BATCH_RECORDS:
            return  # More came than the last batch could take.
        try:
            async with asyncio.timeout(BATCH_WAIT_S):
                await self._has_batch.wait()
        except TimeoutError:
            return

    async def _keep_tidy(self, wait_s: float) -> None:
        due_s = time.monotonic() + wait_s
        while True:
            await asyncio.sleep(_TIDY_S)
            try:
                await self._journal.tidy()
            except OSError as error:
                logger.warning("the journal cannot be tidied: %s", error)
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + await self._try_recover()

    async def _try_recover(self) -> float:
        """Recover if the database answers; how many seconds to wait until the next time."""
        try:
            await self.recover()
        except (StorageUnavailable, OSError) as error:
            logger.warning("what dead processes left is not settled yet: %s", error)
            return _REPLAY_RETRY_S
        return _REPLAY_S

    async def _replay(self, orphan: Orphan) -> None:
        records = orphan.records()
        unsettled: dict[str, JsonObject] = {}
        while batch := await asyncio.to_thread(_next_of, records):
            for record in batch:
                if record["state"] == "reserved":
                    unsettled[record["request_id"]] = record
                else:
                    unsettled.pop(record["request_id"], None)
            await self._write([record for record in batch if record["state"] != "reserved"])
        now_ms = self._clock_ms()
        abandoned = (abandoned_record(record, now_ms) for record in unsettled.values())
        while batch := _next_of(abandoned):
            await self._write(batch)

    async def _abandon(self, owner: str, before_ms: int | None) -> None:
        """Abandon what `owner` reserved and nobody settled, all of it or what is older."""
        columns = requests.c
        query = select(requests).where(columns.state == "reserved", columns.owner == owner)
        if before_ms is not None:
            query = query.where(columns.created_ms < before_ms)
        query = query.order_by(columns.request_id).limit(BATCH_RECORDS)
        last = ""
        while True:
            async with self._database.read() as connection:
                found = await connection.execute(query.where(columns.request_id > last))
                rows = [dict(row) for row in found.mappings()]
            if not rows:
                return
            last = rows[-1]["request_id"]
            await self._write([abandoned_record(row, self._clock_ms()) for row in rows])

    async def _write(self, records: Sequence[JsonObject], *, is_again: bool = False) -> None:
        """Bring `records` into the database. One that it will never take holds up no other."""
        if not records:
            return
        try:
            await self._database.write(partial(_post, records=records), timeout_s=BATCH_TIMEOUT_S)
        except StorageUnavailable:
            raise
        except Exception as error:
            # Whatever it is, it blames what was written: halves find the record that it is.
            if len(records) > 1:
                middle = len(records) // 2
                await self._write(records[:middle])
                await self._write(records[middle:])
            elif isinstance(error, IntegrityError) and not is_again:
                # Another transaction made the row after this one had looked for it.
                await self._write(records, is_again=True)
            else:
                self._refused += 1
                logger.exception("the record of request %s is given up", records[0]["request_id"])


async def _admit(
    connection: AsyncConnection, *, record: JsonObject, caps: Mapping[str, int]
) -> None:
    """Write the row, and take its estimate from all of its budgets. Raises: BudgetExceeded."""
    row = row_of(record)
    await store_rows(connection, {row["request_id"]: row}, known=())
    await promise_cost(connection, row, caps)


async def _post(connection: AsyncConnection, *, records: Sequence[JsonObject]) -> None:
    """Bring `records` into all tables; those that say nothing new change nothing."""
    latest = latest_of_each(records)
    known = await lock_rows(connection, latest)
    news = {
        key: row_of(latest[key]) for key in sorted(latest) if follows(latest[key], known.get(key))
    }
    await store_rows(connection, news, known)
    ended = [(news[key], known.get(key)) for key in news if news[key]["state"] != "reserved"]
    await move_budgets(connection, ended)
    await add_usage(connection, ended)
    await store_bodies(connection, records)


def _next_of(records: Iterator[JsonObject]) -> list[JsonObject]:
    return list(islice(records, BATCH_RECORDS))
