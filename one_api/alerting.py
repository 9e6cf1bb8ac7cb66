"""What of the whole gateway is news to the operator: its parts watched, its channels told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from one_api.adapter.clock import SystemClock
from one_api.adapter.http import HTTPTransport
from one_api.adapter.notices import Notice
from one_api.counters.fallback import Resilient
from one_api.errors import ConfigurationError, GatewayError
from one_api.observe.alerts import KINDS, BoardRules, Desk, DeskOptions, News
from one_api.observe.alerts.board import SharedBoard
from one_api.observe.alerts.channels import Channel, Feishu, Matrix, Slack, Webhook
from one_api.observe.alerts.levels import Levels
from one_api.observe.alerts.outbox import Post
from one_api.observe.alerts.requests import ErrorRule, RequestWatch
from one_api.observe.observer import Observer
from one_api.policy.accounts import AccountBook
from one_api.provision import log_notice, log_routing
from one_api.registry import ModelRegistry
from one_api.routing import Router, RoutingEvent
from one_api.settings import Settings
from one_api.storage.budgets import StrainedBudget
from one_api.web.admin_values import Stores

logger = logging.getLogger(__name__)

#: Seconds between two looks at what has no event of its own, and at budgets.
LOOK_S: Final = 5.0
BUDGET_LOOK_S: Final = 30.0
#: How long a key that was refused is looked for among the budgets, in seconds: what it has spent
#: comes to the database a moment later.
_UNSEEN_S: Final = 10.0
#: Share of a budget, in percent, from which it is low.
LOW_PERCENT: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The parts of the gateway that may be in trouble."""

    registry: ModelRegistry
    router: Router
    book: AccountBook
    stores: Stores


def channels_of(settings: Settings) -> list[Channel]:
    """Wherever the settings want alerts to go."""
    found: list[Channel] = []
    if settings.alert_feishu_url is not None:
        secret = settings.alert_feishu_secret
        found.append(
            Feishu(
                settings.alert_feishu_url.get_secret_value(),
                secret.get_secret_value() if secret is not None else None,
            )
        )
    token, room = settings.alert_matrix_token, settings.alert_matrix_room
    if settings.alert_matrix_url is not None and token is not None and room is not None:
        found.append(Matrix(settings.alert_matrix_url, room, token.get_secret_value()))
    if settings.alert_slack_url is not None:
        found.append(Slack(settings.alert_slack_url.get_secret_value()))
    if settings.alert_webhook_url is not None:
        secret = settings.alert_webhook_secret
        found.append(
            Webhook(
                settings.alert_webhook_url.get_secret_value(),
                secret.get_secret_value() if secret is not None else None,
            )
        )
    return found


def host_name() -> str:
    """What this machine calls itself, in alerts."""
    return socket.gethostname() or "localhost"


