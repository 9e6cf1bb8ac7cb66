"""The numbers of the whole gateway: what requests were counted, and how its parts stand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import flask
from typing_extensions import override

from one_api._version import __version__
from one_api.catalogue import RegisteredModel, is_pattern
from one_api.counters.fallback import Resilient
from one_api.observe import catalogue
from one_api.observe.families import Snapshot
from one_api.observe.metrics import Metrics
from one_api.observe.names import Names
from one_api.observe.observer import Observer
from one_api.observe.workers import WorkerDirectory
from one_api.policy.accounts import AccountBook
from one_api.policy.cache import CachedReply, CacheSlot, ReplyCache, Values
from one_api.registry import ModelRegistry
from one_api.routing import Router, RoutingEvent
from one_api.runtime import GatewayFlask
from one_api.settings import Settings
from one_api.upstreams import Upstreams
from one_api.web.metrics import metrics_blueprint

if TYPE_CHECKING:
    from one_api.observe.alerts import Desk
    from one_api.observe.listener import MetricsListener

logger = logging.getLogger(__name__)

#: Seconds between two looks at what changes: models, siblings, the listener's address.
_PERIOD_S = 1.0
_BREAKER_STATES = ("closed", "open", "half_open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauged:
    """The parts of the gateway that have a standing of their own."""

    registry: ModelRegistry
    router: Router
    book: AccountBook
    app: GatewayFlask


class CountedCache(ReplyCache):
    """A cache whose look-ups are told to `count`."""

    def __init__(
        self, store: Values, secret: bytes, *, ttl_s: float, count: Callable[[], None]
    ) -> None:
        super().__init__(store, secret, ttl_s=ttl_s)
        self._count = count

    @override
    async def get(self, slot: CacheSlot) -> CachedReply | None:
        self._count()
        return await super().get(slot)


class Monitoring:
    """Tells the metrics of this process and of its siblings; lives on the event loop.

    Where the settings let nobody read any, nothing is counted.
    """

    def __init__(self, settings: Settings, desk: Desk | None) -> None:
        """With what `desk` counts, where anybody is told of alerts."""
        self._metrics = Metrics(Names())
        self._desk = desk
        self._is_on = settings.has_metrics
        self._parts: Gauged | None = None
        self._directory = settings.metrics_dir
        self._token = settings.metrics_token
        self._paths = ("/metrics", f"{settings.api_prefix}/metrics")
        self._workers: WorkerDirectory | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._writing = asyncio.Lock()
        self._is_unwritten = False
        self._listener: MetricsListener | None = None
        if settings.metrics_address is not None:
            from one_api.observe.listener import MetricsListener  # a server: most need no second

            self._listener = MetricsListener(*settings.metrics_address, self._paths, self.render)

    @property
    def observers(self) -> list[Observer]:
        """Who is to be told of each exchange."""
        return [self._metrics] if self._is_on else []

    def watch(self, parts: Gauged) -> None:
        """Tell how these stand from now on; before `start`."""
        self._parts = parts

    def note_routing(self, event: RoutingEvent) -> None:
        """A deployment's standing has changed."""
        self._metrics.note_routing(event.deployment, event.kind)

    def note_cache_lookup(self) -> None:
        """A request is looked for in the cache."""
        self._metrics.note_cache_lookup()

    def blueprint(self) -> flask.Blueprint:
        """What answers for metrics at the gateway's own address."""
        token = self._token.get_secret_value() if self._token is not None else None
        return metrics_blueprint(self.render, token, paths=self._paths)

    async def start(self) -> None:
        """Take a place among the siblings, and look at what changes from now on.

        Raises: OSError when the directory cannot be written.
        """
        if self._parts is None or not self._is_on:
            return
        if self._directory is not None:
            self._workers = await asyncio.to_thread(WorkerDirectory, self._directory)
        registry = self._parts.registry
        self._know(registry, ())
        self._tasks = [
            asyncio.create_task(self._keep_names(registry)),
            asyncio.create_task(self._keep_published()),
        ]

    async def stop(self) -> None:
        """Leave what was counted to the siblings; after everything that counts has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
        if self._workers is not None:
            await self._publish(self._workers)
            self._workers.close()
            self._workers = None

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as text and its content type, which may be chosen by an `Accept` header."""
        snapshot = self.gather()
        workers = self._workers
        if workers is not None:
            # Written as well: whoever is asked next tells no less than this.
            await self._publish(workers, snapshot)
            async with self._writing:
                await asyncio.to_thread(self._add_others, snapshot, workers)
        # With Prometheus' library, which takes 1 MB of processes that nobody scrapes.
        from one_api.observe.exposition import expose

        return await asyncio.to_thread(expose, snapshot, accept)

    def gather(self) -> Snapshot:
        """The metrics of this process."""
        from one_api.observe.exposition import add_process, add_readings  # see `render`

        snapshot = self._metrics.snapshot()
        add_process(snapshot, __version__)
        if self._desk is not None:
            self._desk.add_counts(snapshot)
        if self._parts is not None:
            add_readings(snapshot, self._parts.registry.readings())
            self._add_deployments(snapshot, self._parts.router)
            _add_foundations(snapshot, self._parts)
        return snapshot

    def _add_deployments(self, snapshot: Snapshot, router: Router) -> None:
        name_of = self._metrics.names.deployment
        known = router.known()
        for deployment, state in zip(known, router.states(known), strict=True):
            told = name_of(deployment)
            snapshot.add(catalogue.DEPLOYMENT_IN_FLIGHT, (told,), state.in_flight)
            snapshot.add(catalogue.DEPLOYMENT_AVAILABLE, (told,), int(state.is_available))
            for name in _BREAKER_STATES:
                snapshot.add(catalogue.BREAKER, (told, name), int(state.breaker == name))
                snapshot.add(catalogue.CREDENTIAL, (told, name), int(state.credential == name))
        snapshot.add(catalogue.RETRIES_IN_FLIGHT, (), router.retry_budget.retrying)
        snapshot.add(catalogue.RETRIES_ALLOWED, (), router.retry_budget.limit)

    # -- in the background

    async def _keep_names(self, registry: ModelRegistry) -> None:
        while True:
            self._know(registry, await registry.list_all_models())
            await asyncio.sleep(_PERIOD_S)

    async def _keep_published(self) -> None:
        while True:
            if self._listener is not None:
                await self._listener.try_open()
            if self._workers is not None:
                await self._publish(self._workers)
            await asyncio.sleep(_PERIOD_S)

    async def _publish(self, workers: WorkerDirectory, snapshot: Snapshot | None = None) -> None:
        async with self._writing:
            try:
                await asyncio.to_thread(workers.write, snapshot or self.gather())
            except OSError as exc:
                if not self._is_unwritten:
                    logger.error("metrics cannot be written for the other processes: %s", exc)
                self._is_unwritten = True
            else:
                self._is_unwritten = False

    def _add_others(self, snapshot: Snapshot, workers: WorkerDirectory) -> None:
        try:
            snapshot.merge(workers.others())
        except OSError as exc:
            logger.error("metrics of the other processes cannot be read: %s", exc)

    def _know(self, registry: ModelRegistry, listed: Iterable[RegisteredModel]) -> None:
        """Let labels name what is configured, and the models that are `listed`."""
        upstreams = registry.upstreams or Upstreams()
        renamed = {entry.name: entry.model_map for entry in upstreams.entries}
        offered = {
            (status.name, public)
            for status in registry.describe_upstreams()
            for public in status.models
            if not is_pattern(public)
        }
        models = {name for name in upstreams.aliases if not is_pattern(name)}
        for model in listed:
            models.add(model.id)
            offered.add((model.adapter, model.info.id))
        for member, public in offered:
            models |= {public, f"{member}/{public}"}
        self._metrics.names.know(
            models,
            (
                f"{member}/{renamed.get(member, {}).get(public, public)}"
                for member, public in offered
            ),
        )


def _add_foundations(snapshot: Snapshot, parts: Gauged) -> None:
    ledger, counters = parts.book.ledger, parts.book.counters
    if ledger is not None:
        snapshot.add(catalogue.LEDGER_PENDING, (), ledger.pending)
        snapshot.add(catalogue.LEDGER_LOST, (), ledger.lost)
        snapshot.add(catalogue.STORAGE_DEGRADED, (), int(ledger.is_degraded))
    if isinstance(counters, Resilient):
        snapshot.add(catalogue.REDIS_DEGRADED, (), int(counters.is_degraded))
    snapshot.add(catalogue.DRAINING, (), int(parts.app.drain.is_draining))
    snapshot.add(catalogue.TURNED_AWAY, (), parts.app.admission.turned_away)
