"""What one deployment has shown so far, and what of it keeps requests away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from one_api.deployment import NO_LIMITS, Deployment, DeploymentLimits
from one_api.errors import GatewayError, UpstreamRateLimited
from one_api.routing.breaker import Breaker, BreakerRule
from one_api.routing.events import EventKind, Observer, RoutingEvent
from one_api.routing.headroom import RateWindow, read_rate_windows
from one_api.routing.options import RouterOptions
from one_api.routing.timeouts import AdaptiveTimeouts
from one_api.routing.windows import RollingCounter

#: For how long a 429 without Retry-After keeps requests away: first, and at most after doubling.
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 1.0, 30.0
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all parts of one router share: its options, clocks and observer.

    `clock` gives monotonic seconds, `wall_clock` seconds since 1970.
    """

    options: RouterOptions
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    observe: Observer

    def breaker(self, deployment: Deployment) -> Breaker:
        """A new breaker for `deployment`, whose terms win over those of its group."""
        options = self.options
        rule = BreakerRule(
            failures=options.consecutive_failures,
            cooldown_s=options.cooldown_s,
            max_cooldown_s=options.max_cooldown_s,
            growth=options.cooldown_growth,
            ratio=options.failure_ratio,
            min_requests=options.min_requests,
            window_s=options.window_s,
        )
        return Breaker(rule.under((deployment.group.breaker, deployment.breaker)))

    def credential(self) -> Breaker:
        """A new breaker for the credential that an adapter's deployments share."""
        options = self.options
        return Breaker(
            BreakerRule(
                failures=options.credential_failures,
                cooldown_s=options.cooldown_s,
                max_cooldown_s=options.max_cooldown_s,
                growth=options.cooldown_growth,
            )
        )


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a deployment is not asked, until `until_s` on the router's clock (infinity: unknown)."""

    reason: str
    until_s: float
    is_rate_limited: bool = False

    def wait_s(self, now_s: float) -> float | None:
        """For how many more seconds it stands; None when nobody knows."""
        return max(self.until_s - now_s, 0.0) if math.isfinite(self.until_s) else None


