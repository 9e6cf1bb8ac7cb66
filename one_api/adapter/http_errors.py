"""What a provider's HTTP error means for the caller: one table, shared by all HTTP adapters.

Our own credential is never the caller's business: 401, 402 and 403 become 5xx without the
provider's words, which may quote the credential.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from one_api.errors import (
    Conflict,
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    RequestTooLarge,
    UnprocessableRequest,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
)

_CONTEXT = re.compile(
    r"context.length|context.window|maximum context|prompt is too long|too many tokens|"
    r"exceeds? (?:the )?(?:available )?context|input is too long",
    re.I,
)
#: The provider's own error codes that say more than its status.
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error"})

_LIMIT_HEADERS = tuple(
    f"x-ratelimit-{value}-{kind}"
    for value in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
)
#: Statuses that tell of the provider's own trouble.
_FAULTS: dict[int, type[UpstreamError]] = {
    408: UpstreamTimeout,
    429: UpstreamRateLimited,
    503: UpstreamOverloaded,
    504: UpstreamTimeout,
    529: UpstreamOverloaded,
}
#: Statuses that tell of the caller's mistake and have a class of their own.
_REFUSALS: dict[int, type[InvalidRequest]] = {
    409: Conflict,
    413: RequestTooLarge,
    422: UnprocessableRequest,
}


def error_from_reply(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for a reply in OpenAI's error format, or any JSON or text near it."""
    message, code, param = _read_error(body)
    return error_from_status(
        status,
        message,
        code=code,
        param=param,
        retry_after_s=parse_retry_after_s(headers, now_s=time.time()),
        limit_headers={name: headers[name] for name in _LIMIT_HEADERS if name in headers},
    )


def error_from_status(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    limit_headers: Mapping[str, str] | None = None,
) -> GatewayError:
    """The error for a provider's HTTP `status` and its own words.

    `retry_after_s` is what the provider asked for, in seconds; `limit_headers` are the
    `x-ratelimit-*` values it gave, told with a 429.
    """
    text = message or f"The provider answered with HTTP status {status}."
    if status in (401, 403):
        return CredentialRejected("The provider refused the gateway's credential for this model.")
    if status == 402 or code in _QUOTA_CODES:
        return UpstreamQuotaExhausted("The gateway's account with the provider has no credit left.")
    if status in _FAULTS:
        told = limit_headers if status == 429 else None
        return _FAULTS[status](text, retry_after_s=retry_after_s, limit_headers=told)
    if status == 404:
        return ModelNotFound(text, param=param or "model", code=code)
    if 400 <= status < 500:
        if code == ContextWindowExceeded.code or _CONTEXT.search(text):
            return ContextWindowExceeded(text, param=param or "messages")
        return _REFUSALS.get(status, InvalidRequest)(text, param=param, code=code)
    if 500 <= status < 600:
        return UpstreamServerError(text)
    if 300 <= status < 400:
        return UpstreamInvalidResponse("The provider answered with a redirect, not followed here.")
    return UpstreamError(f"The provider answered with the unexpected HTTP status {status}.")


def parse_retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Seconds the provider asks to wait: `retry-after-ms`, else `retry-after` (seconds, date)."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return max(millis / 1000, 0.0)
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(value).timestamp() - now_s, 0.0)
    except (TypeError, ValueError):
        return None


def _number(value: str | None) -> float | None:
    """The finite number in a header's value, if it is one: `float` also reads "nan" and "inf"."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def duration_to_wire(duration_s: float) -> str:
    """`duration_s` as OpenAI writes it in headers: `850ms`, `12s`, `6m0s`."""
    if duration_s < 1:
        return f"{math.ceil(duration_s * 1000)}ms"
    whole = math.ceil(duration_s)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60}s"


def _read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Message, code and param of an error body; HTML and other noise give an empty message."""
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", None, None
    error: Any = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if isinstance(error, str):
        return error, None, None
    if not isinstance(error, dict):
        return "", None, None
    message = error.get("message") or error.get("detail") or ""
    code, param = error.get("code"), error.get("param")
    return (
        message if isinstance(message, str) else orjson.dumps(message).decode(),
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
    )
