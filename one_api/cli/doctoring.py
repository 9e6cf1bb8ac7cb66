"""What is well with one adapter and what is not, check by check, as the gateway would run it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import orjson
from typing_extensions import override

from one_api import settings as settings_module
from one_api.adapter.base import API_VERSION, AdapterContext, BaseModelAdapter
from one_api.adapter.health_probe import SupportsHealthProbe, probe
from one_api.app import new_upstream
from one_api.cli.conformance import record_of
from one_api.cli.model_lists import TIMEOUT_S, shortened
from one_api.discovery import AdapterEntry, installed_entry_points
from one_api.errors import GatewayError
from one_api.failover import Failover, RequestContext
from one_api.gateway import CompleteReply, Gateway, GatewayOptions
from one_api.registry import ModelRegistry
from one_api.routing import Router
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest
from one_api.settings import Settings
from one_api.upstream import Upstream

#: What a live call asks, and the most it may be answered with.
_QUESTION: Final = "Say hello."
_MAX_TOKENS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whom to look at; `model` is the one to ask, the first one listed if None."""

    name: str
    is_live: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` says what to do where it is not as it should be."""

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    detail: str
    advice: str = ""

    def to_json(self) -> JsonObject:
        """The check for machines."""
        return asdict(self)


class WatchedEnvironment(Mapping[str, str]):
    """Variables that know by which names they were asked for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._asked: dict[str, None] = {}

    @override
    def __getitem__(self, name: str) -> str:
        self._asked[name] = None
        return self._variables[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    @override
    def __len__(self) -> int:
        return len(self._variables)

    def told(self, adapter: type[BaseModelAdapter]) -> str:
        """The names of the adapter's variables that are set, and of those that are not."""
        declared = [name for names in adapter.Settings.variables().values() for name in names]
        asked = list(self._asked) or declared
        present = [name for name in asked if self._variables.get(name, "").strip()]
        missing = [name for name in asked if name not in present]
        parts = (("set", present), ("not set", missing))
        told = [f"{title}: {', '.join(names)}" for title, names in parts if names]
        return "; ".join(told) or "it has none"


async def examine(order: Order, settings: Settings) -> AsyncIterator[Check]:
    """All checks in their order; what cannot be looked at after a failure is left out."""
    points = [point for point in installed_entry_points() if point.name == order.name]
    if not points:
        known = ", ".join(sorted({point.name for point in installed_entry_points()}))
        advice = f"install its package; installed are: {known or 'none'}"
        yield Check("installed", "failed", "no package declares it", advice)
        return
    upstream = new_upstream()
    environment = WatchedEnvironment(settings_module.environment())
    allowed = settings.one_api_adapters
    registry = ModelRegistry(timeouts=settings.timeouts)
    registry.load(
        environment=environment,
        context=lambda name: _context(name, settings, upstream),
        allowed=[order.name] if allowed is None or order.name in allowed else [],
        found=points,
    )
    entry = registry.entries[0]
    for check in (*_import_checks(registry.entries), *_settings_checks(entry, environment)):
        yield check
    yield _conformance_check(entry)
    if entry.state != "loaded":
        return
    await upstream.open()
    try:
        await registry.start()
        try:
            async for check in _running_checks(order, entry, registry):
                yield check
        finally:
            await registry.close()
    finally:
        await upstream.close()


def _context(name: str, settings: Settings, upstream: Upstream) -> AdapterContext:
    return AdapterContext(
        http=upstream,
        logger=logging.getLogger(f"one_api.adapters.{name}"),
        default_max_tokens=settings.max_tokens,
    )


def _import_checks(entries: Sequence[AdapterEntry]) -> Iterator[Check]:
    """What comes before the settings; the entries are all of one name, and the first is used."""
    entry, *shadowed = entries
    whence = entry.entry_point.value if entry.entry_point else "?"
    found = f"{entry.distribution} {entry.version} ({whence})"
    others = ", ".join(each.distribution for each in shadowed)
    if others:
        advice = f"uninstall {entry.distribution} or {others}"
        yield Check("installed", "failed", f"{found}; of the same name: {others}", advice)
    else:
        yield Check("installed", "ok", found)
    if entry.state == "disabled":
        yield Check("allowed", "failed", entry.reason, "name it there, or unset the variable")
        return
    took = f"{entry.import_s * 1000:.0f} ms"
    if entry.adapter_class is not None:
        yield Check("import", "ok", took)
        yield Check("contract", "ok", f"version {API_VERSION}")
    elif entry.state == "incompatible":
        yield Check("import", "ok", took)
        advice = f"install a version for contract {API_VERSION}"
        yield Check("contract", "failed", entry.reason, advice)
    else:
        advice = f"reinstall {entry.distribution}, or install what it lacks"
        yield Check("import", "failed", f"{entry.reason} ({took})", advice)


def _settings_checks(entry: AdapterEntry, environment: WatchedEnvironment) -> Iterator[Check]:
    if entry.adapter_class is None:
        return
    error = entry.configuration_error
    if error is not None:
        detail = f"{error.variable}: {error.problem}"
        yield Check("settings", "failed", detail, error.expected or f"correct {error.variable}")
        return
    told = environment.told(entry.adapter_class)
    if entry.state == "available":
        yield Check("settings", "failed", told, entry.reason)
        return
    yield Check("settings", "ok", told)
    if entry.state != "loaded":
        yield Check("built", "failed", entry.reason, f"tell the authors of {entry.distribution}")


def _conformance_check(entry: AdapterEntry) -> Check:
    record = record_of(entry)
    command = f"pytest --one-api-adapter={entry.name}"
    if record is None:
        return Check("conformance", "skipped", "none is recorded in the package", f"try: {command}")
    told = record.told(entry)
    if record.kept < record.total:
        detail = f"{told}, not kept: {', '.join(record.broken) or '?'}"
        return Check("conformance", "failed", detail, f"try: {command}")
    advice = f"try: {command}" if record.doubts(entry) else ""
    return Check("conformance", "ok", told, advice)


async def _running_checks(
    order: Order, entry: AdapterEntry, registry: ModelRegistry
) -> AsyncIterator[Check]:
    """The checks of adapters that were started, as many as the entry contributes."""
    if entry.state != "loaded":
        yield Check("started", "failed", entry.reason, "give it what it needs, and ask again")
        return
    started_s = time.perf_counter()
    listed = await registry.list_all_models()
    took = f"{(time.perf_counter() - started_s) * 1000:.0f} ms"
    errors = {name: error for name, _, error in registry.adapters() if error}
    models: dict[str, list[str]] = {name: [] for name in entry.adapters}
    for model in listed:
        models[model.adapter].append(model.info.id)
    for name, ids in models.items():
        whose = f"{name}: " if len(models) > 1 else ""
        if name in errors:
            advice = "check its settings and the network; --model asks without a list"
            yield Check("models", "failed", whose + errors[name], advice)
        else:
            detail = f"{whose}{len(ids)} in {took}: {shortened(ids, 3)}"
            yield Check("models", "ok", detail)
    model_id = _model_to_ask(order.model, models)
    if model_id is None:
        advice = "name one with --model"
        yield Check("live", "failed" if order.is_live else "skipped", "no model is known", advice)
        return
    yield await _health_check(registry, model_id)
    if order.is_live:
        yield await _live_check(registry, model_id)
    else:
        yield Check("live", "skipped", "nothing was asked", "--live asks a model for a few words")


def _model_to_ask(asked: str | None, models: Mapping[str, Sequence[str]]) -> str | None:
    """The full id of the model that was asked for by any of its names, else of the first one.

    `models` are those listed, by the adapter's name; one that is not listed is asked all the same.
    """
    if asked is None:
        return next((f"{name}/{ids[0]}" for name, ids in models.items() if ids), None)
    if any(asked.startswith(f"{name}/") for name in models):
        return asked
    owner = next((name for name, ids in models.items() if asked in ids), next(iter(models)))
    return f"{owner}/{asked}"


async def _health_check(registry: ModelRegistry, model_id: str) -> Check:
    started_s = time.perf_counter()
    try:
        deployment = (await registry.deployments_for(model_id))[0]
        adapter = registry.adapter(deployment.adapter)
        if not isinstance(adapter, SupportsHealthProbe):
            return Check("health", "skipped", "it has no probe: its list of models stands for one")
        await probe(adapter, deployment.upstream_model, TIMEOUT_S)
    except GatewayError as exc:
        return Check("health", "failed", f"{model_id}: {exc.message}", "check its settings")
    return Check("health", "ok", f"{model_id} in {(time.perf_counter() - started_s) * 1000:.0f} ms")


async def _live_check(registry: ModelRegistry, model_id: str) -> Check:
    """A question through the whole gateway, but for its keys and its HTTP."""
    gateway = Gateway(Failover(registry, Router(), max_attempts=1), GatewayOptions())
    started_s = time.perf_counter()
    try:
        request = await _smallest_request(registry, model_id)
        reply = await gateway.chat(request, RequestContext(request_id="doctor"))
    except GatewayError as exc:
        detail = f"{model_id}: {exc.code}: {exc.message}"
        advice = "check its settings, or ask another model with --model"
        return Check("live", "failed", detail, advice)
    took_ms = (time.perf_counter() - started_s) * 1000
    assert isinstance(reply, CompleteReply), "no stream was asked for"  # noqa: S101
    told = orjson.loads(reply.body)
    choice, usage = told["choices"][0], told.get("usage") or {}
    said = (choice["message"].get("content") or "").strip()
    text = f"'{said}'" if said else f"no text within {_MAX_TOKENS} tokens"
    tokens = f"{usage.get('prompt_tokens', '?')} + {usage.get('completion_tokens', '?')} tokens"
    return Check("live", "ok", f"{model_id}: {text}, {tokens}, {took_ms:.0f} ms")


async def _smallest_request(registry: ModelRegistry, model_id: str) -> ChatCompletionRequest:
    """A question that is short, and limited where the model takes a limit."""
    deployment = (await registry.deployments_for(model_id))[0]
    policy = registry.adapter(deployment.adapter).parameters(deployment.upstream_model)
    names = ("max_completion_tokens", "max_tokens")
    limit = {name: _MAX_TOKENS for name in names if policy.honours(name)}
    if len(limit) > 1:
        del limit["max_tokens"]
    messages = [{"role": "user", "content": _QUESTION}]
    return ChatCompletionRequest.from_wire({"model": model_id, "messages": messages, **limit})
