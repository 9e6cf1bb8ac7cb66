"""Replies, streamed and whole, as events; streams are cut everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.adapter import (
    CredentialRejected,
    Event,
    Finish,
    GatewayError,
    InvalidRequest,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
    UpstreamServerError,
    Usage,
    UsageReport,
)
from one_api_gemini.from_wire import GenerateContentParser, Reading

REPLIES = Path(__file__).parent / "replies"
ID = "chatcmpl-mAmRZ7qfLpuN"
SIGNATURE = "EvEICu4IAXLI2nz0s1gn4tur3+of/thoughts="
SECOND_SIGNATURE = "CiQBcsjafFVzZWQtYnktdGVzdHMtb25seQ=="


def block(index: int, **fields: str) -> ThinkingBlockDelta:
    return ThinkingBlockDelta(index=index, fields=fields)


def thinking(index: int, **fields: str) -> ThinkingBlockDelta:
    return block(index, type="thinking", **{"thinking": "", **fields})


EVENTS: dict[str, list[Event]] = {
    "text": [
        Start(id=ID),
        TextDelta("Hello"),
        TextDelta(", wörld \u2028🙂"),
        UsageReport(Usage(prompt_tokens=8, completion_tokens=5)),
        Finish("stop"),
    ],
    "thought_text": [
        Start(id=ID),
        ReasoningDelta("**Adding**\n\nTwo and "),
        thinking(0, thinking="**Adding**\n\nTwo and "),
        ReasoningDelta("two."),
        block(0, thinking="two."),
        TextDelta("Four"),
        TextDelta("."),
        block(0, signature=f"one_api.v1.gemini.text.{SIGNATURE}"),
        UsageReport(
            Usage(prompt_tokens=11, completion_tokens=36, cached_tokens=7, reasoning_tokens=34)
        ),
        Finish("stop"),
    ],
    "parallel_calls": [
        Start(id=ID),
        TextDelta("Let me look."),
        thinking(0, signature=f"one_api.v1.gemini.call.0.{SIGNATURE}"),
        ToolCallDelta(0, "a1b2c3d4", "get_weather", '{"city":"Oslo"}'),
        ToolCallDelta(1, "e5f6a7b8", "get_weather", '{"city":"Rome"}'),
        ToolCallDelta(2, "c9d0e1f2", "get_time", "{}"),
        UsageReport(Usage(prompt_tokens=60, completion_tokens=90, reasoning_tokens=50)),
        Finish("tool_calls"),
    ],
    "call_after_thought": [
        Start(id=ID),
        ReasoningDelta("The user wants rain."),
        thinking(0, thinking="The user wants rain."),
        block(0, signature=f"one_api.v1.gemini.call.0.{SECOND_SIGNATURE}"),
        ToolCallDelta(0, "call-7", "get_weather", '{"city":"Bergen"}'),
        UsageReport(Usage(prompt_tokens=40, completion_tokens=21, reasoning_tokens=12)),
        Finish("tool_calls"),
    ],
    "call_without_id": [
        Start(id=ID),
        ToolCallDelta(0, None, "get_news", "{}"),
        UsageReport(Usage(prompt_tokens=20, completion_tokens=5)),
        Finish("tool_calls"),
    ],
    "length": [
        Start(id=ID),
        TextDelta("Once upon"),
        TextDelta(" a time"),
        UsageReport(Usage(prompt_tokens=5, completion_tokens=4)),
        Finish("length"),
    ],
    "safety": [
        Start(id=ID),
        TextDelta("First you"),
        UsageReport(Usage(prompt_tokens=6, completion_tokens=2)),
        RefusalDelta("The provider's filter stopped the answer (SAFETY)."),
        Finish("content_filter"),
    ],
    "blocked_prompt": [
        Start(id=ID),
        UsageReport(Usage(prompt_tokens=9, completion_tokens=0)),
        RefusalDelta("The provider's filter refused the prompt (PROHIBITED_CONTENT)."),
        Finish("content_filter"),
    ],
}


def events_of(pieces: Iterable[bytes], **reading: Any) -> list[Event]:
    parser = GenerateContentParser(Reading(**{"is_stream": True, **reading}))
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + list(parser.close())


def stream_of(case: str) -> bytes:
    return (REPLIES / f"{case}.sse").read_bytes()


def frame(reply: object) -> bytes:
    return b"data: " + orjson.dumps(reply) + b"\n\n"


def said(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return frame({"candidates": [candidate], "responseId": "r"})


def folded(events: Iterable[Event]) -> dict[str, object]:
    """What the events say, however the text was cut and whatever came between it."""
    told = list(events)
    return {
        "reasoning": "".join(event.text for event in told if isinstance(event, ReasoningDelta)),
        "text": "".join(event.text for event in told if isinstance(event, TextDelta)),
        "rest": [
            event
            for event in told
            if not isinstance(event, ReasoningDelta | TextDelta | ThinkingBlockDelta)
        ],
    }


def blocks_of(events: Iterable[Event]) -> dict[int, dict[str, str]]:
    blocks: dict[int, dict[str, str]] = {}
    for event in events:
        if isinstance(event, ThinkingBlockDelta):
            held = blocks.setdefault(event.index, {})
            for key, value in event.fields.items():
                held[key] = held.get(key, "") + value
    return blocks


@pytest.mark.parametrize("case", EVENTS)
def test_a_stream_gives_these_events(case: str) -> None:
    assert EVENTS[case] == events_of([stream_of(case)])


@pytest.mark.parametrize("case", EVENTS)
def test_a_stream_cut_at_any_one_place_gives_the_same_events(case: str) -> None:
    data = stream_of(case)
    for at in range(len(data) + 1):
        assert EVENTS[case] == events_of([data[:at], data[at:]])


@pytest.mark.parametrize("case", EVENTS)
def test_a_stream_in_single_bytes_gives_the_same_events(case: str) -> None:
    data = stream_of(case)

    assert EVENTS[case] == events_of(data[at : at + 1] for at in range(len(data)))


@given(cuts=st.lists(st.integers(0, 2_000), max_size=20))
def test_a_stream_in_any_pieces_gives_the_same_events(cuts: list[int]) -> None:
    data = stream_of("parallel_calls")
    ends = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(ends)]

    assert EVENTS["parallel_calls"] == events_of(pieces)


@pytest.mark.parametrize("case", EVENTS)
def test_a_whole_reply_tells_what_the_stream_tells(case: str) -> None:
    whole = events_of([(REPLIES / f"{case}.json").read_bytes()], is_stream=False)

    assert folded(EVENTS[case]) == folded(whole)
    assert blocks_of(EVENTS[case]) == blocks_of(whole)


@pytest.mark.parametrize("case", EVENTS)
def test_a_stream_that_ends_early_is_not_complete(case: str) -> None:
    first, separator, _ = stream_of(case).rpartition(b"data: ")
    assert separator
    parser = GenerateContentParser(Reading(is_stream=True))
    list(parser.feed(first))

    expected = UpstreamDisconnected if first else UpstreamInvalidResponse
    with pytest.raises(expected):
        list(parser.close())


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("A_REASON_OF_TOMORROW", "stop"),
    ],
)
def test_each_reason_to_stop_has_its_finish_reason(reason: str, expected: str) -> None:
    events = events_of([said({"text": "Hi"}, finish=reason)])

    assert isinstance(events[-1], Finish)
    assert expected == events[-1].reason
    assert any(isinstance(event, RefusalDelta) for event in events) == (
        expected == "content_filter"
    )


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("MALFORMED_FUNCTION_CALL", UpstreamInvalidResponse),
        ("MALFORMED_RESPONSE", UpstreamInvalidResponse),
        ("UNEXPECTED_TOOL_CALL", UpstreamInvalidResponse),
        ("TOO_MANY_TOOL_CALLS", UpstreamInvalidResponse),
        ("OTHER", UpstreamServerError),
        ("MISSING_THOUGHT_SIGNATURE", InvalidRequest),
        ("PUP_LIMITED_DISABLED", CredentialRejected),
    ],
)
def test_a_broken_answer_is_an_error(reason: str, kind: type[GatewayError]) -> None:
    with pytest.raises(GatewayError) as caught:
        events_of([said(finish=reason, finishMessage="Malformed call: print(get_weather(")])

    assert kind is type(caught.value)


def test_what_google_says_of_a_filtered_answer_is_told() -> None:
    events = events_of([said(finish="RECITATION", finishMessage="It recites a song.")])

    assert RefusalDelta("It recites a song.") in events


def test_cut_short_calls_do_not_pass_for_whole_ones() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}

    assert Finish("length") == events_of([said(call, finish="MAX_TOKENS")])[-1]


def test_an_error_inside_a_stream_is_raised_after_what_came_before() -> None:
    error = {"error": {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED"}}
    parser = GenerateContentParser(Reading(is_stream=True))
    events: list[Event] = []

    def feed() -> Iterator[Event]:
        for event in parser.feed(said({"text": "Hi"}, finish=None) + frame(error)):
            events.append(event)
            yield event

    with pytest.raises(UpstreamRateLimited):
        list(feed())

    assert [Start(id="chatcmpl-r"), TextDelta("Hi")] == events


@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "body", [b"", b"<html></html>", b"{", b"7", b"data: {\n\n", b"data: 7\n\n"]
)
def test_what_is_no_reply_is_told_so(body: bytes, is_stream: bool) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        events_of([body], is_stream=is_stream)


def test_a_call_without_a_name_is_no_call() -> None:
    with pytest.raises(UpstreamInvalidResponse):
        events_of([said({"functionCall": {"args": {}}})])


def test_comments_keep_the_stream_alive() -> None:
    events = events_of([b": ping\n\n", said({"text": "Hi"})])

    assert KeepAlive() == events[0]


def test_parts_of_unknown_kinds_are_passed_over() -> None:
    data = said({"executableCode": {"code": "1"}}, {"text": "Hi"}, {"inlineData": {"data": "AA=="}})

    assert [Start(id="chatcmpl-r"), TextDelta("Hi"), Finish("stop")] == events_of([data])


def test_a_signed_thought_keeps_its_text_and_signature_together() -> None:
    data = said(
        {"text": "Hm.", "thought": True, "thoughtSignature": "QUJD"},
        {"text": "Well.", "thought": True},
        {"text": "Yes.", "thoughtSignature": "REVG"},
    )

    assert {
        0: {"type": "thinking", "thinking": "Hm.", "signature": "one_api.v1.gemini.thought.QUJD"},
        1: {"type": "thinking", "thinking": "Well.", "signature": "one_api.v1.gemini.text.REVG"},
    } == blocks_of(events_of([data]))


def test_changed_names_come_back_as_the_client_knows_them() -> None:
    data = said({"functionCall": {"name": "_a_b_12345678", "args": {}}})

    events = events_of([data], names={"_a_b_12345678": "a.b"})

    assert ToolCallDelta(0, None, "a.b", "{}") in events


@pytest.mark.parametrize("cut", range(1, 9))
def test_stop_sequences_that_google_was_not_told_end_the_answer_here(cut: int) -> None:
    text = "one END two"
    data = [
        said({"text": text[:cut]}, finish=None),
        said({"text": text[cut:]}, finish=None),
        said({"functionCall": {"name": "f", "args": {}}}),
    ]

    events = events_of(data, local_stops=("END",))

    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert "one " == "".join(texts)
    assert Finish("stop", stop_sequence="END") == events[-1]
    assert not any(isinstance(event, ToolCallDelta) for event in events)


def test_text_that_only_began_like_a_stop_sequence_is_given_at_the_end() -> None:
    events = events_of([said({"text": "one EN"})], local_stops=("END",))

    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert "one EN" == "".join(texts)
    assert Finish("stop") == events[-1]


def test_audio_and_results_of_googles_own_tools_are_counted() -> None:
    metadata = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 3,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 6},
            {"modality": "AUDIO", "tokenCount": 4},
        ],
    }
    reply = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": metadata}

    events = events_of([frame(reply)])

    usage = Usage(prompt_tokens=15, completion_tokens=3, prompt_audio_tokens=4)
    assert UsageReport(usage) in events
