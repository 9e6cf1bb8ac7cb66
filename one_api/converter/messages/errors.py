"""Errors in Anthropic's format: as a body, and as an event inside a stream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orjson

from one_api.errors import ContextWindowExceeded

if TYPE_CHECKING:
    from one_api.errors import GatewayError
    from one_api.schemas import JsonObject

#: What stands before the body of an error that is told inside a stream.
ERROR_PREFIX: Final = b"event: error\ndata: "

#: Statuses that have another number in Anthropic's world.
_STATUSES: Final = {503: 529}
_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: Clients that shorten a conversation look for these words.
_TOO_LONG: Final = "prompt is too long"
#: OpenAI's words: the model's limit, then what was asked for.
_COUNTS: Final = re.compile(
    r"maximum context length is (\d+) tokens.*?(?:resulted in|requested) (?:about )?(\d+) tokens",
    re.I | re.S,
)


def status_of(error: GatewayError) -> int:
    """The HTTP status that tells of `error`: overload is 529."""
    return _STATUSES.get(error.status, error.status)


def error_to_wire(error: GatewayError, request_id: str) -> JsonObject:
    """Anthropic's error body."""
    status = status_of(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": _message(error)},
        "request_id": request_id,
    }


def error_event(error: GatewayError, request_id: str) -> bytes:
    """The event that tells of `error` inside a stream; nothing follows it."""
    return ERROR_PREFIX + orjson.dumps(error_to_wire(error, request_id)) + b"\n\n"


def _message(error: GatewayError) -> str:
    is_too_long = error.code == ContextWindowExceeded.code
    if not is_too_long or error.message.lower().startswith(_TOO_LONG):
        return error.message
    counts = _COUNTS.search(error.message)
    if counts is None:
        return f"{_TOO_LONG}: {error.message}"
    return f"{_TOO_LONG}: {counts.group(2)} tokens > {counts.group(1)} maximum"
