"""The rows of requests: written as the ledger says, read page by page, purged in the end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    LargeBinary,
    Select,
    Text,
    Tuple,
    any_,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from one_api.schemas import JsonObject
from one_api.storage.database import Database
from one_api.storage.engines import AsyncConnection
from one_api.storage.entries import BODIES, bodies_row_of
from one_api.storage.statements import Prepared, insert_into
from one_api.storage.tables import request_bodies, requests
from one_api.storage.usage import SUMMED

MAX_PAGE_ROWS = 200

State: TypeAlias = Literal["reserved", "settled", "abandoned"]

_MS_PER_DAY = 86_400_000
#: What is not known when a request begins.
_CHANGING = (
    "state",
    "settled_ms",
    "deployment",
    "attempts",
    "status",
    "error_code",
    "is_stream",
    "first_content_ms",
    "total_ms",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "is_estimated",
    "cost_microusd",
    "cache",
)
_PURGE_TIMEOUT_S = 5.0


class Cursor(NamedTuple):
    """A place in the log: that of the request which began then, and has this id."""

    created_ms: int
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFilter:
    """Which requests to list; what is None does not matter. `since_ms` is included."""

    key_id: str | None = None
    model: str | None = None
    status: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One request as far as it is known; `reserved` ones are under way.

    `status` is None as long as, and where, nobody was answered. What has no name has "".
    """

    request_id: str
    state: State
    key_id: str
    created_ms: int
    settled_ms: int | None
    endpoint: str
    model: str
    deployment: str
    attempts: int
    status: int | None
    error_code: str | None
    is_stream: bool
    first_content_ms: int | None
    total_ms: int | None
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    is_estimated: bool
    cost_microusd: int
    client_address: str
    cache: str | None

    @property
    def cursor(self) -> Cursor:
        """Where it stands in the log."""
        return Cursor(self.created_ms, self.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """What was asked and answered, as far as it was kept; `is_truncated` when not all of it was."""

    request: str | None
    reply: str | None
    is_truncated: bool


class RequestLog:
    """The log of requests. `clock_ms` tells the time since 1970, in milliseconds.

    All methods raise StorageUnavailable.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._database = database
        self._clock_ms = clock_ms

    async def list(
        self,
        wanted: RequestFilter | None = None,
        *,
        before: Cursor | None = None,
        limit: int = MAX_PAGE_ROWS,
    ) -> tuple[LoggedRequest, ...]:
        """A page of requests, latest first, that began before the one at `before`.

        The next page is before the `cursor` of the last one; requests that begin meanwhile do not
        shift it. `limit` is at most 200.
        """
        query = _matching(wanted or RequestFilter())
        if before is not None:
            query = query.where(_place_of(before) > _PLACE)
        query = query.order_by(requests.c.created_ms.desc(), requests.c.request_id.desc())
        return await self._fetch(query, min(max(limit, 0), MAX_PAGE_ROWS))

    async def get(self, request_id: str) -> tuple[LoggedRequest, Bodies | None] | None:
        """A request and what was said, if that was kept; None when there is no such request."""
        query = _matching(RequestFilter()).where(requests.c.request_id == request_id)
        said = select(*(request_bodies.c[name] for name in _BODY_COLUMNS)).where(
            request_bodies.c.request_id == request_id
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
            if row is None:
                return None
            bodies = (await connection.execute(said)).mappings().one_or_none()
        return LoggedRequest(**row), None if bodies is None else Bodies(**bodies)

    async def export(
        self, wanted: RequestFilter | None = None, *, after: Cursor | None = None
    ) -> AsyncIterator[LoggedRequest]:
        """All requests, oldest first, that began after the one at `after`; read in batches."""
        query = _matching(wanted or RequestFilter())
        query = query.order_by(requests.c.created_ms, requests.c.request_id)
        while True:
            page = query if after is None else query.where(_place_of(after) < _PLACE)
            rows = await self._fetch(page, MAX_PAGE_ROWS)
            for row in rows:
                yield row
            if len(rows) < MAX_PAGE_ROWS:
                return
            after = rows[-1].cursor

    async def purge(
        self,
        *,
        max_age_days: float | None = None,
        max_rows: int | None = None,
        batch: int = 500,
    ) -> int:
        """Delete requests that ended, with what was said; how many they were.

        Those go that began more than `max_age_days` ago, and all but the latest `max_rows`. Each
        `batch` is a transaction of its own. Sums, and requests under way, stay.
        """
        conditions: list[ColumnElement[bool]] = []
        if max_age_days is not None:
            oldest_ms = self._clock_ms() - int(max_age_days * _MS_PER_DAY)
            conditions.append(requests.c.created_ms < oldest_ms)
        if max_rows is not None and (last := await self._cursor_at(max_rows)) is not None:
            conditions.append(_place_of(last) >= _PLACE)
        purged = 0
        for condition in conditions:
            work = partial(_purge, condition=condition, limit=batch)
            while count := await self._database.write(work, timeout_s=_PURGE_TIMEOUT_S):
                purged += count
        return purged

    async def _fetch(self, query: Select[Any], limit: int) -> tuple[LoggedRequest, ...]:
        async with self._database.read() as connection:
            found = await connection.execute(query.limit(limit))
            return tuple(LoggedRequest(**row) for row in found.mappings())

    async def _cursor_at(self, position: int) -> Cursor | None:
        """The place of the latest request but `position`."""
        columns = requests.c.created_ms, requests.c.request_id
        query = select(*columns).order_by(*(column.desc() for column in columns))
        async with self._database.read() as connection:
            row = (await connection.execute(query.offset(position).limit(1))).one_or_none()
        return None if row is None else Cursor(*row)


async def lock_rows(
    connection: AsyncConnection, request_ids: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    """What is known of `request_ids` and can change, kept from others until the transaction ends.

    That is, their states, and what follows from them in the sums.
    """
    if not request_ids:
        return {}
    if connection.dialect.name == "sqlite":
        found = await connection.execute(_KNOWN_SQLITE, {"ids": orjson.dumps([*request_ids])})
    else:
        found = await connection.execute(_KNOWN_POSTGRES, {"ids": [*request_ids]})
    return {row["request_id"]: dict(row) for row in found.mappings()}


async def store_rows(
    connection: AsyncConnection,
    rows: Mapping[str, JsonObject],
    known: Collection[str],
) -> None:
    """Make `rows`, which are given by request id, those of their requests.

    Raises: IntegrityError when one that is not `known` is there after all.
    """
    added = [row for request_id, row in rows.items() if request_id not in known]
    await _INSERT.run(connection, added)
    changed = [
        {**row, "b_request_id": request_id}
        for request_id, row in rows.items()
        if request_id in known
    ]
    await _UPDATE.run(connection, changed)


async def store_bodies(connection: AsyncConnection, records: Iterable[JsonObject]) -> None:
    """Keep what was said, as far as it is not there yet."""
    rows = [bodies_row_of(record) for record in records if record["state"] == BODIES]
    await _INSERT_BODIES.run(connection, rows)


async def _purge(connection: AsyncConnection, *, condition: ColumnElement[bool], limit: int) -> int:
    chosen = select(requests.c.request_id).where(requests.c.state != "reserved", condition)
    chosen = chosen.order_by(requests.c.created_ms, requests.c.request_id).limit(limit)
    request_ids = list(await connection.scalars(chosen))
    for table in (request_bodies, requests):
        await connection.execute(delete(table).where(table.c.request_id.in_(request_ids)))
    return len(request_ids)


def _matching(wanted: RequestFilter) -> Select[Any]:
    query = select(*(requests.c[name] for name in _COLUMNS))
    for name in ("key_id", "model", "status"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(requests.c[name] == value)
    if wanted.since_ms is not None:
        query = query.where(requests.c.created_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        query = query.where(requests.c.created_ms < wanted.until_ms)
    return query


def _place_of(cursor: Cursor) -> Tuple:
    return tuple_(cursor.created_ms, cursor.request_id)


_PLACE = tuple_(requests.c.created_ms, requests.c.request_id)
_COLUMNS = tuple(column.name for column in fields(LoggedRequest))
_BODY_COLUMNS = tuple(column.name for column in fields(Bodies))

_INSERT = Prepared(lambda _: insert(requests))
# What a request began with stays, and so do its places in the indexes of that.
_UPDATE = Prepared(
    lambda _: (
        update(requests)
        .where(requests.c.request_id == bindparam("b_request_id"))
        .values({name: bindparam(name) for name in _CHANGING})
    )
)
_INSERT_BODIES = Prepared(
    lambda dialect_name: insert_into(dialect_name, request_bodies).on_conflict_do_nothing()
)

_KNOWN = (
    select(*(requests.c[name] for name in ("request_id", *SUMMED, "reserved_microusd")))
    .order_by(requests.c.request_id)
    .with_for_update()
)
# One value for all ids: the text of the statement is the same for any number of them.
_IDS_OF_JSON = func.json_each(bindparam("ids", type_=LargeBinary)).table_valued("value")
_KNOWN_SQLITE = _KNOWN.where(requests.c.request_id.in_(select(_IDS_OF_JSON.c.value)))
_KNOWN_POSTGRES = _KNOWN.where(requests.c.request_id == any_(bindparam("ids", type_=ARRAY(Text))))
