"""The log and the traces of this process, as the settings say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from one_api import settings as settings_module
from one_api._version import __version__
from one_api.errors import ConfigurationError
from one_api.observe.access_log import AccessLog
from one_api.observe.log_road import open_road
from one_api.observe.logs import REDACTOR
from one_api.settings import Settings

if TYPE_CHECKING:
    from one_api.adapter.http import HTTPTransport
    from one_api.observe.observer import Observer
    from one_api.observe.tracing import Tracing
    from one_api.policy.accounts import AccountBook
    from one_api.upstreams import Upstreams

#: Names of variables and options whose values are secrets, most of them adapters' credentials.
_SECRET_NAME = re.compile(r"(?:key|keys|token|secret|password|passwd|credentials?|auth)$", re.I)


def open_log(settings: Settings) -> None:
    """Lead all that this process logs to standard error, without the secrets of its settings."""
    learn_secrets(settings)
    told = settings.log_format
    open_road(None if told == "auto" else told, is_debug=settings.debug)


def learn_secrets(settings: Settings) -> None:
    """Keep whatever is secret in the environment and the settings out of the log."""
    variables = settings_module.environment().items()
    REDACTOR.learn(value for name, value in variables if _SECRET_NAME.search(name))
    REDACTOR.learn(settings.secrets())


def without_secrets(upstreams: Upstreams) -> Upstreams:
    """`upstreams`, whose keys are kept out of the log from now on."""
    REDACTOR.learn(_secrets_of(upstreams))
    return upstreams


def _secrets_of(upstreams: Upstreams) -> Iterator[str]:
    for key in upstreams.authorization:
        yield key.get_secret_value()
    for entry in upstreams.entries:
        if entry.settings.api_key is not None:
            yield entry.settings.api_key.get_secret_value()
        for name, value in entry.settings.options.items():
            if _SECRET_NAME.search(name):
                yield value


class Telemetry:
    """Tells of requests in the log and in traces; starts before they come and stops after them.

    Raises: ConfigurationError when traces are wanted and OpenTelemetry is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        learn_secrets(settings)
        self._settings = settings
        self._tracing = _open_tracing(settings)
        #: Whoever is to be told of requests: traces first, whose ids the log tells.
        self.observers: list[Observer] = []
        if self._tracing is not None:
            self.observers.append(self._tracing)
        if settings.log_requests:
            self.observers.append(AccessLog())

    def transport(self, http: HTTPTransport) -> HTTPTransport:
        """`http`; where traces are wanted, with its calls in them."""
        return http if self._tracing is None else self._tracing.transport(http)

    def keep_bodies(self, book: AccountBook) -> None:
        """Have `book` keep what is asked and answered, where traces are to have it."""
        if self._settings.traces_bodies and not book.max_body_chars:
            book.max_body_chars = self._settings.request_log_body_bytes
            book.logs_bodies = False

    def start(self) -> None:
        """Begin, again if need be."""
        if self._tracing is not None:
            self._tracing.open()

    async def stop(self) -> None:
        """Send what is left, but not for ever."""
        if self._tracing is not None:
            await self._tracing.close()


def _open_tracing(settings: Settings) -> Tracing | None:
    if not settings.tracing:
        return None
    settings_module.export_otel_variables()
    try:
        from one_api.observe import tracing  # an extra: most do without traces
    except ImportError as exc:
        raise ConfigurationError(
            "TRACING",
            "OpenTelemetry is not installed",
            "pip install 'one-api-gateway[otel]', or TRACING=false",
        ) from exc
    return tracing.Tracing(
        lambda: tracing.otlp_provider(__version__),
        redactor=REDACTOR,
        tells_bodies=settings.traces_bodies,
    )
