"""Counters and disks that fail under load: requests go on, and nothing is forgotten."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.e2e.account_scenes import (
    bank,
    ended_rows,
    office,
    provider,
    sqlite_rows,
    until_true,
)
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import CALLER_KEY, chat, whole
from tests.e2e.load import LONG_S, PATIENCE_S, Load

pytestmark = pytest.mark.slow

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
            await until_true(lambda: bool(redis.command("DBSIZE")), LONG_S)
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
            await load.until(200)
            redis.stop()
            await load.until(503)
            during = await load.more(5)
            free = await gateway.ask(chat())
            redis.start()
            await load.until(200)
        codes = {one.error["code"] for one in load.answers if one.status == 503}
    assert {503} == during.keys()
    assert {"storage_unavailable"} == codes
    assert 200 == free.status, "a key without limits needs no counters"
    assert load.slowest_s < PATIENCE_S


# -- disks


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
            rows = ended_rows(lambda: sqlite_rows(database), answered, LONG_S)
        assert {200} == {*before, *during, *after}
    assert answered == len({row["request_id"] for row in rows}) == len(rows)
    assert "Traceback" not in gateway.log
