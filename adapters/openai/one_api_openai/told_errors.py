"""Errors told inside the stream of a response, whose status is 200 all the same.

Source: openai (Python SDK) 3.52.0, types/responses/response_error and response_error_event, read
2026-11-21. The API itself nests the second kind: `{"type": "error", "error": {...}}`.
"""

from __future__ import annotations

from typing import Any, Final

from one_api.adapter import GatewayError, JsonObject, UpstreamError, error_from_status

#: The status that the provider would have answered with, had it known before its reply began.
_STATUSES: Final = {
    "insufficient_quota": 429,
    "overloaded": 503,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "server_is_overloaded": 503,
    "slow_down": 503,
    "vector_store_timeout": 504,
}
_REFUSALS: Final = frozenset(
    {
        "bio_policy",
        "context_length_exceeded",
        "cyber_policy",
        "data_residency_mismatch",
        "empty_image_file",
        "failed_to_download_image",
        "invalid_prompt",
        "misalignment_policy_violation",
    }
)


def error_from_event(event: JsonObject) -> GatewayError:
    """What a `response.failed` or an `error` event means for the caller."""
    told = _error_of(event)
    message, code, kind, param = (
        value if isinstance(value, str) and value else None
        for value in (told.get(key) for key in ("message", "code", "type", "param"))
    )
    text = message or "The provider reported an error."
    status = _status(code, kind)
    if status is None:
        return UpstreamError(text, code=code)
    return error_from_status(status, text, code=code, param=param)


def _error_of(event: JsonObject) -> JsonObject:
    response = event.get("response")
    nested: Any = response.get("error") if isinstance(response, dict) else event.get("error")
    return nested if isinstance(nested, dict) else event


def _status(code: str | None, kind: str | None) -> int | None:
    for name in (code, kind):
        if name in _STATUSES:
            return _STATUSES[name]
    is_of_image = code is not None and ("image" in code or code.startswith("invalid_"))
    if is_of_image or code in _REFUSALS or kind == "invalid_request_error":
        return 400
    return None
