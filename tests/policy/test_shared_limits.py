"""The limit that several processes share, against a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from one_api.errors import RateLimitExceeded
from one_api.policy.limits import RateLimiter

pytestmark = pytest.mark.redis


class RedisServer:
    """A Redis of this test's own, without files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is needed (Debian: apt-get install redis-server)"
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [program, *arguments], cwd=self._directory, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        log = []
        for line in self._process.stdout:  # ends when the program does
            log.append(line.decode())
            if b"Ready to accept connections" in line:
                return
        self.stop()
        raise RuntimeError("Redis did not start: " + "".join(log))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def limiters(redis: RedisServer) -> AsyncIterator[tuple[RateLimiter, RateLimiter]]:
    pair = RateLimiter(4, redis_url=redis.url), RateLimiter(4, redis_url=redis.url)
    yield pair
    for limiter in pair:
        await limiter.close()


async def test_two_processes_share_one_limit(limiters: tuple[RateLimiter, RateLimiter]) -> None:
    one, other = limiters
    remaining = []
    for limiter in (one, other, one, other):
        headers = await limiter.admit("alice")
        remaining.append(headers["x-ratelimit-remaining-requests"])
    assert remaining == ["3", "2", "1", "0"]
    for limiter in limiters:
        with pytest.raises(RateLimitExceeded):
            await limiter.admit("alice")
    await other.admit("bob")


async def test_parallel_requests_are_counted_exactly(
    limiters: tuple[RateLimiter, RateLimiter],
) -> None:
    calls = [limiters[at % 2].admit("alice") for at in range(20)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RateLimitExceeded)]
    assert len(refused) == 16


async def test_without_redis_each_process_counts_for_itself_until_it_is_back(
    redis: RedisServer, limiters: tuple[RateLimiter, RateLimiter]
) -> None:
    one, other = limiters
    await one.admit("alice")
    redis.stop()
    for limiter in limiters:
        for _ in range(4):
            await limiter.admit("alice")
        with pytest.raises(RateLimitExceeded):
            await limiter.admit("alice")
    redis.start()
    assert "3" == (await one.admit("alice"))["x-ratelimit-remaining-requests"]
    assert "2" == (await other.admit("alice"))["x-ratelimit-remaining-requests"]
