"""Complete replies in OpenAI's own format."""

from __future__ import annotations

from typing import Any

import orjson

from one_api.converter import ReplyForm, usage_from_wire
from one_api.errors import UpstreamInvalidResponse
from one_api.events import Usage
from one_api.relay.fields import NO_CONTENT, error_in_reply, mend_reasoning


def relay_body(data: bytes, form: ReplyForm) -> tuple[bytes, Usage | None]:
    """A complete reply as it arrived, mended where it must be, and its usage.

    Raises: the provider's error when the body tells one; UpstreamInvalidResponse.
    """
    try:
        reply = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
    if not isinstance(reply, dict):
        raise UpstreamInvalidResponse(NO_CONTENT)
    if reply.get("error"):
        raise error_in_reply(reply["error"])
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamInvalidResponse(NO_CONTENT)
    is_changed = False
    defaults = {
        "id": form.id,
        "object": "chat.completion",
        "created": form.created,
        "model": form.model,
    }
    for key, value in defaults.items():
        if not reply.get(key):
            reply[key] = value
            is_changed = True
    for index, choice in enumerate(choices):
        is_changed = _mend_message(choice, index, form) or is_changed
    usage = usage_from_wire(reply.get("usage"))
    return (orjson.dumps(reply) if is_changed else data), usage


def _mend_message(choice: Any, index: int, form: ReplyForm) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise UpstreamInvalidResponse(NO_CONTENT)
    is_changed = mend_reasoning(message, form.reasoning_names)
    for target, key, value in (
        (choice, "index", index),
        (message, "role", "assistant"),
        (message, "content", None),
    ):
        if key not in target:
            target[key] = value
            is_changed = True
    if not choice.get("finish_reason"):
        choice["finish_reason"] = "tool_calls" if message.get("tool_calls") else "stop"
        is_changed = True
    elif choice["finish_reason"] == "tool_calls" and not message.get("tool_calls"):
        choice["finish_reason"] = "stop"
        is_changed = True
    for call in message.get("tool_calls") or ():
        is_changed = _mend_whole_call(call) or is_changed
    return is_changed


def _mend_whole_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or function.get("arguments"):
        return False
    function["arguments"] = "{}"
    return True
