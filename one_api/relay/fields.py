"""Parts of OpenAI-shaped replies that both their forms share."""

from __future__ import annotations

from typing import Any

from one_api.adapter.http_errors import error_from_status
from one_api.errors import GatewayError, UpstreamError
from one_api.schemas import JsonObject

NO_CONTENT = "The provider's reply holds no chat completion."


def error_in_reply(error: object) -> GatewayError:
    """The error that a provider told inside a reply of status 200."""
    detail: Any = error if isinstance(error, dict) else {"message": error}
    message, code = detail.get("message"), detail.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    text = message if isinstance(message, str) and message else "The provider reported an error."
    name = code if isinstance(code, str) else None
    if status is None and detail.get("type") == "invalid_request_error":
        status = 400
    if status is None:
        return UpstreamError(text, code=name)
    return error_from_status(status, text, code=name)


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
