"""How often a caller may ask: requests per minute, by the `limits` library."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, cast

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from one_api.adapter.http_errors import duration_to_wire
from one_api.errors import MAX_RETRY_AFTER_S, RateLimitExceeded

if TYPE_CHECKING:
    from limits.aio.storage import Storage


class RateLimiter:
    """Requests per minute and caller, over a sliding window.

    Counts live in this process, or in Redis at `redis_url`, shared by everything that uses it.
    """

    def __init__(self, requests_per_minute: int, *, redis_url: str | None = None) -> None:
        self._item = RateLimitItemPerMinute(requests_per_minute)
        self._redis_url = redis_url
        self._limiter: SlidingWindowCounterRateLimiter | None = None

    def _on_loop(self) -> SlidingWindowCounterRateLimiter:
        # Made on first use: the stores belong to the event loop that serves.
        if self._limiter is None:
            self._limiter = SlidingWindowCounterRateLimiter(_storage(self._redis_url))
        return self._limiter

    async def admit(self, caller: str) -> dict[str, str]:
        """Count one request of `caller`; the `x-ratelimit-*` headers that tell where it stands.

        Raises: RateLimitExceeded, with the same headers; a refused request is not counted.
        """
        limiter = self._on_loop()
        is_admitted = await limiter.hit(self._item, caller)
        stats = await limiter.get_window_stats(self._item, caller)
        reset_s = max(stats.reset_time - time.time(), 0.0)
        headers = {
            "x-ratelimit-limit-requests": str(self._item.amount),
            "x-ratelimit-remaining-requests": str(max(stats.remaining, 0)),
            "x-ratelimit-reset-requests": duration_to_wire(reset_s),
        }
        if is_admitted:
            return headers
        raise RateLimitExceeded(
            f"Rate limit reached: {self._item.amount} requests per minute. "
            f"Try again in {max(math.ceil(reset_s), 1)} s.",
            retry_after_s=min(max(reset_s, 1.0), MAX_RETRY_AFTER_S),
            limit_headers=headers,
        )


def _storage(redis_url: str | None) -> Storage:
    if redis_url is None:
        return MemoryStorage()
    return cast("Storage", storage_from_string(f"async+{redis_url}", implementation="redispy"))
