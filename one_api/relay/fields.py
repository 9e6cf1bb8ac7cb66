"""Parts of OpenAI-shaped replies that both their forms share."""

from __future__ import annotations

from typing import Any

import orjson

from one_api.adapter.http_errors import error_from_status
from one_api.errors import GatewayError, UpstreamError, UpstreamInvalidResponse
from one_api.events import Usage
from one_api.schemas import JsonObject

NO_CONTENT = "The provider's reply holds no chat completion."
#: The HTTP statuses that codes and types of OpenAI's and Anthropic's errors stand for.
_STATUSES = {
    "api_error": 500,
    "billing_error": 402,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "insufficient_quota": 402,
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "overloaded_error": 529,
    "timeout_error": 504,
}


def tells_error(reply: JsonObject) -> bool:
    """Whether a chunk or a body is an error, or has one in it."""
    return bool(reply.get("error")) or reply.get("object") == "error"


def error_in_event(data: bytes) -> GatewayError:
    """The error in an event that is named so; providers put JSON or plain text there."""
    try:
        return error_in_reply(orjson.loads(data))
    except orjson.JSONDecodeError:
        return error_in_reply(data.decode("utf-8", "replace"))


def error_in_reply(reply: object) -> GatewayError:
    """The error that a provider told inside a reply of status 200, under `error` or bare."""
    error = (reply.get("error") or reply) if isinstance(reply, dict) else reply
    detail: Any = error if isinstance(error, dict) else {"message": error}
    message, code, kind = detail.get("message"), detail.get("code"), detail.get("type")
    text = message if isinstance(message, str) and message else "The provider reported an error."
    names = [name for name in (code, kind) if isinstance(name, str)]
    known = [_STATUSES[name] for name in names if name in _STATUSES]
    status = int(code) if str(code).isdecimal() else next(iter(known), 0)
    name = code if isinstance(code, str) and not code.isdecimal() else None
    if not 400 <= status < 600:
        return UpstreamError(text, code=name)
    return error_from_status(status, text, code=name)


def tells_exactly(wire: JsonObject, usage: Usage) -> bool:
    """Whether the totals in `wire`, of which `usage` was read, may be shown as they are."""
    return bool(
        wire.get("total_tokens") == usage.total_tokens
        and wire.get("prompt_tokens") == usage.prompt_tokens
        and wire.get("completion_tokens") == usage.completion_tokens
    )


def mended_json(reply: JsonObject) -> bytes:
    """A mended reply as JSON.

    Raises: UpstreamInvalidResponse for one nested deeper than can be written.
    """
    try:
        return orjson.dumps(reply)
    except orjson.JSONEncodeError as exc:
        raise UpstreamInvalidResponse("The provider's reply is nested too deeply.") from exc


def mend_reasoning(holder: JsonObject, names: tuple[str, ...]) -> bool:
    """Put reasoning text under exactly the `names` asked for; whether that changed `holder`."""
    text = holder.get("reasoning_content")
    if text is None:
        text = holder.get("reasoning")
    if not isinstance(text, str):
        return False
    wanted = dict.fromkeys(names, text)
    given = {key: holder[key] for key in ("reasoning", "reasoning_content") if key in holder}
    if given == wanted:
        return False
    for key in given:
        del holder[key]
    holder.update(wanted)
    return True
