"""What orchestrators and people ask first: who is there, is it alive, is it ready."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime, timedelta

import flask

from one_api.counters.fallback import Resilient
from one_api.policy.accounts import AccountBook
from one_api.registry import ModelRegistry
from one_api.routing import DeploymentState, Router, RoutingEvent
from one_api.routing.router import MAX_DEPLOYMENTS
from one_api.runtime import Drain
from one_api.schemas import JsonObject
from one_api.web.responses import json_response


class Standing:
    """How the deployments that were ever asked stand, since when, and what the gateway stands on.

    `note` is to be told of every change of a deployment; all on the event loop.
    """

    def __init__(self, router: Router, book: AccountBook) -> None:
        self._router = router
        self._book = book
        self._changed: OrderedDict[str, datetime] = OrderedDict()

    def note(self, event: RoutingEvent) -> None:
        """A deployment's breaker has changed."""
        if event.kind in ("opened", "half_opened", "closed"):
            self._changed.pop(event.deployment, None)
            self._changed[event.deployment] = datetime.now(UTC)
            if len(self._changed) > MAX_DEPLOYMENTS:
                self._changed.popitem(last=False)

    def to_wire(self) -> JsonObject:
        """All of it as JSON; `since` is null where the breaker never opened."""
        states = self._router.states(self._router.known())
        storage, redis = self._storage(), self._redis()
        are_available = [state.is_available for state in states]
        status = "ok"
        if "degraded" in (storage, redis) or not all(are_available):
            status = "degraded"
        if states and not any(are_available):
            status = "down"
        return {
            "status": status,
            "timestamp": _now(),
            "storage": storage,
            "redis": redis,
            "deployments": [self._deployment(state) for state in states],
        }

    def _deployment(self, state: DeploymentState) -> JsonObject:
        since = self._changed.get(state.name)
        error_age_s = state.last_error_age_s
        return {
            "name": state.name,
            "model": state.model,
            "available": state.is_available,
            "reason": state.reason,
            "breaker": state.breaker,
            "since": None if since is None else _instant(since),
            "reopens_in_s": round(state.reopens_in_s, 3),
            "credential": state.credential,
            "in_flight": state.in_flight,
            "requests": state.requests,
            "failures": state.failures,
            "first_content_ms": _ms(state.first_content_latency_s),
            "whole_reply_ms": _ms(state.whole_reply_latency_s),
            "last_error": None
            if error_age_s is None
            else {
                "code": state.last_error_code,
                "message": state.last_error_message,
                "at": _instant(datetime.now(UTC) - timedelta(seconds=error_age_s)),
            },
        }

    def _storage(self) -> str:
        ledger = self._book.ledger
        if ledger is None:
            return "off"
        return "degraded" if ledger.is_degraded else "ok"

    def _redis(self) -> str:
        counters = self._book.counters
        if not isinstance(counters, Resilient):
            return "off"
        return "degraded" if counters.is_degraded else "ok"


def health_blueprint(
    registry: ModelRegistry, drain: Drain, standing: Standing | None = None, *, version: str
) -> flask.Blueprint:
    """`/`, `/health`, `/health/ready` and, with a `standing`, the operator's `/health/deployments`.

    None of them asks a provider. All but the last await nothing and are plain functions: under WSGI
    they answer whatever the loop does.
    """
    blueprint = flask.Blueprint("health", __name__)

    @blueprint.get("/")
    def index() -> flask.Response:
        rules = flask.current_app.url_map.iter_rules()
        endpoints = sorted(
            f"{method} {rule.rule.replace('<path:model_id>', '{id}')}"
            for rule in rules
            if "<path:path>" not in rule.rule  # what no route of ours takes is passed on
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        )
        return json_response({"name": "one_api", "version": version, "endpoints": endpoints})

    @blueprint.get("/health")
    def alive() -> flask.Response:
        return json_response({"status": "healthy", "timestamp": _now()})

    @blueprint.get("/health/ready")
    def ready() -> flask.Response:
        is_ready = registry.is_ready() and not drain.is_draining
        reason = "draining" if drain.is_draining else "not ready"
        body = {
            "status": "ready" if is_ready else reason,
            "timestamp": _now(),
            "adapters": _adapters(registry),
        }
        return json_response(body, 200 if is_ready else 503)

    if standing is not None:
        _add_standing(blueprint, standing)
    return blueprint


def _add_standing(blueprint: flask.Blueprint, standing: Standing) -> None:
    @blueprint.get("/health/deployments")
    async def deployments() -> flask.Response:
        response = json_response(standing.to_wire())
        response.headers["Cache-Control"] = "no-store"
        return response


def _now() -> str:
    return _instant(datetime.now(UTC))


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _ms(duration_s: float | None) -> int | None:
    return None if duration_s is None else round(duration_s * 1000)


def _adapters(registry: ModelRegistry) -> list[JsonObject]:
    counts = {name: models for name, models, _ in registry.adapters()}
    return [
        {
            "name": entry.name,
            "distribution": entry.distribution,
            "version": entry.version,
            "state": entry.state,
            "reason": entry.reason or None,
            "required": entry.is_required,
            "models": sum(counts.get(name, 0) for name in entry.adapters),
        }
        for entry in registry.entries
    ]
