"""A look at deployments that nobody asks, so that who is back is known before a client needs it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from one_api.adapter.clock import Clock, SystemClock
from one_api.adapter.health_probe import SupportsHealthProbe, probe
from one_api.deployment import Deployment
from one_api.errors import GatewayError
from one_api.registry import ModelRegistry
from one_api.routing import Router
from one_api.routing.trial import Trial
from one_api.runtime import Drain

logger = logging.getLogger(__name__)

#: How long a provider has for its sign of life, in seconds.
TIMEOUT_S: Final = 10.0
#: Most providers that are looked at at one time.
MAX_AT_ONCE: Final = 4
#: How often in an interval is looked who is idle.
_LOOKS: Final = 4


@dataclass(slots=True)
class _Seen:
    """How many requests a deployment had had, and when that was seen first."""

    requests: int
    since_s: float


@dataclass(slots=True)
class IdleWatch:
    """Knows since when each deployment has had no request; times are monotonic, in seconds."""

    _seen: dict[str, _Seen] = field(default_factory=dict)

    def idle_s(self, name: str, requests: int, now_s: float) -> float:
        """For how long `name` has had no more than `requests`."""
        seen = self._seen.get(name)
        if seen is None or seen.requests != requests:
            seen = self._seen[name] = _Seen(requests, now_s)
        return now_s - seen.since_s

    def begin_anew(self, name: str, requests: int, now_s: float) -> None:
        """`name` was looked at, which made its requests so many."""
        self._seen[name] = _Seen(requests, now_s)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all but `names`."""
        kept = frozenset(names)
        for name in [name for name in self._seen if name not in kept]:
            del self._seen[name]


class Prober:
    """Asks deployments that have had no request for `interval_s` seconds for a sign of life.

    Those are the deployments that were ever asked, and one of each provider that never was, but for
    those that the operator does not want to be asked. What
    comes of it counts for breakers and credentials as a request does. Never asks for a completion,
    and nobody once `drain` has begun, or where the interval is 0. An adapter without a probe of its
    own lists its models, once for all of its deployments.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        router: Router,
        interval_s: float,
        drain: Drain,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._registry = registry
        self._router = router
        self._interval_s = interval_s
        self._drain = drain
        self._clock = clock or SystemClock()
        # Spreads load: nothing secret depends on it.
        self._random = random or Random()  # noqa: S311
        self._idle = IdleWatch()
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look again and again, until `stop`."""
        if self._interval_s > 0:
            self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Look no more; what is under way is broken off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def look(self) -> None:
        """Ask all who are idle now."""
        if self._drain.is_draining:
            return
        targets = await self._targets()
        now_s = self._clock.monotonic_s()
        due: dict[str, list[Deployment]] = {}
        for state, deployment in zip(self._router.states(targets), targets, strict=True):
            idle_s = self._idle.idle_s(deployment.name, state.requests, now_s)
            if idle_s >= self._interval_s and not state.in_flight:
                due.setdefault(self._group_of(deployment), []).append(deployment)
        self._idle.keep(deployment.name for deployment in targets)
        await asyncio.gather(*(self._ask(group) for group in due.values()))

    async def _keep_looking(self) -> None:
        while True:
            share = self._random.uniform(0.5, 1.5) / _LOOKS
            await self._clock.sleep(self._interval_s * share)
            try:
                await self.look()
            except Exception:  # one bad look must not end all that come after it
                logger.exception("idle deployments could not be looked at")

    async def _targets(self) -> list[Deployment]:
        known = {one.name: one for one in self._router.known() if one.upstream_model}
        asked = {one.adapter for one in known.values()}
        for model in await self._registry.list_all_models():
            if model.adapter in asked:
                continue
            for deployment in await self._registry.deployments_for(model.id):
                if deployment.adapter not in asked:
                    asked.add(deployment.adapter)
                    known[deployment.name] = deployment
        return [one for one in known.values() if one.is_probed]

    def _group_of(self, deployment: Deployment) -> str:
        """Whose sign of life stands for whose."""
        try:
            adapter = self._registry.adapter(deployment.adapter)
        except GatewayError:
            return deployment.name
        has_own = isinstance(adapter, SupportsHealthProbe)
        return deployment.name if has_own else f"{deployment.adapter}/"

    async def _ask(self, deployments: list[Deployment]) -> None:
        async with self._places:
            if self._drain.is_draining:
                return
            trials = [
                trial for one in deployments if (trial := self._router.begin(one)) is not None
            ]
            if not trials:
                return
            try:
                await self._judge(trials)
            finally:
                for trial in trials:
                    trial.abandon()  # where it was broken off; else it has ended
                now_s = self._clock.monotonic_s()
                for state in self._router.states([trial.deployment for trial in trials]):
                    self._idle.begin_anew(state.name, state.requests, now_s)

    async def _judge(self, trials: list[Trial]) -> None:
        deployment = trials[0].deployment
        try:
            with self._registry.lease(deployment) as adapter:
                error: GatewayError | None = None
                try:
                    await probe(adapter, deployment.upstream_model, TIMEOUT_S)
                except GatewayError as exc:
                    error = exc
        except GatewayError:
            return  # A reload has removed it: that says nothing of the provider.
        for trial in trials:
            trial.end_probe(error)
