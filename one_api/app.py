"""The composition root: the only place that joins the parts, and that knows all of them."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from flask import Blueprint

from one_api import settings as settings_module
from one_api._version import __version__
from one_api.bindings import Bindings
from one_api.caching import Caching
from one_api.counters import Counters
from one_api.counters.memory import MemoryCounters
from one_api.counters.opening import open_counters
from one_api.embedding import Embedder
from one_api.errors import ConfigurationError
from one_api.failover import Failover
from one_api.forwarding import Forwarder
from one_api.gateway import Gateway, GatewayOptions, HoldBack
from one_api.monitoring import CountedCache, Gauged, Monitoring
from one_api.observe import Observers
from one_api.policy.accounts import AccountBook, Limits
from one_api.policy.auth import NO_KEY_LIMITS, AdminKey, KeyLimits, KeyRing
from one_api.policy.idempotency import Idempotency
from one_api.policy.prices import PriceTable
from one_api.probing import Prober
from one_api.provision import (
    client_keys,
    load_registry,
    log_notice,
    log_routing,
    read_settings_upstreams,
)
from one_api.registry import ModelRegistry
from one_api.routing import Router, RoutingEvent
from one_api.runtime import Admission, Drain, GatewayFlask, UploadPolicy
from one_api.runtime.asgi import ASGIBridge
from one_api.runtime.body import BodyLimits
from one_api.services import GatewayServices, Storage
from one_api.settings import Settings
from one_api.telemetry import Telemetry
from one_api.tokens import TokenCounter, load_from_cache
from one_api.upstream import Upstream
from one_api.upstreams import Upstreams
from one_api.web.admin import admin_blueprint
from one_api.web.admin_values import Stores
from one_api.web.anthropic import anthropic_blueprint, anthropic_errors
from one_api.web.completions import completions_blueprint
from one_api.web.embeddings import embeddings_blueprint
from one_api.web.express import ChatExpress, ExpressOptions
from one_api.web.guard import TELLS_TIMING, Guard
from one_api.web.health import Standing, health_blueprint
from one_api.web.idempotency import REPLAYED, Repeats
from one_api.web.openai import openai_blueprint
from one_api.web.passthrough import ENDPOINT as PASSTHROUGH
from one_api.web.passthrough import passthrough_blueprint
from one_api.web.responses import KEEP_ALIVE_S
from one_api.web.responses_api import ResponsesOptions, responses_blueprint
from one_api.web.routing_headers import MAX_ATTEMPTS
from one_api.web.usage import usage_blueprint

if TYPE_CHECKING:
    from one_api.alerting import Alerting

#: What replies to requests with an idempotency key may take in memory.
_IDEMPOTENCY_BYTES = 32 << 20


async def _reload(
    settings: Settings, registry: ModelRegistry, router: Router, keys: KeyRing
) -> list[str]:
    """Put the operator's file in force as it is now; what changed, in lines.

    Raises: ConfigurationError, and nothing has changed then.
    """
    upstreams = await asyncio.to_thread(read_settings_upstreams, settings)
    if upstreams is None or upstreams.path is None:
        raise ConfigurationError(
            "UPSTREAMS_FILE", "there is no file of upstreams to read again", "a path"
        )
    api_keys = client_keys(settings, upstreams)
    difference = await registry.reload(upstreams)
    keys.replace(api_keys)
    router.forget((*difference.removed, *difference.changed))
    return difference.lines()


def _key_ring(settings: Settings, upstreams: Upstreams | None) -> KeyRing:
    return KeyRing(
        client_keys(settings, upstreams),
        may_route=settings.routing_headers,
        is_public=not (settings.is_loopback or settings.no_auth),
    )


def _account_book(settings: Settings) -> AccountBook:
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    counters = open_counters(
        redis_url, settings.redis_failure, processes=settings.workers, max_bytes=_IDEMPOTENCY_BYTES
    )
    per_key = KeyLimits(
        requests_per_minute=settings.rate_limit_requests if settings.rate_limit_enabled else None,
        tokens_per_minute=settings.rate_limit_tokens,
        concurrent_requests=settings.max_concurrent_requests,
    )
    overall = KeyLimits(
        requests_per_minute=settings.global_rate_limit_requests,
        tokens_per_minute=settings.global_rate_limit_tokens,
        concurrent_requests=settings.global_max_concurrent_requests,
    )
    limits = Limits(
        per_key=NO_KEY_LIMITS if per_key == NO_KEY_LIMITS else per_key,
        overall=NO_KEY_LIMITS if overall == NO_KEY_LIMITS else overall,
    )
    return AccountBook(
        counters,
        None,
        PriceTable.load(settings.prices_file),
        limits,
        max_body_chars=settings.request_log_body_bytes if settings.request_log == "full" else 0,
        is_logging=settings.request_log != "off",
    )


def _caching(settings: Settings, book: AccountBook, monitoring: Monitoring) -> Caching | None:
    if settings.cache == "off":
        return None
    store: Counters = book.counters
    secret = secrets.token_bytes(32)
    if settings.cache == "memory":
        store = MemoryCounters(max_bytes=settings.cache_max_bytes)
    else:
        # Processes find each other's entries by the same names. Whoever can read Redis can read
        # the replies there; KEY_SECRET hides from them what was asked.
        given = settings.key_secret
        secret = given.get_secret_value().encode() if given is not None else b"one_api"
    count = monitoring.note_cache_lookup
    cache = CountedCache(store, secret, ttl_s=settings.cache_ttl_s, count=count)
    return Caching(cache, shares_in_flight=settings.cache_share_in_flight)


def _tell_all(listeners: Iterable[Callable[[RoutingEvent], None]], event: RoutingEvent) -> None:
    for listener in listeners:
        listener(event)


def _alerting(settings: Settings, upstream: Upstream) -> Alerting | None:
    """Who tells the operator what goes wrong; None where there is no channel to tell it through."""
    if not settings.has_alerts:
        return None
    from one_api.alerting import Alerting  # 15 ms of a start, for those that want alerts

    return Alerting(settings, upstream)


def _observers(*parts: Telemetry | Monitoring | Alerting | None) -> Observers:
    return Observers([one for part in parts if part is not None for one in part.observers])


def new_upstream() -> Upstream:
    """The HTTP client that adapters share."""
    return Upstream(user_agent=f"one_api/{__version__}")


def create_app(
    settings: Settings | None = None, *, registry: ModelRegistry | None = None
) -> GatewayFlask:
    """The gateway as a Flask application.

    Without `settings` they come from the environment and `.env`. `registry` replaces the installed
    adapters. Serve it with any WSGI server, or through `create_asgi_app`.
    Raises: ConfigurationError.
    """
    settings = settings or Settings.load()
    telemetry, upstream = Telemetry(settings), new_upstream()
    alerting = _alerting(settings, upstream)
    notify = log_notice if alerting is None else alerting.note_notice
    registry = registry or load_registry(settings, telemetry.transport(upstream), notify=notify)
    keys = _key_ring(settings, registry.upstreams)
    monitoring = Monitoring(settings, None if alerting is None else alerting.desk)
    note_routing = log_routing if alerting is None else alerting.note_routing
    listeners = [note_routing, monitoring.note_routing]
    router = Router(settings.router_options, observe=functools.partial(_tell_all, listeners))
    failover = Failover(registry, router, max_attempts=settings.max_attempts)
    drain = Drain(settings.drain_timeout_s)
    book = _account_book(settings)
    telemetry.keep_bodies(book)
    counter = _counter(settings)
    caching = _caching(settings, book, monitoring)
    gateway = Gateway(failover, _gateway_options(settings), counter, caching)
    stores, url = Stores(), settings.storage_url
    storage = Storage(settings, url, stores) if url is not None else None
    services = GatewayServices(upstream, registry, gateway, book, keys, storage)
    services.reload_file = functools.partial(_reload, settings, registry, router, keys)
    app = GatewayFlask(__name__, services=services, drain=drain)
    _configure(app, settings)
    if alerting is not None:
        alerting.watch(registry=registry, router=router, book=book, stores=stores)
    guard = _guard(app, settings, keys, book, _observers(telemetry, monitoring, alerting))
    app.express = ChatExpress(gateway, guard, _express_options(settings))
    _share(app, settings)
    monitoring.watch(Gauged(registry=registry, router=router, book=book, app=app))
    services.monitoring, services.telemetry, services.alerting = monitoring, telemetry, alerting
    services.prober = Prober(registry, router, settings.probe_interval_s, drain)
    standing = Standing(router, book)
    listeners.append(standing.note)
    app.register_blueprint(monitoring.blueprint())
    app.register_blueprint(admin_blueprint(registry, router, app.reload_all, stores))
    app.register_blueprint(health_blueprint(registry, drain, standing, version=__version__))
    usage = usage_blueprint(stores, book.limits.per_key)
    app.register_blueprint(usage, url_prefix=settings.api_prefix)
    for blueprint in _doors(settings, gateway, failover, counter, app.uploads, book):
        app.register_blueprint(blueprint)
    return app


def _guard(
    app: GatewayFlask,
    settings: Settings,
    keys: KeyRing,
    book: AccountBook,
    observers: Observers,
) -> Guard:
    """Hook in what happens to every request."""
    guard = Guard(
        keys,
        book,
        app.drain,
        app.uploads,
        admin=AdminKey(settings.admin_key.get_secret_value()) if settings.admin_key else None,
        trusted_proxies=settings.trusted_proxies,
    )
    guard.install(app, (anthropic_errors(settings.api_prefix),), observers)
    idempotency = Idempotency(book.counters, ttl_s=settings.idempotency_ttl_s)
    Repeats(idempotency, app.uploads, book.do_later).install(app)
    return guard


def _express_options(settings: Settings) -> ExpressOptions:
    return ExpressOptions(
        path=f"{settings.api_prefix}/chat/completions",
        stream_open_after_s=settings.stream_open_after_s,
        keep_alive_s=settings.keep_alive_s,
        max_attempts=settings.max_attempts,
    )


def _configure(app: GatewayFlask, settings: Settings) -> None:
    """What Flask and its extensions are told of the settings."""
    app.uploads = UploadPolicy(
        endpoints=frozenset({PASSTHROUGH}),
        max_bytes=settings.max_upload_bytes,
        idle_s=settings.body_timeout_s,
    )
    watching = ("/health", "/metrics", "/admin", f"{settings.api_prefix}/metrics")
    app.admission = Admission(settings.max_requests_in_flight, watching)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config[KEEP_ALIVE_S] = settings.keep_alive_s
    app.config[MAX_ATTEMPTS] = settings.max_attempts
    app.config[TELLS_TIMING] = settings.server_timing
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False


def _share(app: GatewayFlask, settings: Settings) -> None:
    """Let pages of the given origins in.

    Hooked in after the guard, so that on the way out it is the guard that has the last word.
    """
    if settings.cors_origins:
        from flask_cors import CORS  # 5 ms of a start, for those that let pages in

        CORS(
            app,
            origins=list(settings.cors_origins),
            supports_credentials=False,
            expose_headers=[
                "x-request-id",
                "request-id",
                "openai-processing-ms",
                "retry-after",
                REPLAYED,
            ],
            max_age=600,
        )


def _counter(settings: Settings) -> TokenCounter:
    counter = TokenCounter(functools.partial(load_from_cache, settings.tiktoken_cache_dir))
    if settings.tiktoken_cache_dir is not None:
        settings_module.export_tiktoken_cache_dir(settings.tiktoken_cache_dir)
        counter.warm()
    return counter


def _gateway_options(settings: Settings) -> GatewayOptions:
    return GatewayOptions(
        strict_params=settings.strict_params,
        emulate_n=settings.emulate_n,
        default_model=settings.default_model,
        reasoning_field=settings.reasoning_field,
        hold_back=HoldBack(tokens=settings.hold_back_tokens, ms=settings.hold_back_ms),
    )


def _doors(
    settings: Settings,
    gateway: Gateway,
    failover: Failover,
    counter: TokenCounter,
    uploads: UploadPolicy,
    book: AccountBook,
) -> Iterator[Blueprint]:
    """The formats in which clients are served; the last takes what no other does."""
    open_after_s = settings.stream_open_after_s
    registry = failover.registry
    shared = None if settings.redis_url is None else book.counters
    forwarder = Forwarder(failover, Bindings(shared=shared))
    responses_options = ResponsesOptions(
        default_model=settings.default_model,
        strict_params=settings.strict_params,
        stream_open_after_s=open_after_s,
    )
    below_prefix = [
        openai_blueprint(gateway, registry, stream_open_after_s=open_after_s),
        responses_blueprint(gateway, forwarder, responses_options),
        embeddings_blueprint(Embedder(failover, counter)),
        completions_blueprint(gateway, stream_open_after_s=open_after_s),
    ]
    if settings.passthrough_enabled:
        below_prefix.append(
            passthrough_blueprint(forwarder, uploads, adapter=settings.passthrough_adapter)
        )
    for blueprint in below_prefix:
        blueprint.url_prefix = settings.api_prefix
        yield blueprint
    yield anthropic_blueprint(
        gateway,
        registry,
        counter,
        forwarder,
        prefix=settings.api_prefix,
        stream_open_after_s=open_after_s,
    )


def create_asgi_app(
    settings: Settings | None = None, *, registry: ModelRegistry | None = None
) -> ASGIBridge:
    """The gateway as an ASGI application; arguments as `create_app`."""
    settings = settings or Settings.load()
    limits = BodyLimits(max_bytes=settings.max_body_bytes, deadline_s=settings.body_timeout_s)
    return ASGIBridge(create_app(settings, registry=registry), limits)
