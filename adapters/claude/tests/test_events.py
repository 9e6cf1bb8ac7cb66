"""Recorded event streams as the gateway's events, whatever way their bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from adapters.claude.tests.recorded import (
    CALLED,
    CASES,
    HEAD,
    STOP,
    STOPPED,
    USAGE,
    read,
    reply,
    told,
)
from one_api.adapter import (
    Annotation,
    Event,
    Finish,
    GatewayError,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    SSEDecoder,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    Usage,
    UsageReport,
)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("case", [case for case in CASES if case != "error_mid_stream"])
def test_events_do_not_depend_on_where_the_bytes_are_cut(case: str, size: int) -> None:
    data = reply(case)
    whole, whole_error = told(data, len(data))
    cut, cut_error = told(data, size)
    assert (whole, type(whole_error)) == (cut, type(cut_error))


def test_recorded_replies_are_in_anthropics_own_format() -> None:
    events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    known = ("message", "content_block_start", "content_block_stop")
    checked = 0
    invented = (b"hologram", b"moon_phase")
    for case in CASES:
        for event in SSEDecoder().feed(reply(case)):
            is_invented = any(word in event.data for word in invented)
            if event.event.startswith(known) and not is_invented:
                events.validate_json(event.data)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        pytest.param(
            "text",
            [
                *HEAD,
                KeepAlive(),
                TextDelta("Hel"),
                TextDelta("lo, wörld \u2028"),
                TextDelta("🙂"),
                *STOP,
            ],
            id="P26-text-and-usage",
        ),
        pytest.param(
            "thinking_text_tool",
            [
                *HEAD,
                ThinkingBlockDelta(0, {"type": "thinking", "thinking": ""}),
                ReasoningDelta("First I "),
                ThinkingBlockDelta(0, {"thinking": "First I "}),
                ReasoningDelta("look."),
                ThinkingBlockDelta(0, {"thinking": "look."}),
                ThinkingBlockDelta(0, {"signature": "EqQBCkYIBxgCKkD"}),
                TextDelta("a"),
                TextDelta("b"),
                ToolCallDelta(0, "toolu_01A", "get_weather"),
                ToolCallDelta(0, arguments='{"city":'),
                ToolCallDelta(0, arguments=' "Oslo"}'),
                *CALLED,
            ],
            id="P27-thinking-text-tool",
        ),
        pytest.param("server_tool_only", [*HEAD, *STOP], id="P28-only-the-providers-own-tools"),
        pytest.param(
            "truncated_tool",
            [
                *HEAD,
                ToolCallDelta(0, "toolu_01A", "write"),
                ToolCallDelta(0, arguments='{"text":"once up'),
                USAGE,
                Finish("length"),
            ],
            id="P29-a-cut-call-is-kept",
        ),
        pytest.param("empty", [*HEAD, *STOP], id="P30-nothing"),
        pytest.param(
            "tool_without_arguments",
            [
                *HEAD,
                ToolCallDelta(0, "toolu_01A", "now"),
                ToolCallDelta(0, arguments="{}"),
                *CALLED,
            ],
            id="P30-no-arguments-are-an-empty-object",
        ),
        pytest.param(
            "tool_with_input_at_start",
            [
                *HEAD,
                ToolCallDelta(0, "toolu_01A", "now"),
                ToolCallDelta(0, arguments='{"zone":"Ö"}'),
                *CALLED,
            ],
            id="arguments-given-at-once",
        ),
        pytest.param(
            "parallel_tools",
            [
                *HEAD,
                TextDelta("Both."),
                ToolCallDelta(0, "toolu_01A", "f"),
                ToolCallDelta(0, arguments='{"a":1}'),
                ThinkingBlockDelta(0, {"type": "thinking", "thinking": ""}),
                ReasoningDelta("next"),
                ThinkingBlockDelta(0, {"thinking": "next"}),
                ThinkingBlockDelta(0, {"signature": "EqQBCkYIBxgCKkD"}),
                ToolCallDelta(1, "toolu_01B", "g"),
                ToolCallDelta(1, arguments='{"b":'),
                ToolCallDelta(1, arguments="2}"),
                *CALLED,
            ],
            id="calls-are-counted-by-themselves",
        ),
        pytest.param(
            "pings_and_unknown",
            [
                *HEAD,
                KeepAlive(),
                KeepAlive(),
                TextDelta("ok"),
                KeepAlive(),
                USAGE,
                Finish("stop"),
            ],
            id="P32-pings-and-unknown-events",
        ),
        pytest.param(
            "omitted_thinking",
            [
                *HEAD,
                ThinkingBlockDelta(0, {"type": "thinking", "thinking": ""}),
                ThinkingBlockDelta(0, {"signature": "EvQBCkYIBxgCKkB"}),
                TextDelta("42"),
                *STOP,
            ],
            id="P34-thinking-not-shown",
        ),
        pytest.param(
            "redacted_thinking",
            [
                *HEAD,
                ThinkingBlockDelta(0, {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3p"}),
                TextDelta("fine"),
                *STOP,
            ],
            id="thinking-redacted",
        ),
        pytest.param(
            "interleaved_thinking",
            [
                *HEAD,
                ThinkingBlockDelta(0, {"type": "thinking", "thinking": ""}),
                ReasoningDelta("one"),
                ThinkingBlockDelta(0, {"thinking": "one"}),
                ThinkingBlockDelta(0, {"signature": "SigOne"}),
                TextDelta("A"),
                ThinkingBlockDelta(1, {"type": "thinking", "thinking": ""}),
                ReasoningDelta("\n\ntwo"),
                ThinkingBlockDelta(1, {"thinking": "two"}),
                ThinkingBlockDelta(1, {"signature": "SigTwo"}),
                TextDelta("B"),
                *STOP,
            ],
            id="thoughts-are-apart-but-blocks-are-exact",
        ),
        pytest.param(
            "refusal",
            [
                *HEAD,
                TextDelta("I could "),
                USAGE,
                RefusalDelta("This asks for malware."),
                Finish("content_filter"),
            ],
            id="refusal",
        ),
        pytest.param(
            "refusal_unexplained",
            [*HEAD, USAGE, RefusalDelta("The model declined to answer."), Finish("content_filter")],
            id="refusal-unexplained",
        ),
        pytest.param(
            "citations",
            [
                *HEAD,
                TextDelta("See: "),
                TextDelta("it is so"),
                Annotation(
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "start_index": 5,
                            "end_index": 13,
                            "title": "A",
                            "url": "https://example.org/a",
                        },
                    }
                ),
                TextDelta("."),
                *STOP,
            ],
            id="citations-of-web-pages",
        ),
        pytest.param(
            "pause_first",
            [
                *HEAD,
                TextDelta("Looking… "),
                UsageReport(
                    Usage(
                        prompt_tokens=115,
                        completion_tokens=20,
                        cached_tokens=100,
                        cache_write_tokens=5,
                    )
                ),
                Finish("length"),
            ],
            id="a-pause-not-gone-on-with",
        ),
        pytest.param(
            "context_window_exceeded",
            [*HEAD, TextDelta("and then"), USAGE, Finish("length")],
            id="window-exceeded",
        ),
        pytest.param(
            "stop_sequence", [*HEAD, TextDelta("one"), USAGE, STOPPED], id="stop-sequence"
        ),
        pytest.param("unknown_stop_reason", [*HEAD, TextDelta("x"), *STOP], id="unknown-reason"),
        pytest.param(
            "usage_in_delta_only",
            [
                Start(id="chatcmpl-01Xq7ZTnRw"),
                TextDelta("x"),
                UsageReport(Usage(prompt_tokens=16, completion_tokens=2, cached_tokens=4)),
                Finish("stop"),
            ],
            id="later-counts-replace-earlier-ones",
        ),
    ],
)
def test_events(case: str, expected: list[Event]) -> None:
    assert expected == read(reply(case))


def test_a_cut_stream_is_told_after_what_came() -> None:
    data = reply("cut")
    events, error = told(data, len(data))
    assert (events, type(error)) == ([*HEAD, TextDelta("so far")], UpstreamDisconnected)


def test_an_error_inside_the_stream_is_raised() -> None:
    events, error = told(reply("error_mid_stream"), 1)
    assert (events, type(error)) == ([*HEAD, TextDelta("so far")], UpstreamOverloaded)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", UpstreamDisconnected),
        (b"<html>busy</html>", UpstreamInvalidResponse),
        (b'{"type":"message"}\n\n', UpstreamInvalidResponse),
        (b"data: {oops\n\n", UpstreamInvalidResponse),
        (b"data: [DONE]\n\n", UpstreamInvalidResponse),
        (
            b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
            b'"text":"x"}}\n\n',
            UpstreamInvalidResponse,
        ),
    ],
)
def test_what_is_no_reply_is_told(data: bytes, error: type[GatewayError]) -> None:
    with pytest.raises(error):
        read(data or b"", size=1024)


def test_done_after_the_end_is_harmless() -> None:
    data = reply("text")
    assert read(data) == read(data + b"data: [DONE]\n\n")


def test_a_comment_is_a_sign_of_life() -> None:
    assert [KeepAlive(), *read(reply("text"))] == read(b": still here\n\n" + reply("text"))


def test_a_signature_may_come_with_the_block() -> None:
    data = reply("omitted_thinking").replace(b'"signature":""', b'"signature":"Sig"', 1)
    block = {"type": "thinking", "thinking": "", "signature": "Sig"}
    assert ThinkingBlockDelta(0, block) in read(data)
