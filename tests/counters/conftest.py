"""Counters of each kind, and the Redis servers that some of them need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.counters.worlds import MemoryWorld, RedisWorld, World


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for tests that leave it as it was, but for its keys."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server to be stopped, frozen or filled."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made: World
    if request.param == "memory":
        made = MemoryWorld()
    else:
        made = RedisWorld(request.getfixturevalue("shared_redis"))
    yield made
    await made.counters.close()
