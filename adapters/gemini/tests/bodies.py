"""Bodies for Google, and the messages, functions and schemas that tests ask for them with."""

from __future__ import annotations

from typing import Any

import orjson

from one_api.adapter import Call, ChatCompletionRequest
from one_api_gemini import GeminiAdapter

NEWEST = "gemini-3.8-flash"
PRO_2_5 = "gemini-2.5-pro"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER = {"role": "user", "content": "Hi"}
UNSIGNED = "skip_thought_signature_validator"
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}},
    "$defs": {"city": {"type": "string"}},
    "additionalProperties": False,
}


def request_of(*messages: Any, **fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire({"messages": list(messages) or [USER], **fields})


def body_of(
    adapter: GeminiAdapter, *messages: Any, call: Call | None = None, **fields: Any
) -> dict[str, Any]:
    call = call or Call(model=NEWEST)
    wire = adapter.to_wire(request_of(*messages, **fields), call)
    assert isinstance(wire.body, bytes)
    body: dict[str, Any] = orjson.loads(wire.body)
    return body


def assistant(*calls: tuple[str, str, str], **fields: Any) -> dict[str, Any]:
    tool_calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "tool_calls": tool_calls, **fields}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}
