"""Connections to a Redis that may be slow, gone, full or new."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from one_api.counters.breaker import Breaker
from one_api.errors import ConfigurationError, StorageUnavailable

#: What a command is made of.
Word = str | bytes | int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """How much patience is had with Redis.

    A command has `timeout_s` to be answered: a slow Redis is worse than none. At most
    `connections` commands are on their way at a time, which is also how many a Redis that hangs can
    hold up; others wait, `queue_timeout_s` at most. After `failures` in a row nothing is asked for
    `retry_s`, then one command tries.
    """

    timeout_s: float = 0.05
    connections: int = 5
    queue_timeout_s: float = 0.25
    failures: int = 5
    retry_s: float = 5.0


class Script:
    """A Lua program that Redis runs as one step, known to it by the digest of its text."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """Sends commands; each reply goes to who asked, or nowhere. Belongs to one event loop.

    A connection is used for another command only after the whole reply to the one before it was
    read: one that was cancelled, or timed out, is closed.
    Raises: ConfigurationError when `url` is not one of Redis.
    """

    def __init__(
        self, url: str, options: LinkOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            self._pool = ConnectionPool.from_url(
                url, socket_timeout=None, socket_connect_timeout=options.timeout_s
            )
        except ValueError as exc:
            raise ConfigurationError(
                "REDIS_URL", "not an address of Redis", "redis://[user:password@]host[:port][/db]"
            ) from exc
        self._options = options
        self._breaker = Breaker(clock, failures=options.failures, retry_s=options.retry_s)
        self._turns = asyncio.Semaphore(options.connections)
        self._idle: list[Connection] = []
        #: Commands that waited in vain, or were answered with an error, ever.
        self.failures = 0
        #: Commands that were not sent, as Redis did not answer those before them in time, ever.
        self.refusals = 0
        #: Commands that are on their way now.
        self.in_flight = 0

    @property
    def is_open(self) -> bool:
        """Whether Redis is taken to be gone."""
        return self._breaker.is_open

    async def call(self, *command: Word) -> Any:  # whatever the command replies
        """The reply to `command`, in bytes.

        Raises: StorageUnavailable when there is none in time, or it is an error.
        """
        return await self._guarded(command, None)

    async def run(self, script: Script, keys: tuple[str, ...], *arguments: Word) -> Any:
        """What `script` returns; its text is sent only to a Redis that does not know it.

        Raises: StorageUnavailable, as `call`.
        """
        rest = (len(keys), *keys, *arguments)
        return await self._guarded(
            ("EVALSHA", script.digest, *rest), ("EVAL", script.source, *rest)
        )

    async def close(self) -> None:
        """Close the connections that are not in use."""
        await self._drop_idle()

    async def _guarded(
        self, command: tuple[Word, ...], in_full: tuple[Word, ...] | None
    ) -> Any:  # whatever the command replies
        if not self._breaker.admit():
            self.refusals += 1
            raise _unavailable()
        try:
            reply = await self._in_turn(command, in_full)
        except _HeldUp as exc:
            self._breaker.abandon()
            raise _unavailable() from exc
        except (RedisError, OSError, TimeoutError) as exc:
            self._breaker.fail()
            raise _unavailable() from exc
        except BaseException:  # cancelled, or refused for what others met with
            self._breaker.abandon()
            raise
        self._breaker.succeed()
        return reply

    async def _in_turn(
        self, command: tuple[Word, ...], in_full: tuple[Word, ...] | None
    ) -> Any:  # whatever the command replies
        openings = self._breaker.openings
        try:
            async with asyncio.timeout(self._options.queue_timeout_s):
                await self._turns.acquire()
        except TimeoutError:
            self.refusals += 1
            raise
        try:
            if self._breaker.openings != openings:
                self.refusals += 1
                raise _unavailable()
            return await self._known(command, in_full)
        except ReadOnlyError:
            # The address may lead to another server by now, which is not read-only.
            self.failures += 1
            await self._drop_idle()
            raise
        except (RedisError, OSError, TimeoutError, _HeldUp):
            self.failures += 1
            raise
        finally:
            self._turns.release()

    async def _known(
        self, command: tuple[Word, ...], in_full: tuple[Word, ...] | None
    ) -> Any:  # whatever the command replies
        try:
            return await self._answered(command)
        except NoScriptError:
            if in_full is None:
                raise
            return await self._answered(in_full)

    async def _answered(self, command: tuple[Word, ...]) -> Any:  # whatever the command replies
        while self._idle:
            try:
                return await self._exchange(self._idle.pop(), command)
            except RedisConnectionError:
                # It was closed while it lay idle, as all are by a restart: they tell nothing about
                # the server. What was sent on it may have been done, and is now done again.
                await self._drop_idle()
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # bare in redis
        return await self._exchange(connection, command)

    async def _exchange(
        self, connection: Connection, command: tuple[Word, ...]
    ) -> Any:  # whatever the command replies
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + self._options.timeout_s
        self.in_flight += 1
        try:
            async with asyncio.timeout_at(deadline_s):
                await connection.connect()  # type: ignore[no-untyped-call]  # bare in redis
                await connection.send_command(*command, check_health=False)
                reply = await connection.read_response(disable_decoding=True)
        except ResponseError:  # a whole reply, too
            self._idle.append(connection)
            raise
        except BaseException as exc:  # what is still to come on it is nobody's
            await connection.disconnect(nowait=True)
            if isinstance(exc, TimeoutError) and now_s() - deadline_s > self._options.timeout_s:
                raise _HeldUp from exc
            raise
        finally:
            self.in_flight -= 1
        self._idle.append(connection)
        return reply

    async def _drop_idle(self) -> None:
        dropped, self._idle = self._idle, []
        for connection in dropped:
            await connection.disconnect(nowait=True)


class _HeldUp(Exception):
    """There was no reply in time, but nobody could have read it in time either."""


def _unavailable() -> StorageUnavailable:
    return StorageUnavailable("The shared counters do not answer.", retry_after_s=1.0)
