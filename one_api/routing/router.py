"""The router: deployments in, a plan out; trials in, knowledge out."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from random import Random

from one_api.deployment import Deployment, StrategyName, Timeouts
from one_api.routing.breaker import Breaker
from one_api.routing.events import Observer, ignore
from one_api.routing.health import Health, Obstacle, Surroundings, breaker_obstacle
from one_api.routing.options import RouterOptions
from one_api.routing.plan import Plan, Skipped
from one_api.routing.retry_budget import RetryBudget
from one_api.routing.state import DeploymentState, describe
from one_api.routing.strategies import STRATEGIES, Candidate, Draw, home_of
from one_api.routing.trial import Trial

#: Most deployments whose state is kept: their names can come from clients.
MAX_DEPLOYMENTS = 4_096
#: How many old states are looked at when one must go.
_MAX_EVICTION_LOOKS = 16

_DEFAULT_OPTIONS = RouterOptions()


class Router:
    """Knows how deployments do, and decides from that who is asked next.

    `clock` gives monotonic seconds, `wall_clock` seconds since 1970. `observe` is called for each
    change of a deployment's standing, once it has happened; it must not raise.
    """

    def __init__(
        self,
        options: RouterOptions = _DEFAULT_OPTIONS,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Random | None = None,
        observe: Observer = ignore,
    ) -> None:
        self.retry_budget = RetryBudget(ratio=options.retry_ratio, min_retries=options.min_retries)
        self._surroundings = Surroundings(options, clock, wall_clock, observe)
        self._clock = clock
        # Spreads load: nothing secret depends on it.
        self._random = random or Random()  # noqa: S311
        # The one asked last is at the end.
        self._healths: OrderedDict[str, Health] = OrderedDict()
        self._credentials: dict[str, Breaker] = {}
        self._turns: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def plan(
        self,
        deployments: Sequence[Deployment],
        *,
        affinity: str | None = None,
        strategy: StrategyName | None = None,
    ) -> Plan:
        """Whom to ask: model by model and group by group as they first appear, then by `order`.

        Within one order the group's strategy decides, or `strategy` where it is given; `affinity`
        names a conversation, which groups that are sticky keep with one deployment. Whatever
        cannot be asked now is skipped. Where that is all, the one that is nearest to recovery is
        listed as a last resort, unless its provider asked to wait or a limit forbids it.
        """
        now_s = self._clock()
        if len(deployments) == 1:  # as most plans
            health = self._healths.get(deployments[0].name)
            if health is not None and health.is_clear(deployments[0].limits, now_s):
                return Plan((deployments[0],))
        tiers: dict[tuple[str, str], dict[int, list[Deployment]]] = {}
        avoided: list[tuple[Deployment, Obstacle]] = []
        skipped: list[Skipped] = []
        for deployment in deployments:
            found = self._obstacle(deployment, now_s)
            if found is None:
                tier = tiers.setdefault((deployment.model, deployment.group.name), {})
                tier.setdefault(deployment.order, []).append(deployment)
                continue
            obstacle, is_hard = found
            if not is_hard:
                avoided.append((deployment, obstacle))
            skipped.append(_skipped(deployment, obstacle, now_s))
        if not tiers and avoided:
            return _last_resort(avoided, skipped)
        listed: list[Deployment] = []
        for orders in tiers.values():
            for order in sorted(orders):
                listed += self._sorted(orders[order], affinity, strategy, now_s)
        return Plan(tuple(listed), tuple(skipped))

    def begin(self, deployment: Deployment, *, is_last_resort: bool = False) -> Trial | None:
        """The permission to ask `deployment` now; None where it may not be asked any more.

        A last resort is asked in spite of its breaker and its credential, but never before the
        time that its provider asked to wait for, nor past a limit.
        """
        now_s = self._clock()
        health = self._health(deployment)
        if not health.is_clear(deployment.limits, now_s):
            if health.hard_obstacle(deployment.limits, now_s) is not None:
                return None
            if not is_last_resort and not (
                health.breaker.admits(now_s) and health.credential.admits(now_s)
            ):
                return None
        return Trial(deployment, health, now_s)

    def timeouts(self, deployment: Deployment, *, has_other: bool) -> Timeouts:
        """How long to wait for `deployment`; less where another one is left to try.

        What it has shown then decides, between its `failover_` values and the plain ones.
        """
        if not has_other:
            return deployment.timeouts
        health = self._healths.get(deployment.name) or self._unknown(deployment)
        return health.timeouts.effective(deployment.timeouts)

    def states(self, deployments: Iterable[Deployment]) -> list[DeploymentState]:
        """Everything that is known of `deployments`, in their order."""
        now_s = self._clock()
        return [
            describe(one, self._healths.get(one.name) or self._unknown(one), now_s)
            for one in deployments
        ]

    def known(self) -> list[Deployment]:
        """Whoever was asked and is remembered, the one asked last at the end."""
        return [health.deployment for health in self._healths.values()]

    def forget(self, adapters: Iterable[str]) -> None:
        """Forget all deployments of these adapter instances: they are not what they were."""
        gone = frozenset(adapters)
        for adapter in gone:
            self._credentials.pop(adapter, None)
        for health in [one for one in self._healths.values() if one.adapter in gone]:
            health.is_forgotten = True
            del self._healths[health.name]

    def _obstacle(self, deployment: Deployment, now_s: float) -> tuple[Obstacle, bool] | None:
        """What keeps requests away from `deployment`, and whether it forbids them."""
        health = self._healths.get(deployment.name)
        if health is None:
            credential = self._credentials.get(deployment.adapter)
            if credential is None:
                return None
            obstacle = breaker_obstacle("its credential", credential, now_s)
            return None if obstacle is None else (obstacle, False)
        if health.is_clear(deployment.limits, now_s):
            return None
        obstacle = health.hard_obstacle(deployment.limits, now_s)
        is_hard = obstacle is not None
        if obstacle is None:
            obstacle = health.soft_obstacle(now_s)
        if obstacle is None:
            return None
        # Else it could be evicted while it is wanted, and what keeps requests away with it.
        self._healths.move_to_end(health.name)
        return obstacle, is_hard

    def _sorted(
        self,
        tier: list[Deployment],
        affinity: str | None,
        strategy: StrategyName | None,
        now_s: float,
    ) -> list[Deployment]:
        if len(tier) == 1:
            return tier
        group = tier[0].group
        name = strategy or group.strategy
        if name != "ordered":
            draw = Draw(self._random, self._next_turn(tier[0]))
            candidates = [self._candidate(deployment, now_s) for deployment in tier]
            tier = [one.deployment for one in STRATEGIES[name](candidates, draw)]
        if affinity is not None and group.sticky:
            tier.insert(0, tier.pop(home_of(affinity, tier)))
        return tier

    def _candidate(self, deployment: Deployment, now_s: float) -> Candidate:
        health = self._healths.get(deployment.name)
        if health is None:
            return Candidate(deployment)
        return Candidate(deployment, health.in_flight, health.latency_s(now_s))

    def _next_turn(self, first: Deployment) -> int:
        tier = (first.model, first.group.name, first.order)
        turn = self._turns.pop(tier, -1) + 1
        self._turns[tier] = turn
        if len(self._turns) > MAX_DEPLOYMENTS:
            self._turns.popitem(last=False)
        return turn

    def _health(self, deployment: Deployment) -> Health:
        name = deployment.name
        health = self._healths.get(name)
        if health is not None:
            self._healths.move_to_end(name)
            return health
        credential = self._credentials.get(deployment.adapter)
        if credential is None:
            credential = self._credentials[deployment.adapter] = self._surroundings.credential()
        self._make_room()
        health = self._healths[name] = Health(deployment, credential, self._surroundings)
        return health

    def _make_room(self) -> None:
        """Forget who was not wanted for the longest time; whoever is being asked stays."""
        for _ in range(_MAX_EVICTION_LOOKS):
            if len(self._healths) < MAX_DEPLOYMENTS:
                return
            name, oldest = next(iter(self._healths.items()))
            if oldest.in_flight:
                self._healths.move_to_end(name)
            else:
                del self._healths[name]

    def _unknown(self, deployment: Deployment) -> Health:
        """The state of a deployment that was never asked; not kept."""
        credential = self._credentials.get(deployment.adapter) or self._surroundings.credential()
        return Health(deployment, credential, self._surroundings)


def _skipped(deployment: Deployment, obstacle: Obstacle, now_s: float) -> Skipped:
    return Skipped(deployment, obstacle.reason, obstacle.wait_s(now_s), obstacle.is_rate_limited)


def _last_resort(avoided: list[tuple[Deployment, Obstacle]], skipped: list[Skipped]) -> Plan:
    """The one that is nearest to recovery, the first listed of several.

    One that is on trial may be back at any moment.
    """
    deployment, _ = min(avoided, key=lambda pair: _recovery_s(pair[1]))
    rest = tuple(one for one in skipped if one.deployment is not deployment)
    return Plan((deployment,), rest, is_last_resort=True)


def _recovery_s(obstacle: Obstacle) -> float:
    return obstacle.until_s if math.isfinite(obstacle.until_s) else -math.inf
