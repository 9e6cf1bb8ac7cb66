"""Google's errors, told with an HTTP status or inside a stream, as the gateway's.

An error is `{"error": {"code", "message", "status", "details"}}`, in some replies the one item of
an array. `details` are typed objects: `ErrorInfo` has a machine-readable reason, `RetryInfo` the
delay to wait.
Source: ai.google.dev, "Troubleshooting guide", and replies quoted in google-gemini/gemini-cli
issues 25198 and 10925, stored copies of 2026-04 to 2026-09.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from one_api.adapter import (
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    error_from_status,
    parse_retry_after_s,
)

#: Statuses by Google's names for them, for errors that tell no number.
STATUSES: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_TOO_LONG = re.compile(r"input token count\b.*\bexceeds the maximum number of tokens", re.I | re.S)
_SECONDS = re.compile(r"\d+(?:\.\d+)?s")


def error_from_body(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for an answer of another `status` than 200."""
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    return _error(
        status, told_error(decoded) or {}, parse_retry_after_s(headers, now_s=time.time())
    )


def error_from_chunk(error: Mapping[str, Any]) -> GatewayError:
    """The error for the `error` object in a reply that began with status 200."""
    code, name = error.get("code"), error.get("status")
    if not isinstance(code, int) or not 400 <= code < 600:
        code = STATUSES.get(name, 500) if isinstance(name, str) else 500
    return _error(code, error, None)


def told_error(reply: Any) -> Mapping[str, Any] | None:
    """The `error` object in `reply`, None when it holds none."""
    if isinstance(reply, list) and reply:
        reply = reply[0]
    error = reply.get("error") if isinstance(reply, Mapping) else None
    return error if isinstance(error, Mapping) else None


def _error(status: int, error: Mapping[str, Any], retry_after_s: float | None) -> GatewayError:
    told = error.get("message")
    message = told if isinstance(told, str) else ""
    if _blames_account(error):
        # With status 400 Google tells of a wrong key, and of a country without its free tier.
        return CredentialRejected("The provider refused the gateway's credential for this model.")
    if status == 400 and _TOO_LONG.search(message):
        return ContextWindowExceeded(message, param="messages")
    delay_s = _retry_delay_s(error)
    return error_from_status(
        status, message, retry_after_s=retry_after_s if delay_s is None else delay_s
    )


def _blames_account(error: Mapping[str, Any]) -> bool:
    if error.get("status") == "FAILED_PRECONDITION":
        return True
    reasons = (detail.get("reason") for detail in _details(error, "google.rpc.ErrorInfo"))
    return any(isinstance(reason, str) and reason.startswith("API_KEY_") for reason in reasons)


def _retry_delay_s(error: Mapping[str, Any]) -> float | None:
    for detail in _details(error, "google.rpc.RetryInfo"):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and _SECONDS.fullmatch(delay):
            return float(delay[:-1])
    return None


def _details(error: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith(kind):
            yield detail