class Alerting:
    """Watches the parts of the gateway, and tells what happens to them; lives on the event loop.

    Only where there is a channel; a gateway without any does without this whole module.
    """

    def __init__(self, settings: Settings, http: HTTPTransport) -> None:
        # Spreads retries: nothing secret depends on it.
        post = Post(http, SystemClock(), Random())  # noqa: S311
        rules = BoardRules(quiet_s=settings.alert_quiet_s, repeat_s=settings.alert_repeat_s)
        options = DeskOptions(
            host=host_name(),
            language=settings.alert_language,
            group_s=settings.alert_group_s,
            max_per_minute=settings.alert_max_per_minute,
        )
        board = SharedBoard(settings.data_directory / "alerts", rules)
        self.desk = Desk(channels_of(settings), board, post, options)
        rule = ErrorRule(
            percent=settings.alert_error_percent,
            window_s=settings.alert_error_window_s,
            least=settings.alert_error_min_requests,
        )
        self._requests = RequestWatch(self.desk.report, rule)
        self._levels = Levels()
        #: Keys that were refused, each with the time until which its budget need not show why.
        self._refused: dict[str, float] = {}
        self._parts: Watched | None = None
        self._has_changed = asyncio.Event()
        self._budgets_due_s = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def observers(self) -> list[Observer]:
        """Who is to be told of each exchange."""
        return [self._requests]

    def watch(
        self, *, registry: ModelRegistry, router: Router, book: AccountBook, stores: Stores
    ) -> None:
        """Watch these from `start` on."""
        self._parts = Watched(registry=registry, router=router, book=book, stores=stores)

    def note_routing(self, event: RoutingEvent) -> None:
        """A deployment's standing has changed; on the event loop."""
        log_routing(event)
        news = _news_of(event)
        if news is not None:
            self.desk.report(news)
            self._has_changed.set()

    def note_notice(self, adapter: str, notice: Notice) -> None:
        """An adapter has something to say; from any thread."""
        log_notice(adapter, notice)
        is_known = notice.kind in KINDS
        subject = f"{adapter} {notice.subject}" if is_known else _subject_of(adapter, notice)
        kind = notice.kind if is_known else "adapter_notice"
        facts = {"reason": notice.message}
        self.desk.report(News(kind, subject, facts, is_recovery=notice.is_recovery))

    async def start(self) -> None:
        """Begin to watch and to tell."""
        await self.desk.start()
        self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Watch no more, and tell what is left, within a few seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.desk.stop()

    async def _keep_looking(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._has_changed.wait()
            self._has_changed.clear()
            try:
                await self._look()
            except Exception:  # one bad look must not end all that come after it
                logger.exception("the gateway's parts could not be looked at")

    async def _look(self) -> None:
        parts = self._parts
        if parts is None:
            return
        now_s = time.monotonic()
        news = self._requests.look()
        news += self._levels.update("model_down", await _models_down(parts), now_s)
        news += self._levels.update("storage_lost", _storage(parts.book), now_s)
        news += self._levels.update("redis_lost", _redis(parts.book), now_s)
        refused = self._requests.take_refused()
        if now_s >= self._budgets_due_s or refused:
            self._budgets_due_s = now_s + BUDGET_LOOK_S
            self._refused.update(dict.fromkeys(refused, now_s + _UNSEEN_S))
            news += await self._budget_news(parts, now_s)
        for one in news:
            self.desk.report(one)

    async def _budget_news(self, parts: Watched, now_s: float) -> list[News]:
        report = parts.stores.budgets
        if report is None:
            return []
        now = datetime.now(UTC)
        periods = {"day": f"day:{now:%Y-%m-%d}", "month": f"month:{now:%Y-%m}", "total": "total"}
        try:
            strained = await report.strained(periods, LOW_PERCENT)
        except GatewayError:
            return []  # That the database is gone is news of its own.
        seen = {budget.key_id for budget in strained}
        self._refused = {
            key: until_s for key, until_s in self._refused.items() if key in seen or now_s < until_s
        }
        if not self._refused.keys() <= seen:
            self._budgets_due_s = now_s  # with the next look
        gone = [one for one in strained if _is_gone(one) or one.key_id in self._refused]
        were_low = self._levels.subjects("budget_low")
        low = [
            news
            for one in strained
            if (news := _budget_trouble("budget_low", one)).subject in were_low or one not in gone
        ]
        exhausted = [_budget_trouble("budget_exhausted", one) for one in gone]
        return [
            *self._levels.update("budget_low", low, now_s),
            *self._levels.update("budget_exhausted", exhausted, now_s),
        ]


def require_channel(settings: Settings, name: str) -> list[Channel]:
    """The channel called `name`, or with "all" each of them.

    Raises: ConfigurationError where there is none.
    """
    channels = channels_of(settings)
    chosen = [channel for channel in channels if name in ("all", channel.name)]
    if not chosen:
        which = "ALERT_*_URL" if name == "all" else f"ALERT_{name.upper()}_URL"
        raise ConfigurationError(which, "nobody is told of alerts there", "a URL")
    return chosen


def _news_of(event: RoutingEvent) -> News | None:
    adapter = event.deployment.partition("/")[0]
    lasts = f" ({event.duration_s:.3g} s)" if event.duration_s else ""
    facts = {"reason": f"{event.reason}{lasts}"}
    match event.kind:
        case "opened":
            return News("breaker_opened", event.deployment, facts)
        case "closed":
            return News("breaker_opened", event.deployment, is_recovery=True)
        case "credential_rejected":
            return News("credential_refused", adapter, facts)
        case "credential_restored":
            return News("credential_refused", adapter, is_recovery=True)
        case _:
            return None


def _subject_of(adapter: str, notice: Notice) -> str:
    return f"{adapter} {notice.kind} {notice.subject}".strip()


async def _models_down(parts: Watched) -> list[News]:
    """Models none of whose deployments is asked for anything but to see whether it is back."""
    router, registry = parts.router, parts.registry
    known = router.known()
    down = {
        state.name
        for state in router.states(known)
        if state.breaker != "closed" or state.credential != "closed"
    }
    if not down:
        return []
    models = {one.model for one in known if one.name in down}
    models |= {model.id for model in await registry.list_all_models()}
    found = []
    for model in sorted(models):
        with contextlib.suppress(GatewayError):  # it is not served any more
            deployments = await registry.deployments_for(model)
            if all(one.name in down for one in deployments):
                found.append(News("model_down", model))
    return found


def _storage(book: AccountBook) -> Iterator[News]:
    if book.ledger is not None and book.ledger.is_degraded:
        yield News("storage_lost", "database", {"pending": book.ledger.pending})


def _redis(book: AccountBook) -> Iterator[News]:
    if isinstance(book.counters, Resilient) and book.counters.is_degraded:
        yield News("redis_lost", "redis")


def _is_gone(budget: StrainedBudget) -> bool:
    return budget.taken_microusd >= budget.budget_microusd


def _budget_trouble(kind: str, budget: StrainedBudget) -> News:
    per = budget.period.partition(":")[0]
    percent = 100 * budget.taken_microusd // max(budget.budget_microusd, 1)
    return News(kind, f"{budget.name} ({budget.key_id}, {per})", {"percent": percent})
