"""Readings: how a reply is read as its request asked for it."""

from __future__ import annotations

import pytest

from adapters.claude.tests.recorded import HEAD, STOPPED, USAGE, read, reply
from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    UpstreamInvalidResponse,
    Usage,
    UsageReport,
)
from one_api_claude import ClaudeAdapter
from one_api_claude.from_wire import MessageParser, Reading


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
