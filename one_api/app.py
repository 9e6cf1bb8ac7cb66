"""The composition root: the only place that joins the parts, and that knows all of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator

from flask import Blueprint
from flask_cors import CORS
from typing_extensions import override

from one_api import settings as settings_module
from one_api._version import __version__
from one_api.adapter.base import AdapterContext
from one_api.deployment import Timeouts
from one_api.embedding import Embedder
from one_api.forwarding import Forwarder
from one_api.gateway import Gateway, GatewayOptions
from one_api.policy.auth import KeyRing
from one_api.policy.limits import RateLimiter
from one_api.registry import ModelRegistry
from one_api.runtime import Drain, GatewayFlask, Services, UploadPolicy
from one_api.runtime.asgi import ASGIBridge, BodyLimits
from one_api.settings import Settings
from one_api.tokens import TokenCounter, load_from_cache
from one_api.upstream import Upstream
from one_api.web.anthropic import anthropic_blueprint, anthropic_errors
from one_api.web.completions import completions_blueprint
from one_api.web.embeddings import embeddings_blueprint
from one_api.web.guard import Guard
from one_api.web.health import health_blueprint
from one_api.web.openai import openai_blueprint
from one_api.web.passthrough import ENDPOINT as PASSTHROUGH
from one_api.web.passthrough import passthrough_blueprint
from one_api.web.responses import KEEP_ALIVE_S
from one_api.web.responses_api import ResponsesOptions, responses_blueprint


class _Services(Services):
    """What starts and stops with the event loop."""

    def __init__(
        self, upstream: Upstream, registry: ModelRegistry, limiter: RateLimiter | None
    ) -> None:
        self._upstream = upstream
        self._registry = registry
        self._limiter = limiter

    @override
    async def start(self) -> None:
        await self._upstream.open()
        await self._registry.start()

    @override
    async def stop(self) -> None:
        await self._registry.close()
        await self._upstream.close()
        if self._limiter is not None:
            await self._limiter.close()


def load_registry(settings: Settings, upstream: Upstream) -> ModelRegistry:
    """A registry with every installed adapter that `settings` allow, imported and built."""
    registry = ModelRegistry(
        timeouts=Timeouts(
            connect_s=settings.connect_timeout_s,
            first_content_s=settings.first_content_timeout_s,
            idle_s=settings.idle_timeout_s,
            total_s=settings.total_timeout_s,
        ),
        refresh_s=settings.models_refresh_s,
    )

    def context(name: str) -> AdapterContext:
        return AdapterContext(
            http=upstream,
            logger=logging.getLogger(f"one_api.adapters.{name}"),
            default_max_tokens=settings.max_tokens,
        )

    registry.load(
        environment=settings_module.environment(),
        context=context,
        allowed=settings.one_api_adapters,
    )
    return registry


def _rate_limiter(settings: Settings) -> RateLimiter | None:
    if not settings.rate_limit_enabled:
        return None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    return RateLimiter(settings.rate_limit_requests, redis_url=redis_url)


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
    settings.require_keys_in_public()
    upstream = new_upstream()
    registry = registry or load_registry(settings, upstream)
    drain = Drain(settings.drain_timeout_s)
    limiter = _rate_limiter(settings)
    services = _Services(upstream, registry, limiter)
    app = GatewayFlask(__name__, services=services, drain=drain)
    app.uploads = UploadPolicy(
        endpoints=frozenset({PASSTHROUGH}),
        max_bytes=settings.max_upload_bytes,
        idle_s=settings.body_timeout_s,
    )
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config[KEEP_ALIVE_S] = settings.keep_alive_s
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    counter = _counter(settings)
    gateway = Gateway(registry, _gateway_options(settings), counter)
    keys = KeyRing(key.get_secret_value() for key in settings.api_keys)
    error_formats = (anthropic_errors(settings.api_prefix),)
    Guard(keys, limiter, drain, app.uploads, error_formats=error_formats).install(app)
    app.register_blueprint(health_blueprint(registry, drain, version=__version__))
    for blueprint in _doors(settings, gateway, registry, counter, app.uploads):
        app.register_blueprint(blueprint)
    if settings.cors_origins:
        CORS(
            app,
            origins=list(settings.cors_origins),
            supports_credentials=False,
            expose_headers=["x-request-id", "request-id", "openai-processing-ms", "retry-after"],
            max_age=600,
        )
    return app


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
    )


def _doors(
    settings: Settings,
    gateway: Gateway,
    registry: ModelRegistry,
    counter: TokenCounter,
    uploads: UploadPolicy,
) -> Iterator[Blueprint]:
    """The formats in which clients are served; the last takes what no other does."""
    open_after_s = settings.stream_open_after_s
    forwarder = Forwarder(registry)
    responses_options = ResponsesOptions(
        default_model=settings.default_model,
        strict_params=settings.strict_params,
        stream_open_after_s=open_after_s,
    )
    below_prefix = [
        openai_blueprint(gateway, registry, stream_open_after_s=open_after_s),
        responses_blueprint(gateway, forwarder, responses_options),
        embeddings_blueprint(Embedder(registry, counter)),
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
