"""Databases, counters and disks that fail under load: requests go on, and nothing is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.e2e.account_scenes import (
    ADMIN_KEY,
    KEY_SECRET,
    Bank,
    bank,
    bearer,
    ended_rows,
    office,
    postgres_rows,
    provider,
    running_postgres,
    sqlite_rows,
    until_true,
)
from tests.e2e.exchanges import Answer, exchange
from tests.e2e.failover_scenes import CALLER_KEY, chat, whole
from tests.storage.postgres import PostgresServer

pytestmark = pytest.mark.slow

#: Longest that a request may take while something is down: the time given to a dead database.
PATIENCE_S = 4.0


class Load:
    """One caller who asks again and again as long as the context lasts."""

    def __init__(self, gateway: Bank, key: str) -> None:
        self._gateway = gateway
        self._key = key
        self.answers: list[Answer] = []
        self.slowest_s = 0.0

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    async def more(self, count: int) -> Counter[int]:
        """The statuses of the next `count` answers."""
        begin = len(self.answers)
        await until_true(lambda: len(self.answers) >= begin + count, 30)
        return Counter(answer.status for answer in self.answers[begin:])

    async def until(self, status: int, timeout_s: float) -> None:
        """Wait until an answer that comes from now on has this status."""
        begin = len(self.answers)
        await until_true(
            lambda: any(answer.status == status for answer in self.answers[begin:]), timeout_s
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_asking())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    async def _keep_asking(self) -> None:
        while True:
            began = time.monotonic()
            self.answers.append(await self._gateway.ask_as(self._key, chat()))
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            await asyncio.sleep(0.01)


# -- Redis


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.redis
async def test_without_redis_each_process_counts_for_itself(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with bank(tmp_path, redis_url=redis.url, redis_failure="fail_open") as gateway:
        gateway.script(a=whole())
        key = await gateway.make_key(requests_per_minute=100_000)
        tight = await gateway.make_key(requests_per_minute=5)
        load = Load(gateway, key)
        async with load.running():
            await load.more(10)
            redis.stop()
            await load.more(20)
            limited = [(await gateway.ask_as(tight, chat())).status for _ in range(8)]
            redis.start()  # with nothing in it
            await until_true(lambda: bool(redis.command("DBSIZE")), 15)
            await load.more(10)
        assert {200} == load.statuses.keys()
    assert [200] * 5 + [429] * 3 == limited
    assert load.slowest_s < PATIENCE_S


@pytest.mark.redis
async def test_without_redis_limited_requests_are_refused_where_that_is_wanted(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with bank(tmp_path, redis_url=redis.url, redis_failure="fail_closed") as gateway:
        gateway.script(a=whole())
        key = await gateway.make_key(requests_per_minute=100_000)
        load = Load(gateway, key)
        async with load.running():
            await load.until(200, 5)
            redis.stop()
            await load.until(503, 5)
            during = await load.more(5)
            free = await gateway.ask(chat())
            redis.start()
            await load.until(200, 15)
        codes = {one.error["code"] for one in load.answers if one.status == 503}
    assert {503} == during.keys()
    assert {"storage_unavailable"} == codes
    assert 200 == free.status, "a key without limits needs no counters"
    assert load.slowest_s < PATIENCE_S


# -- PostgreSQL


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.mark.postgres
async def test_a_database_that_is_down_for_seconds_costs_no_request_and_no_row(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    name = postgres.create_database()
    settings: dict[str, Any] = {
        "database_url": postgres.url(name),
        "key_secret": KEY_SECRET,
        "data_dir": tmp_path,
    }
    async with bank(tmp_path, **settings) as gateway:
        gateway.script(a=whole())
        known, unknown = [await gateway.make_key() for _ in range(2)]
        bound = await gateway.make_key(budget_total_microusd=10**9)
        load = Load(gateway, known)
        async with load.running():
            await load.more(10)
            assert 200 == (await gateway.ask_as(bound, chat())).status
            postgres.stop()
            await asyncio.sleep(1.5)  # so long that the key is asked for again
            await load.more(20)
            stranger = await gateway.ask_as(unknown, chat())
            of_settings = await gateway.ask(chat())
            poor = await gateway.ask_as(bound, chat())
            made = await gateway.ask({"name": "x"}, "/admin/keys", **bearer(ADMIN_KEY))
            postgres.start()
            await load.more(10)
            await gateway.until(unknown, 200)
        answered = gateway.calls["a"]
        rows = await asyncio.to_thread(
            ended_rows, lambda: postgres_rows(postgres, name), answered, 15
        )
    assert {200} == load.statuses.keys()
    assert (503, "storage_unavailable") == (stranger.status, stranger.error["code"])
    assert 200 == of_settings.status
    assert 503 == poor.status, "nobody knows what is left of a budget"
    assert 503 == made.status
    assert answered == sum(row["status"] == 200 for row in rows)
    assert len(rows) == len({row["request_id"] for row in rows})
    assert load.slowest_s < PATIENCE_S


# -- SQLite


async def test_a_database_that_others_lock_holds_up_nobody(tmp_path: Path) -> None:
    async with bank(tmp_path) as gateway:
        gateway.script(a=whole())
        key = await gateway.make_key()
        load = Load(gateway, key)
        async with load.running():
            await load.more(5)
            with contextlib.closing(sqlite3.connect(gateway.database)) as other:
                other.execute("BEGIN EXCLUSIVE")
                began = time.monotonic()
                during = Counter[int]()
                while time.monotonic() < began + 3:
                    during += await load.more(5)
                other.rollback()
            await load.more(5)
        rows = await gateway.ended(gateway.calls["a"])
    assert {200} == load.statuses.keys()
    assert during[200] > 20
    assert load.slowest_s < 1
    assert gateway.calls["a"] == len({row["request_id"] for row in rows}) == len(rows)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("only root can mount a small file system")
    directory = tmp_path / "disk"
    directory.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(directory)],
        capture_output=True,
        check=False,
        timeout=10,
    )
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield directory
    finally:
        subprocess.run([umount, "-l", str(directory)], check=True, timeout=10)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def test_a_full_disk_refuses_nobody_and_forgets_nothing(tmp_path: Path, small_disk: Path) -> None:
    database = small_disk / "one_api.db"
    with provider() as upstream:
        upstream.script(whole(), repeat_last=True)
        front = office(
            tmp_path,
            upstream,
            DATABASE_URL=f"sqlite:///{database}",
            DATA_DIR=str(small_disk),
            REQUEST_LOG="full",
        )
        key = front.make_key()
        with front.open() as gateway:
            url = f"{gateway.base_url}/chat/completions"

            def ask(caller: str) -> int:
                return exchange(url, chat(), key=caller).status

            before = [ask(key) for _ in range(5)]
            ballast = fill(small_disk)
            began = time.monotonic()
            during: list[int] = []
            while time.monotonic() < began + 4 or len(during) < 50:
                during += [ask(key), ask(CALLER_KEY)]
                fill(small_disk)  # also what the gateway gives back
            assert gateway.has_logged("the journal cannot be written")
            ballast.unlink()
            after = [ask(key) for _ in range(5)]
            answered = len(before) + len(during) + len(after)
            rows = ended_rows(lambda: sqlite_rows(database), answered, 20)
        assert {200} == {*before, *during, *after}
    assert answered == len({row["request_id"] for row in rows}) == len(rows)
    assert "Traceback" not in gateway.log
