"""Virtual keys: made once, shown once, and recognised by a keyed hash."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypedDict

from sqlalchemy import Row, Select, insert, select, tuple_, update

from one_api.errors import Conflict, NotFound
from one_api.storage.database import Database
from one_api.storage.engines import AsyncConnection
from one_api.storage.tables import api_keys

_SIGN = "sk-oa-"
_KEY = re.compile(r"sk-oa-[A-Za-z0-9_-]{43}")
_PREFIX_CHARS = 12
_SECRET_BYTES = 32
MAX_LISTED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """What a key may do. A limit that is None does not limit.

    `models` are public names and patterns; None allows them all. Budgets are in micro-dollars
    per UTC day, per UTC month and altogether; `max_tokens` caps the completion of one request;
    `may_route` allows request headers that steer routing; `expires_ms` is in UTC epoch
    milliseconds.
    """

    name: str
    owner: str = ""
    tags: tuple[str, ...] = ()
    expires_ms: int | None = None
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    budget_day_microusd: int | None = None
    budget_month_microusd: int | None = None
    budget_total_microusd: int | None = None
    max_tokens: int | None = None
    may_route: bool = False


class KeyChanges(TypedDict, total=False):
    """Fields of a `KeySpec` that are to be others; those that are missing stay as they are."""

    name: str
    owner: str
    tags: tuple[str, ...]
    expires_ms: int | None
    models: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_requests: int | None
    budget_day_microusd: int | None
    budget_month_microusd: int | None
    budget_total_microusd: int | None
    max_tokens: int | None
    may_route: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey(KeySpec):
    """A key as the database has it, without what would let anybody call.

    `prefix` is the first 12 characters after "sk-oa-", to tell keys apart by.
    """

    id: str
    prefix: str
    created_ms: int
    revoked_ms: int | None

    def is_good_at(self, now_ms: int) -> bool:
        """Whether the key opens anything at `now_ms`."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class KeyStore:
    """The virtual keys of one database, under one server secret.

    All methods raise StorageUnavailable when the database does not answer.
    """

    def __init__(
        self, database: Database, secret: bytes, *, now_ms: Callable[[], int] = _now_ms
    ) -> None:
        """`now_ms` is the time in UTC epoch milliseconds."""
        self._database = database
        self._secret = secret
        self._now_ms = now_ms

    async def create(self, spec: KeySpec) -> tuple[str, StoredKey]:
        """A new key, in plain text, which nobody can get a second time, and as it is stored."""
        plaintext = _generate()
        stored = StoredKey(
            **asdict(spec),
            id=f"key_{secrets.token_hex(6)}",
            prefix=_prefix_of(plaintext),
            created_ms=self._now_ms(),
            revoked_ms=None,
        )
        values = {**asdict(stored), "digest": self._digest(plaintext)}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(api_keys).values(**values))

        await self._database.write(work)
        return plaintext, stored

    async def list(self, limit: int = 100, after: str | None = None) -> list[StoredKey]:
        """Up to `limit` keys (at most 200), oldest first, from the one after the id `after` on.

        Revoked and expired ones are among them. An unknown `after` is before nothing.
        """
        age = tuple_(api_keys.c.created_ms, api_keys.c.id)
        query = _select().order_by(api_keys.c.created_ms, api_keys.c.id)
        if after is not None:
            mark = select(api_keys.c.created_ms, api_keys.c.id).where(api_keys.c.id == after)
            query = query.where(age > mark.scalar_subquery())
        async with self._database.read() as connection:
            rows = await connection.execute(query.limit(max(0, min(limit, MAX_LISTED))))
            return [_stored(row) for row in rows]

    async def get(self, key_id: str) -> StoredKey | None:
        """The key with this id, good or not."""
        async with self._database.read() as connection:
            row = (await connection.execute(_select().where(api_keys.c.id == key_id))).first()
        return None if row is None else _stored(row)

    async def update(self, key_id: str, changes: KeyChanges) -> StoredKey:
        """The key as it is once these fields are others; an expired one may be good again.

        Raises: NotFound; Conflict for a revoked key.
        """
        # Without any value SQLAlchemy would set every column.
        values = {**changes} or {"id": key_id}

        async def work(connection: AsyncConnection) -> StoredKey:
            return await _changed(connection, key_id, values)

        return await self._database.write(work)

    async def revoke(self, key_id: str) -> StoredKey:
        """Let the key open nothing from now on. Once more changes nothing.

        Raises: NotFound.
        """
        now_ms = self._now_ms()

        async def work(connection: AsyncConnection) -> StoredKey:
            await connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_ms.is_(None))
                .values(revoked_ms=now_ms)
            )
            return await _required(connection, key_id)

        return await self._database.write(work)

    async def rotate(self, key_id: str) -> str:
        """A new key in plain text with the same id and limits; the old one is good no more.

        Raises: NotFound; Conflict for a revoked key.
        """
        plaintext = _generate()
        values = {"prefix": _prefix_of(plaintext), "digest": self._digest(plaintext)}

        async def work(connection: AsyncConnection) -> None:
            await _changed(connection, key_id, values)

        await self._database.write(work)
        return plaintext

    async def find(self, plaintext: str) -> StoredKey | None:
        """The key that `plaintext` is, if it is good now.

        What is not of a key's form never reaches the database. Unknown, wrong, revoked and
        expired keys take the same way and are not told apart.
        """
        if _KEY.fullmatch(plaintext) is None:
            return None
        digest = self._digest(plaintext)
        query = _select(api_keys.c.digest).where(api_keys.c.prefix == _prefix_of(plaintext))
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        known = bytes(len(digest)) if row is None else bytes(row.digest)
        is_same = hmac.compare_digest(digest, known)
        if row is None or not is_same:
            return None
        stored = _stored(row)
        return stored if stored.is_good_at(self._now_ms()) else None

    def _digest(self, plaintext: str) -> bytes:
        return hmac.digest(self._secret, plaintext.encode(), "sha256")


def _generate() -> str:
    return _SIGN + secrets.token_urlsafe(_SECRET_BYTES)


def _prefix_of(plaintext: str) -> str:
    return plaintext[len(_SIGN) :][:_PREFIX_CHARS]


_FIELDS = tuple(field.name for field in fields(StoredKey))


def _select(*extra: Any) -> Select[Any]:
    return select(*(api_keys.c[name] for name in _FIELDS), *extra)


async def _changed(
    connection: AsyncConnection, key_id: str, values: Mapping[str, Any]
) -> StoredKey:
    """The key with other values in these columns. Raises: NotFound; Conflict when it is revoked."""
    changed = await connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_ms.is_(None))
        .values(**values)
    )
    stored = await _required(connection, key_id)
    if changed.rowcount == 0:
        raise Conflict("The key is revoked; create another one.")
    return stored


async def _required(connection: AsyncConnection, key_id: str) -> StoredKey:
    row = (await connection.execute(_select().where(api_keys.c.id == key_id))).first()
    if row is None:
        raise NotFound("There is no key with this id.")
    return _stored(row)


def _stored(row: Row[Any]) -> StoredKey:
    values = {name: getattr(row, name) for name in _FIELDS}
    models = values["models"]
    values["tags"] = tuple(values["tags"])
    values["models"] = None if models is None else tuple(models)
    return StoredKey(**values)
