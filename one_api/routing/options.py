"""How quickly routing loses and regains trust."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """The operator's choices, for all deployments; times in seconds, ratios from 0 to 1.

    A breaker opens on `consecutive_failures`, or when `failure_ratio` of at least `min_requests`
    within `window_s` failed. It stays open for `cooldown_s`, `cooldown_growth` times as long each
    time it opens again, up to `max_cooldown_s`. Groups and deployments may have terms of their
    own. `credential_failures` refusals in a row, over all deployments
    of one adapter instance, mark its credential as bad.
    A provider's Retry-After is heeded up to `max_retry_after_s`. At most `retry_ratio` of the
    active requests may be retries at any moment, but `min_retries` always may.
    """

    consecutive_failures: int = 5
    failure_ratio: float = 0.5
    min_requests: int = 20
    window_s: float = 30.0
    cooldown_s: float = 30.0
    cooldown_growth: float = 2.0
    max_cooldown_s: float = 300.0
    credential_failures: int = 3
    max_retry_after_s: float = 600.0
    retry_ratio: float = 0.1
    min_retries: int = 3
