"""Messages as Anthropic writes them, streamed and whole, arm by arm."""

from __future__ import annotations

from typing import Any

import pytest

from one_api.converter.messages.thinking import SIGNATURE_PREFIX
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse, UpstreamOverloaded
from one_api.events import (
    Event,
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.schemas import JsonObject
from tests.converter.messages.replies import dialect, events_of, folded, written
from tests.converter.messages.sdk import digest, read
from tests.converter.replies import form

STOP = Finish("stop")
CALLED = Finish("tool_calls")
USAGE = UsageReport(Usage(prompt_tokens=100, completion_tokens=7, cached_tokens=80))
EMPTY: JsonObject = {"type": "text", "text": ""}


def shown(events: list[JsonObject]) -> list[Any]:
    """What a stream tells, without the envelope."""
    return [
        event.get("content_block") or event.get("delta") or event["type"]
        for event in events
        if event["type"] not in ("message_start", "message_delta", "message_stop")
    ]


def thinking(text: str) -> JsonObject:
    return {"type": "thinking_delta", "thinking": text}


def said(text: str) -> JsonObject:
    return {"type": "text_delta", "text": text}


def told(part: str) -> JsonObject:
    return {"type": "input_json_delta", "partial_json": part}


def opened(call_id: str, name: str) -> JsonObject:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}}


CLOSED = "content_block_stop"


def test_p39_text_in_order() -> None:
    events = events_of(written([Start(), TextDelta("Hel"), TextDelta("lo"), STOP, USAGE]))
    assert [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == [event["type"] for event in events]
    assert [EMPTY, said("Hel"), said("lo"), CLOSED] == shown(events)
    start, end = events[0]["message"], events[-2]
    assert ("message", "assistant", "m", []) == (
        start["type"],
        start["role"],
        start["model"],
        start["content"],
    )
    assert start["id"].startswith("msg_")
    assert {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None} == end["delta"]
    assert {
        "input_tokens": 20,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 80,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 0},
    } == end["usage"]


def test_p38_text_and_a_call_as_a_whole() -> None:
    message = folded(
        [Start(), TextDelta("x"), ToolCallDelta(0, "c", "f", '{"a":1}'), CALLED, USAGE]
    )
    assert [
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
    ] == message["content"]
    assert "tool_use" == message["stop_reason"]
    assert (20, 80) == (
        message["usage"]["input_tokens"],
        message["usage"]["cache_read_input_tokens"],
    )


def test_thinking_is_signed_before_the_answer_begins() -> None:
    *opening, signature, closed = shown(
        events_of(written([ReasoningDelta("hm"), ReasoningDelta("m"), TextDelta("a"), STOP]))
    )[:5]
    assert [
        {"type": "thinking", "thinking": "", "signature": ""},
        thinking("hm"),
        thinking("m"),
    ] == opening
    assert signature["signature"].startswith(SIGNATURE_PREFIX)
    assert CLOSED == closed


def test_first_words_after_another_block_are_not_lost() -> None:
    events: list[Event] = [
        ReasoningDelta("r"),
        TextDelta("a"),
        ReasoningDelta("s"),
        TextDelta("b"),
        STOP,
    ]
    kinds = [block["type"] for block in digest(written(events))["content"]]
    assert ["thinking", "text", "thinking", "text"] == kinds
    assert ["r", "a", "s", "b"] == [
        block.get("text") or block["thinking"] for block in folded(events)["content"]
    ]


def test_empty_deltas_open_nothing() -> None:
    events: list[Event] = [Start(), TextDelta(""), ReasoningDelta(""), TextDelta("a"), STOP]
    assert [EMPTY, said("a"), CLOSED] == shown(events_of(written(events)))


def test_no_content_at_all_is_an_empty_text() -> None:
    assert [EMPTY, CLOSED] == shown(events_of(written([Start(), STOP])))
    assert [EMPTY] == folded([Start(), STOP])["content"]


def test_arguments_are_shown_as_they_come() -> None:
    events = [
        ToolCallDelta(0, "c", "f"),
        ToolCallDelta(0, arguments='{"a'),
        ToolCallDelta(0, arguments='":1}'),
    ]
    writer = dialect().stream_writer(form())
    pieces = [shown(events_of(writer.write(event))) for event in events]
    assert [[opened("c", "f")], [told('{"a')], [told('":1}')]] == pieces


def test_interleaved_calls_are_told_one_after_another() -> None:
    events: list[Event] = [
        ToolCallDelta(0, "a", "f", '{"x":'),
        ToolCallDelta(1, "b", "g", '{"y":'),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(1, arguments="2}"),
        CALLED,
    ]
    assert [
        opened("a", "f"),
        told('{"x":'),
        told("1}"),
        CLOSED,
        opened("b", "g"),
        told('{"y":'),
        told("2}"),
        CLOSED,
    ] == shown(events_of(written(events)))


def test_a_complete_call_makes_way_for_the_next_one_at_once() -> None:
    writer = dialect().stream_writer(form())
    writer.write(ToolCallDelta(0, "a", "f", '{"x":1}'))
    assert [CLOSED, opened("b", "g"), told('{"y":')] == shown(
        events_of(writer.write(ToolCallDelta(1, "b", "g", '{"y":')))
    )


