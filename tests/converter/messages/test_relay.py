"""What is passed on to, and from, a provider that speaks Anthropic's format itself."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from one_api.converter.messages import MessageStreamRelay, body_to_wire
from one_api.converter.messages.relay import MAX_EVENT_BYTES
from one_api.converter.messages.thinking import signature_of
from one_api.errors import InvalidRequest, UpstreamDisconnected
from tests.scripted_upstream import (
    PARALLEL_TOOL_CALLS,
    anthropic_events,
    anthropic_frames,
    split,
    with_line_end,
)

FRAMES = anthropic_frames(anthropic_events(PARALLEL_TOOL_CALLS))
WHOLE = b"".join(FRAMES)
ERROR = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"m"}}\n\n'


def relayed(pieces: list[bytes]) -> bytes:
    relay = MessageStreamRelay()
    return b"".join(relay.feed(piece) for piece in pieces) + relay.close()


@pytest.mark.parametrize(
    "frames",
    [FRAMES, with_line_end(FRAMES, b"\r\n"), with_line_end(FRAMES, b"\r")],
    ids=["LF", "CRLF", "CR"],
)
@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["bytes", "sevens", "whole"])
def test_a_stream_leaves_as_the_bytes_that_arrived(size: int, frames: list[bytes]) -> None:
    assert b"".join(frames) == relayed(split(frames, size))


def test_a_cut_stream_is_told_apart_wherever_it_was_cut() -> None:
    """What was passed on ends with a whole event: another one can follow."""
    last_line = WHOLE.index(b"event: message_stop\n") + len(b"event: message_stop\n")
    for at in range(last_line):
        relay = MessageStreamRelay()
        passed = relay.feed(WHOLE[:at])
        assert WHOLE.startswith(passed)
        assert passed[-2:] in (b"", b"\n\n")
        with pytest.raises(UpstreamDisconnected):
            relay.close()


def test_words_of_the_model_do_not_end_a_stream() -> None:
    text = '{"type":"content_block_delta","delta":{"text":"event: message_stop\\n"}}'
    relay = MessageStreamRelay()
    relay.feed(f"event: content_block_delta\ndata: {text}\n\n".encode())
    with pytest.raises(UpstreamDisconnected):
        relay.close()


def test_an_error_ends_a_stream() -> None:
    assert FRAMES[0] + ERROR == relayed([FRAMES[0], ERROR])


def test_an_endless_event_is_not_kept() -> None:
    relay = MessageStreamRelay()
    data = b"data: " + b"x" * MAX_EVENT_BYTES
    assert data == relay.feed(data)


# -- requests


def body_of(**fields: Any) -> tuple[bytes, dict[str, Any]]:
    body = {"model": "claude/m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return orjson.dumps(body), body


def test_only_the_models_name_is_changed() -> None:
    raw, body = body_of(context_management={"edits": [1.5, None]}, max_tokens=1)
    wire = body_to_wire(raw, body, "m")
    assert {**body, "model": "m"} == orjson.loads(wire)
    assert list(body) == list(orjson.loads(wire))


def test_a_request_with_the_right_name_leaves_as_the_bytes_that_arrived() -> None:
    raw = b'{ "model":"m",\n "max_tokens": 1e2 , "messages" : [] }'
    assert raw is body_to_wire(raw, orjson.loads(raw), "m")


@pytest.mark.parametrize("model", ["m", "claude/m"], ids=["renamed", "named"])
def test_thinking_that_we_signed_is_left_out(model: str) -> None:
    ours = {"type": "thinking", "thinking": "a", "signature": signature_of("a")}
    theirs = {"type": "thinking", "thinking": "b", "signature": "c2ln"}
    said = {"type": "text", "text": "x"}
    raw, body = body_of(
        messages=[
            {"role": "assistant", "content": [ours, theirs, said]},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [ours]},
            {"role": "user", "content": [{"type": "text", "text": ours["signature"]}]},
        ],
    )
    told = orjson.loads(body_to_wire(raw, body, model))["messages"]
    assert [
        {"role": "assistant", "content": [theirs, said]},
        {"role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": ours["signature"]}]},
    ] == told


def test_any_messages_are_passed_on() -> None:
    """Whether they are right is the provider's to say."""
    raw, body = body_of(messages=[1, {"content": "one_api.v1."}, {"content": [None, "x"]}])
    assert body["messages"] == orjson.loads(body_to_wire(raw, body, "m"))["messages"]


def test_what_is_nested_too_deeply_is_the_callers_mistake() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest):
        body_to_wire(b"", {"model": "claude/m", "x": deep}, "m")
