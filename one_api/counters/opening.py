"""The counters that the settings ask for."""

from __future__ import annotations

from one_api.counters import Counters
from one_api.counters.fallback import OutagePolicy, Resilient
from one_api.counters.memory import MemoryCounters
from one_api.errors import ConfigurationError


def open_counters(
    redis_url: str | None,
    policy: OutagePolicy,
    *,
    processes: int = 1,
    max_bytes: int = 64 << 20,
) -> Counters:
    """Counters in Redis at `redis_url`, or without one in this process; close them in the end.

    Values in this process take `max_bytes` at most; for `policy` and `processes` see `Resilient`.
    Raises: ConfigurationError when Redis is asked for and its client is not installed.
    """
    local = MemoryCounters(max_bytes=max_bytes)
    if redis_url is None:
        return local
    try:
        from one_api.counters.redis import RedisCounters  # an extra: most do without Redis
    except ImportError as exc:
        raise ConfigurationError(
            "REDIS_URL",
            "the Redis client is not installed",
            "pip install 'one-api-gateway[redis]', or no REDIS_URL",
        ) from exc
    return Resilient(RedisCounters(redis_url), local, policy, processes=processes)
