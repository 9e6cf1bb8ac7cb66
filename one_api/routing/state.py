"""What an operator sees of a deployment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from one_api.deployment import Deployment
from one_api.routing.breaker import BreakerRule, BreakerState
from one_api.routing.headroom import RateWindow
from one_api.routing.health import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class RateHeadroom:
    """One limit as the provider told it last; `resets_in_s` None where it told no reset."""

    kind: str
    remaining: float
    limit: float | None
    resets_in_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """A deployment's standing at one moment; durations in seconds, counts since it was first asked.

    `reason` says why it is not asked now and `available_in_s` for how much longer, as far as known.
    `breaker_rule` says when its breaker opens, `window_` counts are those that its ratio is of. The
    two timeouts are those in force while another deployment is left to try, with how many durations
    they were learnt from.
    """

    name: str
    model: str
    adapter: str
    group: str
    order: int
    weight: float
    is_available: bool
    reason: str | None
    available_in_s: float | None
    breaker: BreakerState
    breaker_rule: BreakerRule
    reopens_in_s: float
    consecutive_failures: int
    window_requests: int
    window_failures: int
    ejections: int
    in_flight: int
    requests: int
    failures: int
    last_error_code: str | None
    last_error_message: str | None
    last_error_age_s: float | None
    first_content_latency_s: float | None
    whole_reply_latency_s: float | None
    first_content_timeout_s: float
    first_content_samples: int
    total_timeout_s: float
    total_samples: int
    cooling_s: float
    avoided_s: float
    rate_headroom: tuple[RateHeadroom, ...]
    credential: BreakerState
    credential_retry_in_s: float

    def to_wire(self) -> dict[str, Any]:
        """As JSON; durations rounded to milliseconds."""
        return {name: _rounded(value) for name, value in asdict(self).items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def describe(deployment: Deployment, health: Health, now_s: float) -> DeploymentState:
    """The standing of `deployment` now."""
    obstacle = health.hard_obstacle(deployment.limits, now_s) or health.soft_obstacle(now_s)
    timeouts = health.timeouts.effective(deployment.timeouts)
    requests, failures = health.breaker.window(now_s)
    has_failed = health.last_error_message is not None
    avoided_until_s = max(health.avoided_until_s, health.used_up_until_s)
    return DeploymentState(
        name=deployment.name,
        model=deployment.model,
        adapter=deployment.adapter,
        group=deployment.group.name,
        order=deployment.order,
        weight=deployment.weight,
        is_available=obstacle is None,
        reason=None if obstacle is None else obstacle.reason,
        available_in_s=None if obstacle is None else obstacle.wait_s(now_s),
        breaker=health.breaker.state,
        breaker_rule=health.breaker.rule,
        reopens_in_s=health.breaker.reopens_in_s(now_s),
        consecutive_failures=health.breaker.consecutive_failures,
        window_requests=requests,
        window_failures=failures,
        ejections=health.breaker.openings,
        in_flight=health.in_flight,
        requests=health.requests,
        failures=health.failures,
        last_error_code=health.last_error_code,
        last_error_message=health.last_error_message,
        last_error_age_s=now_s - health.last_error_at_s if has_failed else None,
        first_content_latency_s=health.timeouts.first_content.ewma.average_s,
        whole_reply_latency_s=health.timeouts.whole_reply.ewma.average_s,
        first_content_timeout_s=timeouts.first_content_s,
        first_content_samples=len(health.timeouts.first_content.recent),
        total_timeout_s=timeouts.total_s,
        total_samples=len(health.timeouts.whole_reply.recent),
        cooling_s=max(health.cooling_until_s - now_s, 0.0),
        avoided_s=max(avoided_until_s - now_s, 0.0),
        rate_headroom=tuple(_headroom(window, now_s) for window in health.rate_windows.values()),
        credential=health.credential.state,
        credential_retry_in_s=health.credential.reopens_in_s(now_s),
    )


def _headroom(window: RateWindow, now_s: float) -> RateHeadroom:
    resets_at_s = window.resets_at_s
    return RateHeadroom(
        kind=window.kind,
        remaining=window.remaining,
        limit=window.limit,
        resets_in_s=None if resets_at_s is None else max(resets_at_s - now_s, 0.0),
    )