def test_text_waits_for_the_call_before_it() -> None:
    writer = dialect().stream_writer(form())
    writer.write(ToolCallDelta(0, "a", "f", '{"x":'))
    assert b"" == writer.write(TextDelta("later"))
    assert [told("1}"), CLOSED, EMPTY, said("later")] == shown(
        events_of(writer.write(ToolCallDelta(0, arguments="1}")))
    )


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("", {}),
        ("  ", {}),
        ("{}", {}),
        ('{"a":{"b":[1]}}', {"a": {"b": [1]}}),
        ("[1]", {"_raw": "[1]"}),
        ("oops", {"_raw": "oops"}),
        ('{"a":1,"b":[2', {"a": 1, "b": [2]}),
        ('{"a":"cut', {}),
    ],
)
def test_arguments_become_an_object(arguments: str, value: JsonObject) -> None:
    """Also those that were cut: what is complete in them is kept."""
    events: list[Event] = [ToolCallDelta(0, "c", "f", arguments), Finish("length"), USAGE]
    (block,) = folded(events)["content"]
    assert value == block["input"]
    assert digest(written(events)) == read(folded(events))


def test_white_space_before_arguments_is_left_out() -> None:
    """The SDK cannot parse it alone."""
    events: list[Event] = [
        ToolCallDelta(0, "c", "f", " "),
        ToolCallDelta(0, arguments='\n {"a":'),
        ToolCallDelta(0, arguments=" 1}"),
        CALLED,
    ]
    assert [opened("c", "f"), told('{"a":'), told(" 1}"), CLOSED] == shown(
        events_of(written(events))
    )


def test_arguments_that_are_none_at_all_are_kept_where_they_can_be() -> None:
    (block,) = folded([ToolCallDelta(0, "c", "f", "{oops"), CALLED])["content"]
    assert {"_raw": "{oops"} == block["input"]


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([TextDelta("a"), Finish("stop")], "end_turn"),
        ([TextDelta("a"), Finish("stop", stop_sequence="X")], "stop_sequence"),
        ([ToolCallDelta(0, "c", "f"), Finish("stop", stop_sequence="X")], "stop_sequence"),
        ([RefusalDelta("no"), Finish("stop", stop_sequence="X")], "refusal"),
        ([TextDelta("a"), Finish("length")], "max_tokens"),
        ([TextDelta("a"), Finish("content_filter")], "refusal"),
        ([RefusalDelta("no"), Finish("stop")], "refusal"),
        ([ToolCallDelta(0, "c", "f"), Finish("tool_calls")], "tool_use"),
        ([ToolCallDelta(0, "c", "f"), Finish("stop")], "tool_use"),
        ([ToolCallDelta(0, "c", "f"), Finish("length")], "max_tokens"),
        ([TextDelta("a"), Finish("tool_calls")], "end_turn"),
        ([TextDelta("a"), Finish("function_call")], "end_turn"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_stop_reason(events: list[Event], reason: str) -> None:
    message = folded(events)
    assert reason == message["stop_reason"]
    assert (reason == "refusal") == bool(message["stop_details"])
    assert ("X" if reason == "stop_sequence" else None) == message["stop_sequence"]
    end = events_of(written(events))[-2]
    told = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    assert told == end["delta"]


def test_words_after_the_finish_still_count() -> None:
    events: list[Event] = [TextDelta("a"), STOP, TextDelta("b"), USAGE]
    assert "ab" == digest(written(events))["content"][0]["text"]


def test_usage_that_is_never_told_is_estimated() -> None:
    """Clients wait for the closing events, and these need usage."""
    stream = written([TextDelta("eight ch"), STOP], dialect(prompt_tokens=12))
    start, *_, end, _ = events_of(stream)
    assert 12 == start["message"]["usage"]["input_tokens"]
    assert (12, 2) == (end["usage"]["input_tokens"], end["usage"]["output_tokens"])


def test_usage_given_before_the_close_is_told() -> None:
    writer = dialect().stream_writer(form())
    writer.write(TextDelta("a"))
    writer.write(STOP)
    writer.usage = Usage(prompt_tokens=3, completion_tokens=4)
    end = events_of(writer.close())[-2]
    assert (3, 4) == (end["usage"]["input_tokens"], end["usage"]["output_tokens"])


def test_counts_never_fall_below_zero() -> None:
    odd = UsageReport(Usage(prompt_tokens=1, completion_tokens=1, cached_tokens=5))
    assert 0 == folded([TextDelta("a"), STOP, odd])["usage"]["input_tokens"]


def test_the_clients_names_come_back() -> None:
    spoken = dialect({"short_1": "a.very.long/name"})
    events: list[Event] = [ToolCallDelta(0, "call.1", "short_1", "{}"), CALLED]
    (block,) = folded(events, spoken)["content"]
    assert "a.very.long/name" == block["name"]
    assert block["id"].startswith("toolu_")
    assert block == digest(written(events, spoken))["content"][0]


def test_pings_are_named() -> None:
    assert b'event: ping\ndata: {"type":"ping"}\n\n' == dialect().stream_writer(form()).write(
        KeepAlive()
    )


@pytest.mark.parametrize("events", [[], [Start()], [TextDelta("a")]], ids=["none", "start", "text"])
def test_a_reply_without_an_end_is_cut(events: list[Event]) -> None:
    with pytest.raises(UpstreamDisconnected):
        written(events)
    with pytest.raises(UpstreamDisconnected):
        folded(events)


def test_a_call_without_a_name_is_no_call() -> None:
    with pytest.raises(UpstreamInvalidResponse):
        written([ToolCallDelta(0, arguments="{}")])


def test_an_error_is_an_event() -> None:
    (event,) = events_of(dialect().error_frame(UpstreamOverloaded("busy")))
    assert {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "busy"},
        "request_id": "req_1",
    } == event


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_texts_are_what_the_model_wrote(reason: FinishReason) -> None:
    events: list[Event] = [ReasoningDelta("r"), TextDelta("a"), ToolCallDelta(0, "c", "f", "{}")]
    for renderer in (dialect().stream_writer(form()), dialect().fold(form())):
        for event in (*events, Finish(reason)):
            renderer.write(event)
        assert ["r", "a", "f", "{}"] == renderer.texts
