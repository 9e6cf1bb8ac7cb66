"""Requests that a client repeats under one `Idempotency-Key`: answered once, told often.

Only a complete success is kept. Whatever failed is forgotten, so that a repeat may succeed: a
request that was refused cost nothing, and of one that broke the client has nothing to show for
what it cost. (Others keep failures as well; there the first attempt may have moved money, here it
may only have bought words that never arrived.) A reply too large to be kept is never asked for
again either: repeats are told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, Protocol

import orjson

from one_api.counters import LEASE_S, MAX_VALUE_BYTES
from one_api.errors import Conflict, IdempotencyMismatch, InvalidRequest, StorageUnavailable

logger = logging.getLogger(__name__)

#: Changes whenever a kept value would be read differently.
_VERSION: Final = 1
#: 1 to 255 visible characters of ASCII.
_KEY: Final = re.compile(r"[!-~]{1,255}")
#: How long to wait before looking again for what another process does, in seconds: from, to.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 0.5
#: How long to wait before a reply that the store did not take is offered to it again, in seconds:
#: it may have been slow for a moment, and without the reply no repeat is answered.
_KEEP_PAUSES_S: Final = (0.05, 0.2)
#: What a client is asked to wait whose request is still being answered, in seconds.
_RETRY_AFTER_S: Final = 2.0

_State = Literal["running", "done", "too_large"]


class Claims(Protocol):
    """Where replies are kept; see `Counters` for what each method promises."""

    async def claim(self, key: str, owner: str, ttl_s: float) -> bytes | None:
        """Make `key` the property of `owner` if nobody has it: None then, else its value."""

    async def replace(self, key: str, owner: str, value: bytes, ttl_s: float) -> bool:
        """Set `key` for `ttl_s` seconds, if `owner` has it."""

    async def delete(self, key: str, owner: str) -> bool:
        """Remove `key`, if `owner` has it."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A complete reply as it was given: its body is that of the stream where it was one."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True, eq=False)
class Started:
    """The right to answer a request; give it back by `Idempotency.finish` or `release`."""

    name: str
    digest: str
    owner: str = field(repr=False)
    is_over: bool = False


class Tape:
    """The bytes of a stream as they pass, as long as they are not more than can be kept."""

    def __init__(self, max_bytes: int) -> None:
        self._data: bytearray | None = bytearray()
        self._max_bytes = max_bytes

    def write(self, data: bytes) -> None:
        """Add `data`."""
        if self._data is None:
            return
        self._data += data
        if len(self._data) > self._max_bytes:
            self._data = None

    @property
    def body(self) -> bytes | None:
        """All that passed; None when it was too much."""
        return None if self._data is None else bytes(self._data)


