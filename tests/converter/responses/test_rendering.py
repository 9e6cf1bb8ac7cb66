"""Events as responses: which events in which order, and what the response says."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from one_api.converter.responses.sealed import unseal
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse, UpstreamOverloaded
from one_api.events import (
    Annotation,
    Event,
    Finish,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from tests.converter.replies import citation, logprobs
from tests.converter.responses.digest import final_response, sdk_events, types, wire_events
from tests.converter.responses.rendering import FORM, dialect, folded, streamed

BEGUN = ["created", "in_progress"]
TEXT = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]
CALL = [
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
]
HELLO: list[Event] = [Start(), TextDelta("Hello"), Finish("stop")]

ORDERS: dict[str, tuple[list[Event], dict[str, Any], list[str]]] = {
    "text": (HELLO, {}, [*BEGUN, *TEXT, "completed"]),
    "text without a start": (HELLO[1:], {}, [*BEGUN, *TEXT, "completed"]),
    "a call": (
        [Start(), ToolCallDelta(0, "c", "f"), ToolCallDelta(0, arguments="{}"), Finish("stop")],
        {},
        [*BEGUN, *CALL, "completed"],
    ),
    "a call without arguments": (
        [Start(), ToolCallDelta(0, "c", "f"), Finish("tool_calls")],
        {},
        [*BEGUN, *CALL, "completed"],
    ),
    "text, then two calls at once": (
        [
            TextDelta("a"),
            ToolCallDelta(0, "c", "f", "{"),
            ToolCallDelta(1, "d", "g", "{"),
            ToolCallDelta(0, arguments="}"),
            ToolCallDelta(1, arguments="}"),
            Finish("tool_calls"),
        ],
        {},
        [
            *BEGUN,
            *TEXT,
            *(CALL[:2] * 2),
            *[CALL[1]] * 2,
            *(CALL[2:] * 2),
            "completed",
        ],
    ),
    "reasoning, then text": (
        [Start(), ReasoningDelta("r"), TextDelta("a"), Finish("stop")],
        {},
        [
            *BEGUN,
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            *TEXT,
            "completed",
        ],
    ),
    "reasoning as a summary": (
        [Start(), ReasoningDelta("r"), TextDelta("a"), Finish("stop")],
        {"reasoning": {"summary": "auto"}},
        [
            *BEGUN,
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            *TEXT,
            "completed",
        ],
    ),
    "a refusal": (
        [Start(), RefusalDelta("no"), Finish("stop")],
        {},
        [
            *BEGUN,
            "output_item.added",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ],
    ),
    "text, then a refusal": (
        [Start(), TextDelta("a"), RefusalDelta("no"), Finish("stop")],
        {},
        [
            *BEGUN,
            *TEXT[:-1],
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ],
    ),
    "a citation": (
        [TextDelta("a"), Annotation(citation("https://example.org")), Finish("stop")],
        {},
        [*BEGUN, *TEXT[:3], "output_text.annotation.added", *TEXT[3:], "completed"],
    ),
    "too long": ([TextDelta("a"), Finish("length")], {}, [*BEGUN, *TEXT, "incomplete"]),
    "filtered at once": ([Start(), Finish("content_filter")], {}, [*BEGUN, "incomplete"]),
    "nothing": (
        [Start(), Finish("stop")],
        {},
        [*BEGUN, *TEXT[:2], *TEXT[3:], "completed"],
    ),
}


@pytest.mark.parametrize(("events", "fields", "expected"), ORDERS.values(), ids=ORDERS)
def test_stream_tells_events_in_this_order(
    events: list[Event], fields: dict[str, Any], expected: list[str]
) -> None:
    assert expected == types(streamed(events, **fields))


@pytest.mark.parametrize(("events", "fields", "expected"), ORDERS.values(), ids=ORDERS)
def test_sdk_ends_up_with_the_fold(
    events: list[Event], fields: dict[str, Any], expected: list[str]
) -> None:
    whole = folded(events, **fields)
    final = final_response(streamed(events, **fields))
    whole.pop("completed_at")
    final.pop("completed_at")
    assert whole == final
    assert expected[-1] == whole["status"]


def test_deltas_add_up_in_the_sdks_snapshots() -> None:
    events = sdk_events(streamed([TextDelta("Hel"), TextDelta("lo"), Finish("stop")]))
    snapshots = [e.snapshot for e in events if e.type == "response.output_text.delta"]
    assert ["Hel", "Hello"] == snapshots


def test_response_tells_of_the_request_and_of_what_is_not_done() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    response = folded(
        HELLO,
        instructions="Be brief.",
        max_output_tokens=9,
        metadata={"k": "v"},
        parallel_tool_calls=False,
        previous_response_id=None,
        reasoning={"effort": "low"},
        store=True,
        temperature=0.5,
        text={"verbosity": "low"},
        tool_choice="required",
        tools=[tool],
        truncation="auto",
    )
    told = {
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "metadata": {"k": "v"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": None},
        "store": False,
        "temperature": 0.5,
        "text": {"verbosity": "low", "format": {"type": "text"}},
        "tool_choice": "required",
        "tools": [{**tool, "description": None}],
        "top_p": None,
        "truncation": "disabled",
    }
    assert told == {name: response[name] for name in told}
    assert ("resp_1", "response", 1_790_000_000, "m") == tuple(
        response[name] for name in ("id", "object", "created_at", "model")
    )


def test_ids_of_items_never_change() -> None:
    events = wire_events(
        streamed([ReasoningDelta("r"), TextDelta("a"), ToolCallDelta(0, "c", "f"), Finish("stop")])
    )
    added = [e["item"]["id"] for e in events if e["type"] == "response.output_item.added"]
    done = [e["item"]["id"] for e in events if e["type"] == "response.output_item.done"]
    assert ["rs_1_0", "msg_1_1", "fc_1_2"] == added == done
    assert added == [item["id"] for item in events[-1]["response"]["output"]]
    assert {*added} == {event["item_id"] for event in events if "item_id" in event}


def test_usage_is_told_in_this_formats_names() -> None:
    usage = Usage(
        prompt_tokens=10,
        completion_tokens=5,
        cached_tokens=4,
        cache_write_tokens=3,
        reasoning_tokens=2,
    )
    events = wire_events(streamed([*HELLO, UsageReport(usage)]))
    assert {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    } == events[-1]["response"]["usage"]
    assert events[0]["response"]["usage"] is None


@pytest.mark.parametrize(
    ("reason", "told"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_cut_answer_is_incomplete_and_says_why(reason: Any, told: str) -> None:
    call = ToolCallDelta(0, "c", "f", '{"a')
    response = folded([TextDelta("a"), call, Finish(reason)])
    assert ("incomplete", {"reason": told}, None) == (
        response["status"],
        response["incomplete_details"],
        response["completed_at"],
    )
    assert ["completed", "incomplete"] == [item["status"] for item in response["output"]]
    assert '{"a' == response["output"][1]["arguments"]


def test_log_probabilities_are_never_null() -> None:
    (message,) = folded([TextDelta("Hi", 0, logprobs("Hi")), Finish("stop")])["output"]
    assert [{"token": "Hi", "logprob": -0.5, "bytes": [], "top_logprobs": []}] == (
        message["content"][0]["logprobs"]
    )


def test_citations_lie_flat() -> None:
    cited = Annotation(citation("https://example.org"))
    (message,) = folded([TextDelta("a"), cited, Finish("stop")])["output"]
    assert [
        {
            "type": "url_citation",
            "start_index": 0,
            "end_index": 1,
            "title": "t",
            "url": "https://example.org",
        }
    ] == message["content"][0]["annotations"]


def test_signed_blocks_travel_in_encrypted_content() -> None:
    events: list[Event] = [
        ThinkingBlockDelta(0, {"type": "thinking", "thinking": "hm"}),
        ReasoningDelta("hm"),
        ThinkingBlockDelta(0, {"signature": "s"}),
        TextDelta("a"),
        Finish("stop"),
    ]
    reasoning = folded(events)["output"][0]
    assert [{"type": "thinking", "thinking": "hm", "signature": "s"}] == unseal(
        reasoning["encrypted_content"], "input"
    )
    done = [e for e in wire_events(streamed(events)) if e["type"] == "response.output_item.done"]
    assert reasoning == done[0]["item"]


def test_other_choices_are_not_told_of() -> None:
    events: list[Event] = [TextDelta("a"), TextDelta("b", 1), Finish("stop", 1), Finish("stop")]
    assert ["a"] == [p["text"] for item in folded(events)["output"] for p in item["content"]]


def test_keep_alive_is_a_comment() -> None:
    assert b": ping\n\n" == dialect().stream_writer(FORM).write(KeepAlive())


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="nothing"),
        pytest.param([Start(), TextDelta("a")], id="no finish"),
        pytest.param([TextDelta("a"), Finish("stop", 1)], id="another choice's finish"),
    ],
)
def test_reply_without_a_finish_was_cut(events: list[Event]) -> None:
    with pytest.raises(UpstreamDisconnected):
        folded(events)
    with pytest.raises(UpstreamDisconnected):
        streamed(events)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(Relay(b"x"), id="relay"),
        pytest.param(ToolCallDelta(1, "c", "f"), id="call out of order"),
        pytest.param(ToolCallDelta(0, "c"), id="call without a name"),
        pytest.param(ThinkingBlockDelta(1, {"type": "thinking"}), id="block out of order"),
    ],
)
def test_events_out_of_contract_are_refused(event: Event) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        folded([event, Finish("stop")])


def test_failed_stream_says_so_twice_and_the_sdk_raises() -> None:
    """Of `response.failed` alone the SDK makes a reply like others."""
    spoken = dialect()
    writer = spoken.stream_writer(FORM)
    begun = writer.write(Start()) + writer.write(TextDelta("Hel"))
    stream = begun + spoken.error_frame(UpstreamOverloaded("Busy."))
    *_, failed, error = wire_events(stream)
    assert ("response.failed", "error") == (failed["type"], error["type"])
    assert {"code": "server_is_overloaded", "message": "Busy."} == failed["response"]["error"]
    assert ["incomplete"] == [item["status"] for item in failed["response"]["output"]]
    assert ("server_is_overloaded", "Busy.", None) == (
        error["code"],
        error["message"],
        error["param"],
    )
    assert list(range(7)) == [event["sequence_number"] for event in wire_events(stream)]
    with pytest.raises(openai.APIError, match="Busy") as caught:
        sdk_events(stream)
    assert "server_is_overloaded" == caught.value.code


def test_error_before_the_first_event_is_told_alone() -> None:
    assert ["error"] == types(dialect().error_frame(UpstreamOverloaded("Busy.")))
