"""What holds for every reply, found by generating them."""

from __future__ import annotations

from hypothesis import given, settings

from one_api.events import Event, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from tests.converter.messages.replies import events_of, folded, replies, written
from tests.converter.messages.sdk import digest, read

_EXAMPLES = settings(deadline=None)


@settings(deadline=None)
@given(replies())
def test_sdk_makes_of_the_stream_what_it_reads_in_the_whole_reply(events: list[Event]) -> None:
    """Without a told usage each form has its own estimate; the rest is the same all the same."""
    streamed, whole = digest(written(events)), read(folded(events))
    if not any(type(event).__name__ == "UsageReport" for event in events):
        del streamed["usage"], whole["usage"]
    assert whole == streamed


@_EXAMPLES
@given(replies())
def test_blocks_follow_one_another_without_gaps(events: list[Event]) -> None:
    is_open = False
    opened = 0
    for event in events_of(written(events)):
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert opened == event["index"]
                is_open = True
            case "content_block_delta":
                assert is_open
                assert opened == event["index"]
            case "content_block_stop":
                assert is_open
                assert opened == event["index"]
                is_open = False
                opened += 1
    assert not is_open
    assert opened


@_EXAMPLES
@given(replies())
def test_stream_begins_once_and_ends_once(events: list[Event]) -> None:
    kinds = [event["type"] for event in events_of(written(events)) if event["type"] != "ping"]
    assert "message_start" == kinds[0]
    assert ["message_delta", "message_stop"] == kinds[-2:]
    assert [1, 1, 1] == [
        kinds.count(kind) for kind in ("message_start", "message_delta", "message_stop")
    ]


@_EXAMPLES
@given(replies())
def test_nothing_the_model_said_is_lost_or_reordered(events: list[Event]) -> None:
    message = folded(events)
    said = [e.text for e in events if isinstance(e, TextDelta | RefusalDelta) and not e.choice]
    thought = [event.text for event in events if isinstance(event, ReasoningDelta)]
    called = [event.name for event in events if isinstance(event, ToolCallDelta) and event.name]
    blocks = message["content"]
    assert "".join(said) == "".join(block["text"] for block in blocks if block["type"] == "text")
    assert "".join(thought) == "".join(
        block["thinking"] for block in blocks if block["type"] == "thinking"
    )
    assert called == [block["name"] for block in blocks if block["type"] == "tool_use"]
