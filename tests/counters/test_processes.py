"""What several processes take together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from one_api.counters import Ask
from one_api.counters.redis import RedisCounters
from tests.counters.hammer import ASKS, NOW_S
from tests.counters.redis_server import RedisServer
from tests.counters.worlds import PATIENT, remaining

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.redis, pytest.mark.slow]


def hammer_from_four(url: str, kind: str) -> list[int]:
    """How often each of four processes was granted what it asked for 400 times."""
    command = [sys.executable, "-m", "tests.counters.hammer", url, kind, "400"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    return [int(process.communicate(timeout=60)[0]) for process in processes]


@pytest.mark.parametrize("kind", list(ASKS))
async def test_four_processes_are_granted_the_limit_exactly(
    shared_redis: RedisServer, kind: str
) -> None:
    shared_redis.command("FLUSHALL")

    assert 500 == sum(hammer_from_four(shared_redis.url, kind))
    # And what was refused left nothing behind.
    counters = RedisCounters(shared_redis.url, options=PATIENT, clock=lambda: NOW_S)
    look = [Ask("requests", 0, 1000), Ask("tokens", 0, 10_000)]
    used_tokens = 0 if kind == "slots" else 3500
    assert [500, 10_000 - used_tokens] == remaining(await counters.take(look))
    await counters.close()
