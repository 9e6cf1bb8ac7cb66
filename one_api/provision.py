"""What the settings give a gateway to ask: installed adapters, and the operator's upstreams."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from one_api import settings as settings_module
from one_api.adapter.base import AdapterContext
from one_api.adapter.clock import SystemClock
from one_api.registry import ModelRegistry
from one_api.settings import Settings
from one_api.telemetry import without_secrets
from one_api.upstreams import Upstreams
from one_api.upstreams_file import read_upstreams

if TYPE_CHECKING:
    from one_api.adapter.http import HTTPTransport
    from one_api.adapter.notices import Notice
    from one_api.routing import RoutingEvent

logger = logging.getLogger(__name__)


def log_notice(adapter: str, notice: Notice) -> None:
    """Tell the operator what an adapter has to say."""
    logger.log(
        logging.INFO if notice.is_recovery else logging.WARNING,
        "adapter %s: %s%s: %s: %s",
        adapter,
        notice.kind,
        " is over" if notice.is_recovery else "",
        notice.subject,
        notice.message,
    )


def log_routing(event: RoutingEvent) -> None:
    """Tell the operator what became of a deployment."""
    is_bad = event.kind in ("opened", "credential_rejected")
    lasts = f" for {event.duration_s:.3g} s" if event.duration_s else ""
    logger.log(
        logging.WARNING if is_bad else logging.INFO,
        "deployment %s: %s%s: %s",
        event.deployment,
        event.kind,
        lasts,
        event.reason,
    )


def read_settings_upstreams(settings: Settings) -> Upstreams | None:
    """What the operator's file of upstreams says, with the aliases of the settings; None without.

    Raises: ConfigurationError that names the file's line.
    """
    aliases = settings.model_aliases
    if settings.upstreams_file is None:
        return Upstreams(aliases=aliases) if aliases else None
    upstreams = read_upstreams(
        settings.upstreams_file, settings_module.environment(), timeouts=settings.timeouts
    )
    return without_secrets(replace(upstreams, aliases={**upstreams.aliases, **aliases}))


def client_keys(settings: Settings, upstreams: Upstreams | None) -> list[str]:
    """The API keys of clients, from the settings and from the file of upstreams.

    Raises: ConfigurationError when there are none though there must be, or one is the admin's.
    """
    authorization = upstreams.authorization if upstreams else ()
    # With an admin key there can be stored keys, and until there are nobody gets in.
    has_keys = bool(authorization) or settings.admin_key is not None
    settings.require_keys_in_public(extra_keys=has_keys)
    settings.require_admin_apart(authorization)
    settings.require_metrics_apart(authorization)
    return [key.get_secret_value() for key in (*settings.api_keys, *authorization)]


def load_registry(
    settings: Settings,
    upstream: HTTPTransport,
    *,
    notify: Callable[[str, Notice], None] = log_notice,
) -> ModelRegistry:
    """A registry with every installed adapter that `settings` allow, and with their upstreams.

    `notify` gets their notices, with the adapter's name, from any thread.
    Raises: ConfigurationError for a wrong file of upstreams.
    """
    clock = SystemClock()
    registry = ModelRegistry(timeouts=settings.timeouts, refresh_s=settings.models_refresh_s)

    def context(name: str) -> AdapterContext:
        return AdapterContext(
            http=upstream,
            logger=logging.getLogger(f"one_api.adapters.{name}"),
            default_max_tokens=settings.max_tokens,
            clock=clock,
            notify=functools.partial(notify, name),
        )

    registry.load(
        environment=settings_module.environment(),
        context=context,
        allowed=settings.one_api_adapters,
    )
    upstreams = read_settings_upstreams(settings)
    if upstreams is not None:
        registry.set_upstreams(upstreams, context)
    return registry
