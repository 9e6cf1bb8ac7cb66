"""Recorded event streams as the gateway's events, whatever way their bytes are cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from one_api.adapter import (
    Annotation,
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    GatewayError,
    JsonObject,
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
from one_api_claude import ClaudeAdapter
from one_api_claude.from_wire import MessageParser, Reading

REPLIES = Path(__file__).parent / "replies"
CASES = sorted(path.stem for path in REPLIES.glob("*.sse"))

HEAD = [Start(id="chatcmpl-01Xq7ZTnRw", service_tier="default")]
USAGE = UsageReport(
    Usage(
        prompt_tokens=115,
        completion_tokens=7,
        cached_tokens=100,
        cache_write_tokens=5,
        reasoning_tokens=3,
    )
)
STOP = [USAGE, Finish("stop")]
STOPPED = Finish("stop", stop_sequence="END")
CALLED = [USAGE, Finish("tool_calls")]


def reply(case: str) -> bytes:
    return (REPLIES / f"{case}.sse").read_bytes()


def read(data: bytes, size: int = 0, reading: Reading | None = None) -> list[Event]:
    """The events of `data` fed in pieces of `size` bytes, 0 for all at once."""
    parser = MessageParser(reading or Reading())
    events: list[Event] = []
    for at in range(0, len(data), size or len(data)):
        events += parser.feed(data[at : at + (size or len(data))])
    return [*events, *parser.close()]


def told(data: bytes, size: int) -> tuple[list[Event], GatewayError | None]:
    """The events before the end or the error, and the error."""
    parser = MessageParser(Reading())
    events: list[Event] = []
    try:
        for at in range(0, len(data), size):
            events += parser.feed(data[at : at + size])
        events += parser.close()
    except GatewayError as error:
        return events, error
    return events, None


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


def test_legacy_functions_finish_as_such() -> None:
    events = read(reply("tool_without_arguments"), reading=Reading(is_legacy=True))
    assert Finish("function_call") == events[-1]


def test_changed_tool_names_are_changed_back() -> None:
    events = read(reply("tool_without_arguments"), reading=Reading(names={"now": "time.now"}))
    assert ToolCallDelta(0, "toolu_01A", "time.now") in events


def test_thinking_that_cannot_come_back_is_only_read() -> None:
    events = read(reply("interleaved_thinking"), reading=Reading(keeps_thinking=False))
    assert not [event for event in events if isinstance(event, ThinkingBlockDelta)]
    assert ReasoningDelta("\n\ntwo") in events


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_fence_around_json_is_taken_off(size: int) -> None:
    events = read(reply("fenced_json"), size, Reading(is_json=True))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == '{"a": "``"}'


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_local_stop_sequence_ends_the_reply(size: int) -> None:
    parser = MessageParser(Reading(local_stops=("\n\n",)))
    data = reply("blank_lines")
    events: list[Event] = []
    for at in range(0, len(data), size or len(data)):
        events += parser.feed(data[at : at + (size or len(data))])
    events += parser.close()
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    usage = Usage(
        prompt_tokens=115,
        # "first\n" and "\nsecond\n\n" were made: 15 characters, four to a token.
        completion_tokens=4,
        cached_tokens=100,
        cache_write_tokens=5,
        estimated=True,
    )
    finish = Finish("stop", stop_sequence="\n\n")
    assert (text, events[-2:]) == ("first", [UsageReport(usage), finish])
    assert parser.is_stopped


def test_text_held_for_a_stop_sequence_is_given_at_the_end() -> None:
    events = read(reply("stop_sequence"), reading=Reading(local_stops=("e\n",)))
    assert [*HEAD, TextDelta("on"), TextDelta("e"), USAGE, STOPPED] == events


def paused() -> MessageParser:
    parser = MessageParser(Reading())
    for _ in parser.feed(reply("pause_first")):
        pass
    return parser


def test_a_paused_turn_is_kept_for_sending_back() -> None:
    parser = paused()
    assert parser.is_paused
    assert parser.content == [
        {"type": "text", "text": "Looking… "},
        {
            "type": "server_tool_use",
            "id": "srvtoolu_01",
            "name": "web_search",
            "input": {"query": "x"},
        },
    ]


def test_a_resumed_turn_adds_content_and_usage() -> None:
    parser = paused()
    parser.resume()
    events = [*parser.feed(reply("pause_second")), *parser.close()]
    usage = Usage(
        prompt_tokens=115 + 150, completion_tokens=29, cached_tokens=210, cache_write_tokens=5
    )
    assert [TextDelta("found."), UsageReport(usage), Finish("stop")] == events
    assert parser.content[-1] == {"type": "text", "text": "found."}


def test_sent_back_text_keeps_its_citations() -> None:
    parser = MessageParser(Reading())
    for _ in parser.feed(reply("citations")):
        pass
    plain, cited, _ = parser.content
    assert "citations" not in plain
    kinds = [citation["type"] for citation in cited["citations"]]
    assert kinds == ["web_search_result_location", "page_location"]


def test_sent_back_thinking_is_whole() -> None:
    parser = MessageParser(Reading())
    for _ in parser.feed(reply("interleaved_thinking")):
        pass
    assert parser.content == [
        {"type": "thinking", "thinking": "one", "signature": "SigOne"},
        {"type": "text", "text": "A"},
        {"type": "thinking", "thinking": "two", "signature": "SigTwo"},
        {"type": "text", "text": "B"},
    ]


@pytest.mark.parametrize("media_type", ["application/json", "text/html; charset=utf-8"])
def test_another_media_type_is_told_at_once(adapter: ClaudeAdapter, media_type: str) -> None:
    request = ChatCompletionRequest.from_wire({"messages": [{"role": "user", "content": "x"}]})
    with pytest.raises(UpstreamInvalidResponse):
        adapter.from_wire(request, Call(model="m"), {"content-type": media_type})


def test_the_reading_follows_the_request(adapter: ClaudeAdapter) -> None:
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "functions": [{"name": "the.time"}],
        "stop": ["\n", "END"],
        "response_format": {"type": "json_object"},
    }
    request = ChatCompletionRequest.from_wire(body)
    call = Call(model="m", degraded=["tool_choice"])
    parser = adapter.from_wire(request, call, {"content-type": "text/event-stream"})
    data = reply("fenced_json").replace(b'{\\"a\\":', b"1\\n2")
    events = [*parser.feed(data), *parser.close()]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    # The fence is gone, and of the stop sequences the line break is enforced here.
    assert ("1", Finish("stop", stop_sequence="\n")) == (text, events[-1])


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS)
FIELDS = st.sampled_from(
    [
        "citation",
        "data",
        "id",
        "input",
        "message",
        "name",
        "partial_json",
        "signature",
        "stop_details",
        "stop_reason",
        "text",
        "thinking",
        "type",
        "usage",
    ]
)
KINDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
        "ping",
        "text",
        "thinking",
        "tool_use",
        "text_delta",
        "thinking_delta",
        "input_json_delta",
        "citations_delta",
        "signature_delta",
        "pause_turn",
        "tool_use",
    ]
)


@st.composite
def noise(draw: st.DrawFn) -> JsonObject:
    """An event with the right names and any values."""
    inner = st.dictionaries(FIELDS, KINDS | VALUES, max_size=5)
    event: JsonObject = {"type": draw(KINDS)}
    for name in ("index", "message", "content_block", "delta", "usage", "error"):
        if draw(st.booleans()):
            event[name] = draw(st.integers(0, 2) if name == "index" else inner | VALUES)
    return event


def frames(events: list[JsonObject]) -> Iterator[bytes]:
    for event in events:
        yield b"data: " + orjson.dumps(event) + b"\n\n"


def outcome(data: bytes) -> Event | GatewayError:
    """The last event, or the error."""
    events, error = told(data, 16)
    return error or events[-1]


@settings(deadline=None)
@given(st.lists(noise(), max_size=8))
def test_noise_never_breaks_the_parser(events: list[JsonObject]) -> None:
    assert isinstance(outcome(b"".join(frames(events)) or b"\n"), GatewayError | Finish)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_damage_never_breaks_the_parser(damage: bytes, at: int) -> None:
    data = reply("thinking_text_tool")
    assert isinstance(outcome(data[:at] + damage + data[at:]), GatewayError | Finish)
