"""Complete replies in OpenAI's own format."""

from __future__ import annotations

from typing import Any

import orjson

from one_api.converter import ReplyForm, random_id, usage_from_wire, usage_to_wire
from one_api.errors import UpstreamInvalidResponse
from one_api.events import Usage
from one_api.relay.fields import (
    NO_CONTENT,
    error_in_reply,
    mend_reasoning,
    mended_json,
    tells_error,
    tells_exactly,
)
from one_api.schemas import JsonObject


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
    if tells_error(reply):
        raise error_in_reply(reply)
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamInvalidResponse(NO_CONTENT)
    is_changed = _complete_head(reply, form)
    for index, choice in enumerate(choices):
        is_changed = _mend_message(choice, index, form) or is_changed
    usage = usage_from_wire(reply.get("usage"))
    if usage is not None and not tells_exactly(reply["usage"], usage):
        reply["usage"] = usage_to_wire(usage)
        is_changed = True
    return (mended_json(reply) if is_changed else data), usage


def _complete_head(reply: JsonObject, form: ReplyForm) -> bool:
    """Say what `reply` is where it does not; whether that changed it."""
    get = reply.get
    if get("id") and get("object") and get("created") and get("model"):
        return False
    reply["id"] = get("id") or form.id
    reply["object"] = get("object") or "chat.completion"
    reply["created"] = get("created") or form.created
    reply["model"] = get("model") or form.model
    return True


def _mend_message(choice: Any, index: int, form: ReplyForm) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise UpstreamInvalidResponse(NO_CONTENT)
    tells_reasoning = "reasoning_content" in message or "reasoning" in message
    is_changed = tells_reasoning and mend_reasoning(message, form.reasoning_names)
    if not ("index" in choice and "role" in message and "content" in message):
        choice.setdefault("index", index)
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        is_changed = True
    given = message.get("tool_calls")
    calls = [call for call in given if isinstance(call, dict)] if isinstance(given, list) else []
    if given is not None and given != calls:
        message["tool_calls"] = calls
        is_changed = True
    for call in calls:
        is_changed = _mend_whole_call(call) or is_changed
    told = choice.get("finish_reason")
    if not (isinstance(told, str) and told) or (told == "tool_calls" and not calls):
        choice["finish_reason"] = "tool_calls" if calls else "stop"
        is_changed = True
    return is_changed


def _mend_whole_call(call: JsonObject) -> bool:
    function = call.get("function")
    is_changed = False
    if not (isinstance(call.get("id"), str) and call["id"]):
        call["id"] = random_id("call_", 24)
        is_changed = True
    if call.get("type") is None:
        call["type"] = "function"
        is_changed = True
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if call["type"] == "function" and not (isinstance(arguments, str) and arguments):
        text = orjson.dumps(arguments).decode() if isinstance(arguments, dict) else "{}"
        call["function"] = {**(function if isinstance(function, dict) else {}), "arguments": text}
        is_changed = True
    return is_changed
