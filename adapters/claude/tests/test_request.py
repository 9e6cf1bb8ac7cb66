"""A request as a whole: how a plain one is sent, and which ones are refused before that."""

from __future__ import annotations

import pytest

from adapters.claude.tests.wires import (
    ANSWERED,
    ASK,
    CALLED,
    HI,
    OPUS_5_5,
    TWO,
    allowed,
    named,
    refusal,
    to_wire,
    tool,
    user,
)
from one_api.adapter import Call, ChatCompletionRequest, JsonObject
from one_api_claude import ClaudeAdapter


def test_p01_a_plain_request_has_no_sampling_and_a_limit(adapter: ClaudeAdapter) -> None:
    body, _, version = to_wire(adapter, {})
    expected = {
        "model": OPUS_5_5,
        "max_tokens": 16_384,
        "stream": True,
        "messages": [user("hi")],
    }
    assert (expected, "2026-10-21") == (body, version)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"tools": TWO, "tool_choice": named("h")}, "tool_choice"),
        ({"tools": TWO, "tool_choice": allowed("auto")}, "tool_choice"),
        (
            {
                "tools": TWO,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]},
                },
            },
            "tool_choice.allowed_tools.tools[0]",
        ),
        ({"tools": TWO, "functions": [{"name": "f"}]}, "functions"),
        ({"messages": [ASK, ANSWERED]}, "messages[1].tool_call_id"),
        (
            {"messages": [ASK, CALLED, {**ANSWERED, "tool_call_id": "c9"}]},
            "messages[2].tool_call_id",
        ),
        (
            {"messages": [ASK, {"role": "function", "name": "f", "content": "r"}]},
            "messages[1].name",
        ),
        ({"messages": [ASK, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
        ({"thinking": "yes"}, "thinking"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"max_tokens": 5, "max_completion_tokens": 7}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_p16_p21_what_cannot_be_meant_is_refused(
    adapter: ClaudeAdapter, body: JsonObject, param: str
) -> None:
    error = refusal(adapter, body)
    assert (400, param) == (error.status, error.param)


@pytest.mark.parametrize("body", [{"n": 1}, {"n": None}, {"logprobs": False}, {"stop": None}])
def test_p21_values_that_ask_for_nothing_are_accepted(
    adapter: ClaudeAdapter, body: JsonObject
) -> None:
    _, call, _ = to_wire(adapter, body)
    assert call.dropped == []


def test_what_cannot_be_serialised_is_the_callers_mistake(adapter: ClaudeAdapter) -> None:
    deep: JsonObject = {}
    for _ in range(300):
        deep = {"a": deep}
    assert refusal(adapter, {"tools": [tool(parameters=deep)]}).status == 400
    assert refusal(adapter, {"messages": [{"role": "user", "content": "\ud800"}]}).status == 400


def test_the_credential_is_sent_as_anthropic_prefers_it(adapter: ClaudeAdapter) -> None:
    request = ChatCompletionRequest.from_wire({"messages": HI})
    wire = adapter.to_wire(request, Call(model=OPUS_5_5))
    assert (wire.method, wire.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert wire.headers["x-api-key"] == "sk-ant-test"
