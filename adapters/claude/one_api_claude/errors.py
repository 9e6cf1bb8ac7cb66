"""Anthropic's errors, told as an HTTP status or inside a stream, as the gateway's.

Source: platform.claude.com, "Errors", stored copies of 2026-08 to 2026-10.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from one_api.adapter import (
    GatewayError,
    UpstreamQuotaExhausted,
    duration_to_wire,
    error_from_status,
    parse_retry_after_s,
)

#: Status by error type, for errors told inside a stream.
STATUSES: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

_NO_CREDIT = re.compile(r"credit balance is too low", re.I)


def error_from_body(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for an answer of another `status` than 200."""
    return _error(
        status,
        message_of(body),
        parse_retry_after_s(headers, now_s=time.time()),
        limits_from_wire(headers, now=datetime.now(UTC)),
    )


def error_from_event(event: Mapping[str, Any]) -> GatewayError:
    """The error for an `error` event of a stream that began with 200."""
    detail = _detail(event)
    kind = detail.get("type")
    status = STATUSES.get(kind, 500) if isinstance(kind, str) else 500
    return _error(status, _message(detail), None)


def message_of(body: bytes) -> str:
    """The provider's own words in an error's body; empty for HTML and other noise."""
    try:
        return _message(_detail(orjson.loads(body)))
    except orjson.JSONDecodeError:
        return ""


def limits_from_wire(headers: Mapping[str, str], *, now: datetime) -> dict[str, str]:
    """Anthropic's rate headers under OpenAI's names; its reset is a time, OpenAI's a duration."""
    told = {}
    for kind in ("requests", "tokens"):
        for value in ("limit", "remaining"):
            given = headers.get(f"anthropic-ratelimit-{kind}-{value}", "")
            if given.isdigit():
                told[f"x-ratelimit-{value}-{kind}"] = given
        try:
            reset = datetime.fromisoformat(headers.get(f"anthropic-ratelimit-{kind}-reset", ""))
            reset_s = max((reset - now).total_seconds(), 0.0)
        except (ValueError, TypeError):
            continue
        told[f"x-ratelimit-reset-{kind}"] = duration_to_wire(reset_s)
    return told


def _error(
    status: int,
    message: str,
    retry_after_s: float | None,
    limit_headers: Mapping[str, str] | None = None,
) -> GatewayError:
    if _NO_CREDIT.search(message):
        return UpstreamQuotaExhausted("The gateway's account with the provider has no credit left.")
    return error_from_status(
        status, message, retry_after_s=retry_after_s, limit_headers=limit_headers
    )


def _detail(envelope: Any) -> Mapping[str, Any]:
    error = envelope.get("error") if isinstance(envelope, Mapping) else None
    return error if isinstance(error, Mapping) else {"message": error}


def _message(detail: Mapping[str, Any]) -> str:
    message = detail.get("message")
    return message if isinstance(message, str) else ""