class Idempotency:
    """Replies by scope and `Idempotency-Key`, each for `ttl_s` seconds.

    Repeats of a request that is being answered wait for its reply, `wait_s` seconds at most. When
    a process dies that was answering, its keys stay taken for `lease_s` seconds, which must be
    longer than any request takes: nobody knows whether the provider was asked. Replies of more
    than `max_reply_bytes` are not kept, nor what the store takes for too long.
    """

    def __init__(
        self,
        store: Claims,
        *,
        ttl_s: float = 86_400.0,
        wait_s: float = 30.0,
        lease_s: float = LEASE_S,
        max_reply_bytes: int = 1_000_000,
    ) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._wait_s = wait_s
        self._lease_s = lease_s
        self.max_reply_bytes = max_reply_bytes
        #: What this process is answering, by name: set when that is over.
        self._ends: dict[str, asyncio.Event] = {}

    async def begin(self, scope: str, key: str, digest: str) -> Started | Replay:
        """The right to answer, or the reply that was given to the same request before.

        `digest` is that of the request, by `digest_of`. Nobody learns of another scope's keys.
        Raises: InvalidRequest for a key that is none; IdempotencyMismatch when another request
        came under the same key; Conflict when the request is still being answered by the end of
        the wait, or its reply was too large to be kept; StorageUnavailable.
        """
        if _KEY.fullmatch(key) is None:
            raise InvalidRequest(
                "Invalid header 'Idempotency-Key': 1 to 255 visible ASCII characters are needed.",
                code="invalid_idempotency_key",
            )
        name = _name_of(scope, key)
        clock = asyncio.get_running_loop().time
        ends_at_s, pause_s = clock() + self._wait_s, _FIRST_PAUSE_S
        while True:
            owner = secrets.token_hex(16)
            value = await self._claim(name, owner)
            if value is None:
                return await self._start(name, owner, digest)
            replay = _told_by(value, digest)
            if replay is not None:
                return replay
            left_s = ends_at_s - clock()
            if left_s <= 0:
                raise Conflict(
                    "A request with this Idempotency-Key is still being answered.",
                    code="idempotency_key_in_use",
                    retry_after_s=_RETRY_AFTER_S,
                )
            await self._pause(name, left_s, pause_s)
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def finish(self, started: Started, reply: Replay | None) -> None:
        """Keep the complete, successful `reply` for those who ask again. Never fails.

        None is a reply that was given and is too large to be kept.
        """
        value = _to_bytes("too_large", started.digest)
        if reply is not None and len(reply.body) <= self.max_reply_bytes:
            told = _to_bytes("done", started.digest, reply)
            value = told if len(told) <= MAX_VALUE_BYTES else value
        await self._keep(started, value)

    async def release(self, started: Started) -> None:
        """The request has no reply worth keeping: a repeat is answered anew. Never fails.

        Does nothing after `finish`.
        """
        if started.is_over:
            return
        started.is_over = True
        try:
            await self._give_back(started.name, started.owner)
        finally:
            self._end(started.name)

    async def _claim(self, name: str, owner: str) -> bytes | None:
        try:
            return await self._store.claim(name, owner, self._lease_s)
        except asyncio.CancelledError:
            # Nobody will learn of it if the claim was granted.
            await self._give_back(name, owner)
            raise

    async def _start(self, name: str, owner: str, digest: str) -> Started:
        self._ends[name] = asyncio.Event()
        started = Started(name, digest, owner)
        try:
            # From here on others can tell whether they ask for the same.
            running = _to_bytes("running", digest)
            await self._store.replace(name, owner, running, self._lease_s)
        except BaseException:
            await self.release(started)
            raise
        return started

    async def _give_back(self, name: str, owner: str) -> None:
        try:
            await self._store.delete(name, owner)
        except StorageUnavailable as exc:
            logger.warning(
                "an Idempotency-Key stays taken until it can be given back, %g s at most: %s",
                self._lease_s,
                exc,
            )

    async def _keep(self, started: Started, value: bytes) -> None:
        if started.is_over:
            return
        started.is_over = True
        try:
            if not await self._offer(started, value):
                logger.warning(
                    "a reply is not kept: its Idempotency-Key has run out, or is out of reach"
                )
        except StorageUnavailable as exc:
            logger.warning("a reply cannot be kept for its Idempotency-Key: %s", exc)
        finally:
            self._end(started.name)

    async def _offer(self, started: Started, value: bytes) -> bool:
        """Have the store keep `value`; False when the key has run out, or is out of reach."""
        replace = partial(
            self._store.replace, started.name, started.owner, value, ttl_s=self._ttl_s
        )
        for pause_s in _KEEP_PAUSES_S:
            # Counters that stand in for Redis meanwhile do not have the key: no error says so.
            with contextlib.suppress(StorageUnavailable):
                if await replace():
                    return True
            await asyncio.sleep(pause_s)
        return await replace()

    def _end(self, name: str) -> None:
        end = self._ends.pop(name, None)
        if end is not None:
            end.set()

    async def _pause(self, name: str, left_s: float, pause_s: float) -> None:
        """Wait for what this process is answering, or a while for what another one does."""
        end = self._ends.get(name)
        if end is None:
            await asyncio.sleep(min(pause_s, left_s))
            return
        try:
            async with asyncio.timeout(left_s):
                await end.wait()
        except TimeoutError:
            pass  # The caller looks once more, and then gives up.


def digest_of(endpoint: str, body: bytes) -> str:
    """What tells one request from another: its endpoint and the bytes of its body."""
    return hashlib.sha256(endpoint.encode() + b"\n" + body).hexdigest()


def _name_of(scope: str, key: str) -> str:
    """Of one length, and without what clients wrote."""
    return "idempotency:" + hashlib.sha256(orjson.dumps([scope, key])).hexdigest()


def _to_bytes(state: _State, digest: str, reply: Replay | None = None) -> bytes:
    status, headers = (reply.status, dict(reply.headers)) if reply else (0, {})
    head = [_VERSION, state, digest, status, headers]
    return orjson.dumps(head) + b"\n" + (reply.body if reply else b"")


def _told_by(value: bytes, digest: str) -> Replay | None:
    """The reply in `value`; None while there is none, and where another version wrote it.

    Raises: IdempotencyMismatch; Conflict for a reply that was too large to be kept.
    """
    if not value:
        return None  # Claimed a moment ago.
    head, _, body = value.partition(b"\n")
    match orjson.loads(head):
        case [version, state, str(of), int(status), dict(headers)] if version == _VERSION:
            if of != digest:
                raise IdempotencyMismatch(
                    "Another request was sent with this Idempotency-Key. "
                    "Repeat that one unchanged, or use a new key."
                )
            if state == "too_large":
                raise Conflict(
                    "The request with this Idempotency-Key was answered, and its reply was too "
                    "large to be kept. Use a new key to ask again.",
                    code="idempotent_reply_too_large",
                    # OpenAI's SDKs repeat a 409 by themselves, and would get this one each time.
                    limit_headers={"x-should-retry": "false"},
                )
            return Replay(status, headers, body) if state == "done" else None
    return None
