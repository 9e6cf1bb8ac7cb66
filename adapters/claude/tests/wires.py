"""Requests in OpenAI's format, the words they are made of, and the road they take to the wire."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from one_api.adapter import Call, ChatCompletionRequest, GatewayError, JsonObject
from one_api_claude import ClaudeAdapter

OPUS_5_5 = "claude-opus-5-5"
OPUS_5 = "claude-opus-5"
SONNET_5_5 = "claude-sonnet-5-5"
SONNET_5 = "claude-sonnet-5"
OPUS_4_8 = "claude-opus-4-8"
SONNET_4_6 = "claude-sonnet-4-6"
SONNET_4_5 = "claude-sonnet-4-5"
OPUS_4_5 = "claude-opus-4-5"
HAIKU_4_5 = "claude-haiku-4-5-20251001"

HI = [{"role": "user", "content": "hi"}]


def to_wire(
    adapter: ClaudeAdapter, body: JsonObject, call: Call | None = None
) -> tuple[JsonObject, Call, str]:
    """Body, call and API version, by the road the gateway takes: settle, then convert."""
    call = call or Call(model=OPUS_5_5)
    request = ChatCompletionRequest.from_wire({"model": "public", "messages": HI, **body})
    for name in adapter.parameters(call.model).settle(request, strict=call.strict_params):
        call.drop(name)
    wire = adapter.to_wire(request, call)
    assert isinstance(wire.body, bytes)
    return orjson.loads(wire.body), call, wire.headers["anthropic-version"]


def refusal(adapter: ClaudeAdapter, body: JsonObject, call: Call | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        to_wire(adapter, body, call)
    return caught.value


def text(value: str, **more: Any) -> JsonObject:
    return {"type": "text", "text": value, **more}


def user(*values: Any) -> JsonObject:
    return {"role": "user", "content": [text(v) if isinstance(v, str) else v for v in values]}


def assistant(*values: Any) -> JsonObject:
    return {**user(*values), "role": "assistant"}


def call_of(name: str = "f", arguments: str = "{}", id_: str = "c1") -> JsonObject:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str = "f", **more: Any) -> JsonObject:
    return {"type": "function", "function": {"name": name, **more}}


ASK = {"role": "user", "content": "x"}
CALLED = {"role": "assistant", "tool_calls": [call_of()]}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": "r"}
SYSTEM = {"role": "system", "content": "be brief"}

IMAGE = "data:image/JPG;charset=x;base64,AA AA\n"


def image(url: str) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url}}


TWO = [tool("f"), tool("g")]


def named(name: str) -> JsonObject:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> JsonObject:
    tools = [named(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
