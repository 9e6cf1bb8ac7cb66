"""How often a caller may ask: requests per minute, by the `limits` library."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from one_api.adapter.http_errors import duration_to_wire
from one_api.errors import MAX_RETRY_AFTER_S, ConfigurationError, RateLimitExceeded

if TYPE_CHECKING:
    from limits.aio.storage import Storage
    from redis.asyncio import ConnectionPool

logger = logging.getLogger(__name__)

#: A slow Redis is worse than a dead one: seconds until it counts as gone.
_REDIS_TIMEOUT_S = 0.25


class RateLimiter:
    """Requests per minute and caller, over a sliding window.

    Counts live in this process, or in Redis at `redis_url`, shared by everything that uses it.
    While Redis does not answer each process counts for itself. Belongs to one event loop.
    Raises: ConfigurationError when Redis is asked for and its client is not installed.
    """

    def __init__(self, requests_per_minute: int, *, redis_url: str | None = None) -> None:
        self._item: RateLimitItem = RateLimitItemPerMinute(requests_per_minute)
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._pool: ConnectionPool | None = None
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._is_shared_down = False
        if redis_url is not None:
            self._pool = _connection_pool(redis_url)
            self._shared = SlidingWindowCounterRateLimiter(_redis_storage(redis_url, self._pool))

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def admit(self, caller: str) -> dict[str, str]:
        """Count one request of `caller`; the `x-ratelimit-*` headers that tell where it stands.

        Raises: RateLimitExceeded, with the same headers; a refused request is not counted.
        """
        is_admitted, headers, reset_s = await self._hit(caller)
        if is_admitted:
            return headers
        raise RateLimitExceeded(
            f"Rate limit reached: {self._item.amount} requests per minute. "
            f"Try again in {max(math.ceil(reset_s), 1)} s.",
            retry_after_s=min(max(reset_s, 1.0), MAX_RETRY_AFTER_S),
            limit_headers=headers,
        )

    async def _hit(self, caller: str) -> tuple[bool, dict[str, str], float]:
        if self._shared is not None:
            try:
                outcome = await self._hit_in(self._shared, caller)
            except StorageError as exc:
                if not self._is_shared_down:
                    logger.warning(
                        "Redis does not answer (%s): this process counts for itself",
                        type(exc.storage_error).__name__,
                    )
                self._is_shared_down = True
            else:
                if self._is_shared_down:
                    logger.info("Redis answers again")
                self._is_shared_down = False
                return outcome
        return await self._hit_in(self._local, caller)

    async def _hit_in(
        self, limiter: SlidingWindowCounterRateLimiter, caller: str
    ) -> tuple[bool, dict[str, str], float]:
        """Whether the request is admitted, its headers, and the seconds to the window's end."""
        is_admitted = await limiter.hit(self._item, caller)
        stats = await limiter.get_window_stats(self._item, caller)
        reset_s = max(stats.reset_time - time.time(), 0.0)
        headers = {
            "x-ratelimit-limit-requests": str(self._item.amount),
            "x-ratelimit-remaining-requests": str(max(stats.remaining, 0)),
            "x-ratelimit-reset-requests": duration_to_wire(reset_s),
        }
        return is_admitted, headers, reset_s


def _connection_pool(redis_url: str) -> ConnectionPool:
    try:
        from redis.asyncio import ConnectionPool  # an extra: most run one process without it
    except ImportError as exc:
        raise ConfigurationError(
            "REDIS_URL",
            "the Redis client is not installed",
            "pip install 'one-api-gateway[redis]', or no REDIS_URL",
        ) from exc
    return ConnectionPool.from_url(
        redis_url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S
    )


def _redis_storage(redis_url: str, pool: ConnectionPool) -> Storage:
    options: Mapping[str, Any] = {"connection_pool": pool, "wrap_exceptions": True}
    storage = storage_from_string(f"async+{redis_url}", implementation="redispy", **options)
    return cast("Storage", storage)
