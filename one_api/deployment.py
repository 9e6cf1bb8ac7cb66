"""A deployment: one way to have one public model answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

StrategyName = Literal[
    "ordered", "weighted", "round_robin", "least_busy", "lowest_latency", "lowest_cost"
]
AfterCommit = Literal["error", "continue"]
OnHangUp = Literal["cancel", "drain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for an upstream, in seconds.

    `first_content_s` runs from sending the request to the first content of the reply (role-only
    deltas and pings do not count); `idle_s` between two reads after that; `total_s` over all.
    The two `failover_` values are how long to wait at first while another deployment is left to
    try: the wait grows from there with what the deployment has shown, up to the plain value.
    """

    connect_s: float = 5.0
    first_content_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0
    failover_first_content_s: float = 5.0
    failover_total_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a deployment charges, in US dollars per million tokens.

    What has no price of its own costs what its kind does: cached and cache-write tokens as
    `input_usd`, those written for an hour as the other cache-write tokens, reasoning tokens as
    `output_usd`. `tiers` are for long prompts, shorter ones first.
    """

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None
    reasoning_usd: Decimal | None = None
    cache_write_1h_usd: Decimal | None = None
    tiers: tuple[PriceTier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """What the whole of a request costs whose prompt has more than so many tokens.

    `price` has no tiers of its own, and takes nothing from that of shorter prompts.
    """

    above_input_tokens: int
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentLimits:
    """What may be asked of a deployment, by each process of the gateway; None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerTerms:
    """When a deployment is left alone, and for how long; None is what holds for all of them.

    After `failures` in a row, or when `ratio` (from 0 to 1) of at least `min_requests` within
    `window_s` failed: for `cooldown_s`, `growth` times as long each time it happens again, up to
    `max_cooldown_s`, or `cooldown_s` where that is more.
    """

    failures: int | None = None
    ratio: float | None = None
    min_requests: int | None = None
    window_s: float | None = None
    cooldown_s: float | None = None
    growth: float | None = None
    max_cooldown_s: float | None = None


NO_TERMS = BreakerTerms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Deployments that are chosen among in one way.

    `after_commit` is what happens when a stream breaks that the client has begun to read.
    `sticky` keeps one conversation with one deployment for as long as that can answer.
    `breaker` holds for deployments that have no terms of their own, and `probe` for those that do
    not say themselves whether they are asked for signs of life.
    """

    name: str = "default"
    strategy: StrategyName = "ordered"
    after_commit: AfterCommit = "error"
    sticky: bool = False
    breaker: BreakerTerms = NO_TERMS
    probe: bool = True


NO_LIMITS = DeploymentLimits()
DEFAULT_GROUP = Group()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Which adapter instance is asked for a public model, under which name, and how patiently.

    Of one group, those of a lower `order` are tried first; within one order the group's strategy
    decides. `context_window` is in tokens. `is_guess` marks an upstream that did not say which
    models it has: that it does not know this one is not the caller's mistake. `on_hang_up` says
    whether a stream whose client has gone is cancelled, or heard out for its usage. `is_probed`
    says whether it is asked for signs of life when nobody else asks it.
    """

    model: str
    adapter: str
    upstream_model: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    group: Group = DEFAULT_GROUP
    weight: float = 1.0
    order: int = 0
    limits: DeploymentLimits = NO_LIMITS
    breaker: BreakerTerms = NO_TERMS
    price: Price | None = None
    context_window: int | None = None
    is_guess: bool = False
    on_hang_up: OnHangUp = "cancel"
    is_probed: bool = True
    #: How logs and headers call this deployment.
    name: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.adapter}/{self.upstream_model}")
