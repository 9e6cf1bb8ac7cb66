"""What orchestrators and people ask first: who is there, is it alive, is it ready."""

from __future__ import annotations

from datetime import UTC, datetime

import flask

from one_api.registry import ModelRegistry
from one_api.runtime import Drain
from one_api.schemas import JsonObject
from one_api.web.responses import json_response


def health_blueprint(registry: ModelRegistry, drain: Drain, *, version: str) -> flask.Blueprint:
    """`/`, `/health` and `/health/ready`; none of them asks a provider.

    They await nothing and are plain functions: under WSGI they answer whatever the loop does.
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

    return blueprint


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
