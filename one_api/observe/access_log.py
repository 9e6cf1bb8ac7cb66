"""One line for each request, in the log, once all is known of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from typing_extensions import override

from one_api.observe.exchange import Exchange
from one_api.observe.logs import Message
from one_api.observe.observer import Observer

#: Who tells of requests.
LOGGER: Final = "one_api.requests"
#: What probes and scrapers ask, again and again.
_QUIET_ENDS = ("/health", "/health/ready", "/metrics")


class RequestLine(Message):
    """What there is to tell of one request; made into fields by whoever writes the line."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @override
    def __str__(self) -> str:
        exchange = self._exchange
        return f"{exchange.method} {exchange.endpoint or '-'} {exchange.status}"

    @override
    def fields(self) -> Mapping[str, object]:
        """As in docs/logging.md; what this request has not is left out."""
        exchange = self._exchange
        deployment, error, usage = exchange.deployment, exchange.error, exchange.usage
        told = {
            "event": "request",
            "request_id": exchange.request_id,
            "trace_id": getattr(exchange.span, "trace_id", None),
            "key_id": exchange.key_id,
            "method": exchange.method,
            "endpoint": exchange.endpoint or None,
            "model": exchange.model or None,
            "deployment": deployment.name if deployment is not None else None,
            "attempts": len(exchange.attempts) or None,
            "status": exchange.status,
            "error": (error.code or error.type) if error is not None else None,
            "stream": exchange.is_stream,
            "cache": exchange.cache,
            "first_content_ms": _ms(exchange.time_to_first_content_s),
            "total_ms": _ms(exchange.total_s),
            "overhead_ms": _ms(exchange.overhead_s),
        }
        if usage is not None:
            told |= {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "completion_tokens": usage.completion_tokens,
                "reasoning_tokens": usage.reasoning_tokens,
                "usage_estimated": usage.estimated,
                "cost_usd": exchange.cost_microusd / 1_000_000,
            }
        return {name: value for name, value in told.items() if value is not None}


class _Record(logging.LogRecord):
    """A record like another one, but of this moment: made in 1 µs instead of 3.5."""

    def __init__(self, like: logging.LogRecord, message: RequestLine) -> None:
        self.__dict__.update(like.__dict__)
        self.msg = message
        self.created = time.time()


class AccessLog(Observer):
    """Logs each request as it ends: at INFO; with a status of 500 or more as a warning.

    What probes and scrapers ask is told at DEBUG, unless it fails.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger(LOGGER)
        self._records = {
            level: logging.LogRecord(LOGGER, level, "", 0, "", None, None)
            for level in (logging.DEBUG, logging.INFO, logging.WARNING)
        }

    @override
    def ended(self, exchange: Exchange) -> None:
        level = logging.INFO if exchange.status < 500 else logging.WARNING
        if exchange.status < 400 and is_quiet(exchange):
            level = logging.DEBUG
        if self._logger.isEnabledFor(level):
            self._logger.handle(_Record(self._records[level], RequestLine(exchange)))


def is_quiet(exchange: Exchange) -> bool:
    """Whether a probe or a scraper asks."""
    return exchange.endpoint.endswith(_QUIET_ENDS)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 3)
