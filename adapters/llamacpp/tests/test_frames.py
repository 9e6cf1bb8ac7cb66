from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.adapter import (
    ContextWindowExceeded,
    CredentialRejected,
    Finish,
    GatewayError,
    InternalError,
    InvalidRequest,
    ModelNotFound,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamError,
    UpstreamRateLimited,
    Usage,
    UsageReport,
)
from one_api_llamacpp import frames
from one_api_llamacpp.frames import Answered, Count, Degraded, Item, MalformedFrame, Vectors


def over_the_wire(answered: Answered) -> Answered:
    frame = frames.encode(frames.answers_to_wire([answered]))
    message = frames.read(io.BytesIO(frame))
    assert message is not None
    (arrived,) = frames.answers_from_wire(message)
    return arrived


@pytest.mark.parametrize(
    "item",
    [
        Start(),
        TextDelta("Grüße 👋\n", 3, {"content": [{"token": "a", "logprob": -0.5}]}),
        ReasoningDelta("hm"),
        ToolCallDelta(1, "call_1", "get", '{"a": 1}', 2),
        Finish("tool_calls", 2),
        Finish("stop", stop_sequence="\n\n"),
        UsageReport(Usage(prompt_tokens=5, completion_tokens=3, cached_tokens=4)),
        Vectors([[0.6, 0.8], [1.0, 0.0]]),
        Count(17),
        Degraded(["tools"]),
    ],
    ids=lambda item: type(item).__name__,
)
def test_what_is_answered_arrives_as_it_was(item: Item) -> None:
    assert Answered(7, [item]) == over_the_wire(Answered(7, [item]))


def test_the_end_of_an_answer_arrives() -> None:
    assert over_the_wire(Answered(7, is_last=True)).is_last


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no", param="stop[0]", code="invalid_value"),
        ContextWindowExceeded("too long", param="messages"),
        UpstreamRateLimited("busy", retry_after_s=2.5),
        InternalError("ours"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_it_was(error: GatewayError) -> None:
    arrived = over_the_wire(Answered(1, is_last=True, error=error)).error
    assert arrived is not None
    assert (type(error), error.to_wire(), error.headers()) == (
        type(arrived),
        arrived.to_wire(),
        arrived.headers(),
    )


@pytest.mark.parametrize(
    ("error", "nearest"),
    [(CredentialRejected("x"), UpstreamError), (ModelNotFound("x"), InternalError)],
)
def test_an_error_that_the_table_lacks_becomes_one_that_it_has(
    error: GatewayError, nearest: type[GatewayError]
) -> None:
    assert nearest is type(over_the_wire(Answered(1, is_last=True, error=error)).error)


@pytest.mark.parametrize("cut", [0, 1, 4, 5, -1])
def test_a_stream_that_ends_in_a_frame_has_ended(cut: int) -> None:
    frame = frames.encode({"kind": "cancel", "id": 1})
    assert frames.read(io.BytesIO(frame[:cut])) is None


def test_frames_are_read_one_by_one() -> None:
    messages = [{"kind": "cancel", "id": number} for number in range(3)]
    stream = io.BytesIO(b"".join(map(frames.encode, messages)))
    assert [*messages, None] == [frames.read(stream) for _ in range(4)]


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x03{,}",
        b'\x00\x00\x00\x0a{"kind":5}',
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["huge", "list", "no kind", "no JSON", "kind is no text", "another protocol"],
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        frames.read(io.BytesIO(frame))


def test_a_frame_that_would_be_too_long_is_not_sent() -> None:
    with pytest.raises(MalformedFrame, match="bytes"):
        frames.encode({"kind": "x", "body": "x" * frames.MAX_FRAME_BYTES})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["text", "choice", "usage", "kind", "message"]), inner)
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(["TextDelta", "Finish", "UsageReport", "Vectors", "Count", "Relay", "x"])


@given(
    st.one_of(
        JSON,
        st.lists(
            st.tuples(
                st.integers() | JSON,
                st.lists(st.tuples(KINDS, JSON) | JSON, max_size=3) | JSON,
                st.booleans() | JSON,
                JSON,
            ),
            max_size=3,
        ),
    )
)
def test_answers_that_are_none_are_refused_and_break_nothing(answers: Any) -> None:
    try:
        arrived = frames.answers_from_wire({"kind": "answers", "answers": answers})
    except MalformedFrame:
        return
    for answer in arrived:
        for item in answer.items:
            assert isinstance(getattr(item, "text", ""), str)
            assert isinstance(getattr(item, "choice", 0), int)
