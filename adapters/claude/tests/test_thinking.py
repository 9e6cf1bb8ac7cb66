"""Reasoning effort as each model's thinking; cases are named by what they show."""

from __future__ import annotations

import pytest

from adapters.claude.tests.wires import (
    ANSWERED,
    ASK,
    CALLED,
    HAIKU_4_5,
    HI,
    OPUS_4_5,
    OPUS_4_8,
    OPUS_5_5,
    SONNET_4_6,
    SONNET_5_5,
    TWO,
    to_wire,
)
from one_api.adapter import Call, ChatCompletionRequest, JsonObject, UnsupportedParameter
from one_api_claude import ClaudeAdapter
from one_api_claude.capabilities import ModelCapabilities, ThinkingType
from one_api_claude.to_wire import Conversion, request_to_wire

ADAPTIVE = {"type": "adaptive", "display": "summarized"}


def enabled(budget: int) -> JsonObject:
    return {"type": "enabled", "budget_tokens": budget}


@pytest.mark.parametrize(
    ("model", "body", "thinking", "effort", "limit"),
    [
        pytest.param(OPUS_5_5, {}, None, None, 16_384, id="absent"),
        pytest.param(
            OPUS_5_5, {"include_reasoning": True}, ADAPTIVE, None, 16_384, id="wants-to-read"
        ),
        pytest.param(
            OPUS_5_5, {"reasoning_effort": "high"}, ADAPTIVE, "high", 16_384, id="P17-adaptive"
        ),
        pytest.param(
            HAIKU_4_5, {"reasoning_effort": "high"}, enabled(16_384), None, 32_768, id="P17-budget"
        ),
        pytest.param(
            HAIKU_4_5,
            {"reasoning_effort": "high", "max_tokens": 2_000},
            enabled(1_999),
            None,
            2_000,
            id="budget-stays-below-the-limit",
        ),
        pytest.param(
            OPUS_4_5,
            {"reasoning_effort": "minimal"},
            enabled(1_024),
            "low",
            17_408,
            id="budget-with-effort",
        ),
        pytest.param(
            OPUS_4_8, {"reasoning_effort": "none"}, {"type": "disabled"}, None, 16_384, id="P18-off"
        ),
        pytest.param(
            SONNET_5_5,
            {"reasoning_effort": "none"},
            {"type": "between_tools"},
            None,
            16_384,
            id="P18-between-tools",
        ),
        pytest.param(
            OPUS_5_5, {"reasoning_effort": "none"}, None, "low", 16_384, id="P18-cannot-be-off"
        ),
        pytest.param(
            SONNET_4_6, {"reasoning_effort": "xhigh"}, ADAPTIVE, "high", 16_384, id="P19-xhigh"
        ),
        pytest.param(SONNET_4_6, {"reasoning_effort": "max"}, ADAPTIVE, "max", 16_384, id="max"),
        pytest.param(
            OPUS_5_5,
            {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"},
            {"type": "adaptive"},
            "low",
            16_384,
            id="own-thinking-object-is-sent-as-it-is",
        ),
        pytest.param(
            HAIKU_4_5,
            {"thinking": enabled(4_096)},
            enabled(4_096),
            None,
            20_480,
            id="own-budget-is-room-on-top",
        ),
    ],
)
def test_thinking(
    adapter: ClaudeAdapter,
    model: str,
    body: JsonObject,
    thinking: JsonObject | None,
    effort: str | None,
    limit: int,
) -> None:
    wire, call, _ = to_wire(adapter, body, Call(model=model))
    told = (wire.get("thinking"), wire.get("output_config", {}).get("effort"), wire["max_tokens"])
    assert (thinking, effort, limit) == told
    assert call.dropped == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"max_tokens": 800}, id="P17-no-room"),
        pytest.param({"tools": TWO, "tool_choice": "required"}, id="forced-tool"),
        pytest.param({"messages": [ASK, {"role": "assistant", "content": "A"}]}, id="prefill"),
        pytest.param({"messages": [ASK, CALLED, ANSWERED]}, id="open-calls-without-signature"),
    ],
)
def test_a_budget_that_would_be_refused_is_dropped(
    adapter: ClaudeAdapter, body: JsonObject
) -> None:
    body = {"reasoning_effort": "high", **body}
    wire, call, _ = to_wire(adapter, body, Call(model=HAIKU_4_5))
    assert ("thinking" in wire, call.dropped) == (False, ["reasoning_effort"])


def test_a_model_that_cannot_think_drops_the_effort() -> None:
    capabilities = ModelCapabilities(thinking=frozenset(), efforts=frozenset())
    conversion = Conversion(capabilities=capabilities, default_max_tokens=9, user_key=b"k")
    for effort, dropped in (("high", ["reasoning_effort"]), ("none", [])):
        request = ChatCompletionRequest.from_wire({"messages": HI, "reasoning_effort": effort})
        call = Call(model="acme-1")
        body = request_to_wire(request, call, conversion)
        assert (dropped, False) == (call.dropped, "thinking" in body)


def test_a_model_that_always_thinks_drops_the_wish_not_to() -> None:
    capabilities = ModelCapabilities(efforts=frozenset())
    conversion = Conversion(capabilities=capabilities, default_max_tokens=9, user_key=b"k")
    request = ChatCompletionRequest.from_wire({"messages": HI, "reasoning_effort": "none"})
    call = Call(model="acme-1", strict_params=True)
    with pytest.raises(UnsupportedParameter):
        request_to_wire(request, call, conversion)


def test_a_forced_call_ends_thinking_where_both_do_not_go_together() -> None:
    body = {"tools": TWO, "tool_choice": "required", "reasoning_effort": "max", "messages": HI}
    request = ChatCompletionRequest.from_wire(body)
    told = []
    choices: list[list[ThinkingType]] = [["adaptive", "disabled"], ["adaptive"]]
    for types in choices:
        capabilities = ModelCapabilities(
            thinking=frozenset(types), forced_tools=True, forced_tools_with_thinking=False
        )
        conversion = Conversion(capabilities=capabilities, default_max_tokens=9, user_key=b"k")
        wire = request_to_wire(request, Call(model="acme-1"), conversion)
        told.append((wire.get("thinking"), wire["output_config"]))
    assert told == [({"type": "disabled"}, {"effort": "high"}), (None, {"effort": "max"})]


def test_a_budget_goes_with_signed_open_calls(adapter: ClaudeAdapter) -> None:
    signed = {"type": "thinking", "thinking": "t", "signature": "Sig"}
    messages = [ASK, {**CALLED, "thinking_blocks": [signed]}, ANSWERED]
    body = {"messages": messages, "reasoning_effort": "low"}
    wire, _, _ = to_wire(adapter, body, Call(model=HAIKU_4_5))
    assert enabled(2_048) == wire["thinking"]
