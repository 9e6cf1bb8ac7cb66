"""A complete reply is the fold of its events."""

from __future__ import annotations

import pytest

from one_api.converter import CompletionFold
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import (
    Annotation,
    Event,
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.schemas import JsonObject
from tests.converter.replies import citation, folded, form, logprobs
from tests.converter.test_chunks import OUT_OF_CONTRACT

CALL = ToolCallDelta(0, "call_a", "f")
STOP = Finish("stop")


def test_completion_has_every_field_that_openai_sends() -> None:
    reply = folded(
        [
            Start(id="chatcmpl-theirs", service_tier="default", system_fingerprint="fp_1"),
            TextDelta("Hel"),
            KeepAlive(),
            TextDelta("lo"),
            STOP,
            UsageReport(
                Usage(
                    prompt_tokens=9,
                    completion_tokens=4,
                    cached_tokens=3,
                    cache_write_tokens=2,
                    reasoning_tokens=1,
                )
            ),
        ]
    )

    message: JsonObject = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": [],
    }
    assert {
        "id": "chatcmpl-theirs",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {
                "cached_tokens": 3,
                "cache_write_tokens": 2,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 1,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
    } == reply


def test_content_is_null_only_beside_calls() -> None:
    with_calls = folded([CALL, Finish("tool_calls")])
    empty = folded([Start(), STOP])

    assert None is with_calls["choices"][0]["message"]["content"]
    assert "" == empty["choices"][0]["message"]["content"]


def test_choices_come_in_order_whatever_the_order_of_events() -> None:
    reply = folded([TextDelta("b", 1), TextDelta("a"), Finish("length", 1), TextDelta("a"), STOP])

    told = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in reply["choices"]]
    assert [(0, "aa", "stop"), (1, "b", "length")] == told


@pytest.mark.parametrize(
    ("reason", "arguments"), [("tool_calls", "{}"), ("stop", "{}"), ("length", "")]
)
@pytest.mark.parametrize("functions", [False, True])
def test_call_without_arguments_has_an_empty_object(
    reason: FinishReason, arguments: str, functions: bool
) -> None:
    message = folded([CALL, Finish(reason)], form(functions=functions))["choices"][0]["message"]

    call = message["function_call"] if functions else message["tool_calls"][0]["function"]
    assert {"name": "f", "arguments": arguments} == call


def test_legacy_functions_get_the_first_call_and_no_tool_calls() -> None:
    reply = folded(
        [CALL, ToolCallDelta(1, "call_b", "g", "{}"), Finish("tool_calls")], form(functions=True)
    )

    (choice,) = reply["choices"]
    assert {"name": "f", "arguments": "{}"} == choice["message"]["function_call"]
    assert "tool_calls" not in choice["message"]
    assert "function_call" == choice["finish_reason"]


def test_turn_without_a_call_did_not_end_in_one() -> None:
    reply = folded([TextDelta("a"), Finish("tool_calls")])

    assert "stop" == reply["choices"][0]["finish_reason"]


def test_reasoning_and_its_signed_blocks_are_kept_apart() -> None:
    reply = folded(
        [
            ReasoningDelta("h"),
            ThinkingBlockDelta(0, {"type": "thinking", "thinking": "h"}),
            ReasoningDelta("m"),
            ThinkingBlockDelta(0, {"thinking": "m"}),
            ThinkingBlockDelta(0, {"signature": "s"}),
            STOP,
        ],
        form(reasoning_field="reasoning_content"),
    )

    message = reply["choices"][0]["message"]
    assert "hm" == message["reasoning_content"]
    assert "reasoning" not in message
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    assert blocks == message["thinking_blocks"]


def test_refusal_annotations_and_logprobs_are_joined() -> None:
    a, b = citation("https://a.example"), citation("https://b.example")
    reply = folded(
        [
            RefusalDelta("I "),
            RefusalDelta("cannot"),
            Annotation(a),
            TextDelta("x", logprobs=logprobs("x")),
            Annotation(b),
            TextDelta("y", logprobs=logprobs("y", "z")),
            STOP,
        ]
    )

    (choice,) = reply["choices"]
    assert "I cannot" == choice["message"]["refusal"]
    assert [a, b] == choice["message"]["annotations"]
    assert logprobs("x", "y", "z") == choice["logprobs"]


def test_usage_is_left_out_when_nobody_told_it() -> None:
    assert "usage" not in folded([TextDelta("a"), STOP])


@pytest.mark.parametrize(
    "events",
    [[], [Start()], [TextDelta("a")], [TextDelta("a"), STOP, CALL, TextDelta("b", 1)]],
    ids=["nothing", "only-start", "no-finish", "second-choice-open"],
)
def test_reply_without_its_end_is_no_reply(events: list[Event]) -> None:
    with pytest.raises(UpstreamDisconnected):
        folded(events)


@pytest.mark.parametrize("events", OUT_OF_CONTRACT.values(), ids=OUT_OF_CONTRACT)
def test_event_out_of_contract_is_the_adapters_failure(events: list[Event]) -> None:
    fold = CompletionFold(form())

    with pytest.raises(UpstreamInvalidResponse):
        list(map(fold.write, events))
