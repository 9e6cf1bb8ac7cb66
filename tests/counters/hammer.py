"""One of several processes that take from the same Redis as fast as they can.

Takes `sys.argv[3]` times what `ASKS` says, at a time that stands still, keeps everything, and
prints how often it was granted.
"""

from __future__ import annotations

import asyncio
import sys

from one_api.counters import Ask
from one_api.counters.redis import RedisCounters
from one_api.counters.redis_link import LinkOptions

NOW_S = 1_800_000_000.0
ASKS = {
    "requests": [Ask("requests", 1, 500), Ask("tokens", 7, 1_000_000)],
    "tokens": [Ask("requests", 1, 1_000_000), Ask("tokens", 7, 3500)],
    "slots": [Ask("requests", 1, 1_000_000), Ask("slots", 1, 500, "concurrency")],
}


async def hammer(url: str, kind: str, times: int) -> int:
    patient = LinkOptions(timeout_s=30, queue_timeout_s=60)
    counters = RedisCounters(url, options=patient, clock=lambda: NOW_S)
    grants = await asyncio.gather(*(counters.take(ASKS[kind]) for _ in range(times)))
    await counters.close()
    return sum(grant.is_granted for grant in grants)


if __name__ == "__main__":
    granted = asyncio.run(hammer(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    sys.stdout.write(f"{granted}\n")