class Health:
    """The whole state of one deployment; times are on the router's clock.

    `credential` is shared by all deployments of the adapter instance.
    """

    __slots__ = (
        "_backoff_s",
        "_clear_from_s",
        "_is_cooled_by_429",
        "_requests_in_minute",
        "_tokens_in_minute",
        "adapter",
        "avoided_until_s",
        "breaker",
        "cooling_until_s",
        "credential",
        "deployment",
        "failures",
        "in_flight",
        "is_forgotten",
        "last_error_at_s",
        "last_error_code",
        "last_error_message",
        "name",
        "rate_windows",
        "requests",
        "surroundings",
        "timeouts",
        "used_up_until_s",
    )

    def __init__(
        self, deployment: Deployment, credential: Breaker, surroundings: Surroundings
    ) -> None:
        self.deployment = deployment
        self.name = deployment.name
        self.adapter = deployment.adapter
        self.surroundings = surroundings
        self.breaker = surroundings.breaker(deployment)
        self.credential = credential
        self.timeouts = AdaptiveTimeouts()
        self.in_flight = 0
        self.requests = 0
        self.failures = 0
        # Not the error itself: its traceback would keep the request alive.
        self.last_error_code: str | None = None
        self.last_error_message: str | None = None
        self.last_error_at_s = 0.0
        #: Never asked before this: the provider said so.
        self.cooling_until_s = -math.inf
        #: Rather not asked before these: it said 429, or its headers say that it is about to.
        self.avoided_until_s = -math.inf
        self.used_up_until_s = -math.inf
        #: The last of these three.
        self._clear_from_s = -math.inf
        self.rate_windows: dict[str, RateWindow] = {}
        self.is_forgotten = False
        self._is_cooled_by_429 = False
        self._backoff_s = 0.0
        self._requests_in_minute: RollingCounter | None = None
        self._tokens_in_minute: RollingCounter | None = None

    def is_clear(self, limits: DeploymentLimits, now_s: float) -> bool:
        """Whether nothing speaks against asking it now, as far as that is told at a glance."""
        return (
            limits is NO_LIMITS
            and self.breaker.state == self.credential.state == "closed"
            and now_s >= self._clear_from_s
        )

    def hard_obstacle(self, limits: DeploymentLimits, now_s: float) -> Obstacle | None:
        """What forbids to ask it now, however few others there are."""
        if now_s < self.cooling_until_s:
            return Obstacle(
                "the provider asked to wait", self.cooling_until_s, self._is_cooled_by_429
            )
        if limits is NO_LIMITS:
            return None
        most = limits.concurrent_requests
        if most is not None and self.in_flight >= most:
            return Obstacle("limit of concurrent requests reached", math.inf)
        return _minute_obstacle(
            "requests", self._requests_in_minute, limits.requests_per_minute, now_s
        ) or _minute_obstacle("tokens", self._tokens_in_minute, limits.tokens_per_minute, now_s)

    def soft_obstacle(self, now_s: float) -> Obstacle | None:
        """What speaks against asking it now, unless nothing else is left."""
        found = [
            obstacle
            for obstacle in (
                breaker_obstacle("its breaker", self.breaker, now_s),
                breaker_obstacle("its credential", self.credential, now_s),
                Obstacle("the provider said 429", self.avoided_until_s, True),
                Obstacle("the provider is about to say 429", self.used_up_until_s),
            )
            if obstacle is not None and now_s < obstacle.until_s
        ]
        return max(found, key=lambda obstacle: obstacle.until_s, default=None)

    def latency_s(self, now_s: float) -> float | None:
        """Moving average of first-content times; of whole replies where it never streamed."""
        latency_s = self.timeouts.first_content.ewma.faded_s(now_s)
        return self.timeouts.whole_reply.ewma.faded_s(now_s) if latency_s is None else latency_s

    def count_request(self, limits: DeploymentLimits, now_s: float) -> None:
        """A request is sent."""
        self.in_flight += 1
        self.requests += 1
        if limits.requests_per_minute is not None:
            if self._requests_in_minute is None:
                self._requests_in_minute = RollingCounter(_MINUTE_S, steps=60)
            self._requests_in_minute.add(now_s)

    def count_tokens(self, limits: DeploymentLimits, tokens: int, now_s: float) -> None:
        """A reply used so many tokens."""
        if limits.tokens_per_minute is not None and tokens > 0:
            if self._tokens_in_minute is None:
                self._tokens_in_minute = RollingCounter(_MINUTE_S, steps=60)
            self._tokens_in_minute.add(now_s, tokens)

    def note_headers(self, headers: Mapping[str, str], now_s: float) -> None:
        """The provider told where we stand with its limits."""
        for window in read_rate_windows(
            headers,
            now_s=now_s,
            wall_now_s=self.surroundings.wall_clock(),
            longest_s=self.surroundings.options.max_retry_after_s,
        ):
            self.rate_windows[window.kind] = window
        if not self.rate_windows:
            return
        self.used_up_until_s = max(
            (
                window.resets_at_s
                for window in self.rate_windows.values()
                if window.resets_at_s is not None and window.is_used_up
            ),
            default=-math.inf,
        )
        self._note_wait()

    def note_error(self, error: GatewayError, now_s: float) -> None:
        """The provider failed, or refused for its own reasons."""
        self.failures += 1
        self.last_error_code = error.code
        self.last_error_message = error.message
        self.last_error_at_s = now_s
        wait_s = error.retry_after_s
        if wait_s is not None and wait_s > 0:
            wait_s = min(wait_s, self.surroundings.options.max_retry_after_s)
            self._cool(wait_s, now_s, is_429=error.status == UpstreamRateLimited.status)
        elif error.status == UpstreamRateLimited.status:
            self._back_off(now_s)

    def note_success(self) -> None:
        """The provider answered as it should."""
        self._backoff_s = 0.0

    def tell(self, kind: EventKind, reason: str, duration_s: float | None = None) -> None:
        """Tell the observer; nobody hears of deployments that are configured no more."""
        if not self.is_forgotten:
            self.surroundings.observe(RoutingEvent(kind, self.name, reason, duration_s))

    def _cool(self, wait_s: float, now_s: float, *, is_429: bool) -> None:
        is_new = now_s >= self.cooling_until_s
        if now_s + wait_s > self.cooling_until_s:
            self.cooling_until_s = now_s + wait_s
            self._is_cooled_by_429 = is_429
            self._note_wait()
        if is_new:
            self.tell("cooled", "the provider asked to wait", wait_s)

    def _back_off(self, now_s: float) -> None:
        if now_s < self.avoided_until_s:
            return  # Told by requests that were on their way together.
        self._backoff_s = min(max(2 * self._backoff_s, _FIRST_BACKOFF_S), _LAST_BACKOFF_S)
        self.avoided_until_s = now_s + self._backoff_s
        self._note_wait()
        self.tell("cooled", "the provider said 429", self._backoff_s)

    def _note_wait(self) -> None:
        self._clear_from_s = max(self.cooling_until_s, self.avoided_until_s, self.used_up_until_s)


def breaker_obstacle(whose: str, breaker: Breaker, now_s: float) -> Obstacle | None:
    """What an open breaker is to requests."""
    if breaker.admits(now_s):
        return None
    if breaker.state == "half_open":
        return Obstacle(f"{whose} is on trial by another request", math.inf)
    return Obstacle(f"{whose} is out after failures", now_s + breaker.reopens_in_s(now_s))


def _minute_obstacle(
    what: str, counter: RollingCounter | None, limit: int | None, now_s: float
) -> Obstacle | None:
    if limit is None or counter is None or counter.total(now_s) < limit:
        return None
    return Obstacle(
        f"limit of {what} per minute reached", now_s + counter.falls_below_s(limit, now_s)
    )
