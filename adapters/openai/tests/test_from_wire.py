"""Streams of responses as the gateway's events, whatever way their bytes are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from one_api.adapter import (
    ContextWindowExceeded,
    Event,
    Finish,
    FinishReason,
    GatewayError,
    InvalidRequest,
    JsonObject,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    SSEDecoder,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    Usage,
    UsageReport,
)
from one_api_openai.from_wire import ResponseParser

REPLIES = Path(__file__).parent / "replies"
CASES = sorted(path.stem for path in REPLIES.glob("*.sse"))

START = Start(id="chatcmpl-0b6f21")
USAGE = UsageReport(
    Usage(
        prompt_tokens=115,
        completion_tokens=7,
        cached_tokens=100,
        cache_write_tokens=5,
        reasoning_tokens=3,
    )
)
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def finished(reason: FinishReason) -> list[Event]:
    return [USAGE, Finish(reason)]


ANSWERS: dict[str, list[Event]] = {
    "call_in_one_piece": [
        START,
        ToolCallDelta(0, id="call_0", name="get_weather"),
        ToolCallDelta(0, arguments='{"city":"Paris"}'),
        Finish("tool_calls"),
    ],
    "filtered": [START, TextDelta("One"), *finished("content_filter")],
    "interleaved_calls": [
        START,
        ToolCallDelta(0, id="call_paris", name="get_weather"),
        ToolCallDelta(1, id="call_time", name="get_time"),
        ToolCallDelta(0, arguments='{"city":'),
        ToolCallDelta(1, arguments='{"zone":'),
        ToolCallDelta(0, arguments='"Paris"}'),
        ToolCallDelta(1, arguments='"CET"}'),
        *finished("tool_calls"),
    ],
    "open_reasoning": [
        START,
        ReasoningDelta("Let me "),
        ReasoningDelta("think."),
        TextDelta("Done."),
        *finished("stop"),
    ],
    "parallel_calls": [
        START,
        TextDelta("Let me look."),
        ToolCallDelta(0, id="call_paris", name="get_weather"),
        ToolCallDelta(0, arguments='{"ci'),
        ToolCallDelta(0, arguments='ty":"Paris"}'),
        ToolCallDelta(1, id="call_ping", name="ping"),
        *finished("tool_calls"),
    ],
    "refusal": [START, RefusalDelta("I cannot "), RefusalDelta("help."), *finished("stop")],
    "summary": [
        START,
        KeepAlive(),
        KeepAlive(),
        ReasoningDelta("**Plan**"),
        ReasoningDelta(" first"),
        ReasoningDelta("\n\nthen answer"),
        TextDelta("Done."),
        *finished("stop"),
    ],
    "text": [
        START,
        TextDelta("Héllo"),
        TextDelta(", "),
        TextDelta("wörld 🙂"),
        *finished("stop"),
    ],
    "too_long": [START, TextDelta("One "), TextDelta("two"), *finished("length")],
    "two_messages": [
        START,
        TextDelta("I will "),
        TextDelta("look."),
        TextDelta("\n\nHere "),
        TextDelta("it is."),
        *finished("stop"),
    ],
}
FAILURES: dict[str, tuple[list[Event], type[GatewayError]]] = {
    "cut": ([START, TextDelta("One "), TextDelta("two")], UpstreamDisconnected),
    "error": ([START], ContextWindowExceeded),
    "failed": ([START, TextDelta("One")], UpstreamServerError),
}


def frame(event: object) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(event)


def told(data: bytes, size: int = 0) -> tuple[list[Event], GatewayError | None]:
    """The events of `data` in pieces of `size` bytes, 0 for all at once; and the error, if any."""
    parser = ResponseParser()
    events: list[Event] = []
    step = size or max(len(data), 1)
    try:
        for at in range(0, len(data), step):
            for event in parser.feed(data[at : at + step]):
                events.append(event)
        events += parser.close()
    except GatewayError as error:
        return events, error
    return events, None


def failure(event: JsonObject) -> GatewayError:
    _, error = told(frame(event))
    assert error is not None
    return error


def test_every_recorded_reply_has_its_meaning() -> None:
    assert CASES == sorted([*ANSWERS, *FAILURES])


@pytest.mark.parametrize("case", CASES)
def test_recorded_events_are_the_providers(case: str) -> None:
    """Events of the recordings that the SDK knows have the shape that it gives them."""
    for event in SSEDecoder().feed((REPLIES / f"{case}.sse").read_bytes()):
        if event.event in (":", "keepalive", "error") or event.data == b"[DONE]":
            continue
        assert orjson.loads(event.data)["type"] == EVENT.validate_json(event.data).type


@pytest.mark.parametrize("size", [1, 7, 0], ids=["bytes", "sevens", "whole"])
@pytest.mark.parametrize("case", ANSWERS)
def test_answers_are_read_wherever_their_bytes_are_cut(case: str, size: int) -> None:
    assert (ANSWERS[case], None) == told((REPLIES / f"{case}.sse").read_bytes(), size)


@pytest.mark.parametrize("size", [1, 7, 0], ids=["bytes", "sevens", "whole"])
@pytest.mark.parametrize("case", FAILURES)
def test_failures_come_after_what_was_told_before(case: str, size: int) -> None:
    events, error = told((REPLIES / f"{case}.sse").read_bytes(), size)
    assert FAILURES[case] == (events, type(error))


@pytest.mark.parametrize("size", [1, 7, 0], ids=["bytes", "sevens", "whole"])
def test_nothing_after_the_last_event_counts(size: int) -> None:
    late = frame({"type": "response.output_text.delta", "delta": "late", "output_index": 1})
    data = (REPLIES / "text.sse").read_bytes() + late + frame({"type": "error"}) + b"data: {\n\n"
    assert (ANSWERS["text"], None) == told(data, size)


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_without_its_last_event_is_cut(case: str) -> None:
    data = (REPLIES / f"{case}.sse").read_bytes()
    events, error = told(data[: data.rindex(b"event: response.")])
    assert UpstreamDisconnected is type(error)
    assert not any(isinstance(event, Finish | UsageReport) for event in events)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param("server_error", UpstreamServerError, id="server"),
        pytest.param("rate_limit_exceeded", UpstreamRateLimited, id="rate"),
        pytest.param("insufficient_quota", UpstreamQuotaExhausted, id="quota"),
        pytest.param("server_is_overloaded", UpstreamOverloaded, id="overloaded"),
        pytest.param("vector_store_timeout", UpstreamTimeout, id="timeout"),
        pytest.param("context_length_exceeded", ContextWindowExceeded, id="context"),
        pytest.param("invalid_prompt", InvalidRequest, id="prompt"),
        pytest.param("image_too_large", InvalidRequest, id="image"),
        pytest.param("misalignment_policy_violation", InvalidRequest, id="policy"),
        pytest.param("new_code", UpstreamError, id="unknown"),
        pytest.param(None, UpstreamError, id="none"),
    ],
)
def test_errors_inside_a_stream_keep_their_meaning(
    code: str | None, error: type[GatewayError]
) -> None:
    told_error = {"code": code, "message": "In their words."}
    shapes: list[JsonObject] = [
        {"type": "response.failed", "response": {"status": "failed", "error": told_error}},
        {"type": "error", "error": told_error},
        {"type": "error", **told_error},
    ]
    assert [error] * 3 == [type(failure(shape)) for shape in shapes]


def test_an_error_says_what_the_provider_said() -> None:
    fields = {"code": "invalid_prompt", "message": "In their words.", "param": "input"}
    error = failure({"type": "error", **fields})
    assert fields == {"code": error.code, "message": error.message, "param": error.param}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(b"data: {oops\n\n", id="no JSON"),
        pytest.param(b"data: \xff\n\n", id="no UTF-8"),
        pytest.param(frame([1]), id="no object"),
        pytest.param(
            frame({"type": "response.function_call_arguments.delta", "delta": "{"}),
            id="arguments of no call",
        ),
        pytest.param(
            frame({"type": "response.output_item.added", "item": {"type": "function_call"}}),
            id="call without a name",
        ),
    ],
)
def test_nonsense_is_an_upstream_error(event: bytes) -> None:
    assert UpstreamInvalidResponse is type(told(event)[1])


@pytest.mark.parametrize("usage", [None, {}, [], "7", {"total_tokens": 5}])
def test_usage_that_is_not_told_is_not_reported(usage: object) -> None:
    end = {"type": "response.completed", "response": {"id": "r", "usage": usage}}
    assert ([Start(id="chatcmpl-r"), Finish("stop")], None) == told(frame(end))


def test_an_unknown_reason_to_stop_early_still_says_that_the_answer_is_cut() -> None:
    details = {"reason": "max_messages"}
    end = {"type": "response.incomplete", "response": {"incomplete_details": details}}
    assert [Start(), Finish("length")] == told(frame(end))[0]


def test_a_call_that_was_cut_is_not_told_as_complete() -> None:
    data = (REPLIES / "parallel_calls.sse").read_bytes()
    details = {"reason": "max_output_tokens"}
    end = {"type": "response.incomplete", "response": {"incomplete_details": details}}
    begun = data[: data.index(b"event: response.function_call_arguments.done")]
    assert Finish("length") == told(begun + frame(end))[0][-1]


# -- laws

KINDS = st.sampled_from([*sorted(ResponseParser()._readers), "response.created", "x", None, 5])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("a{}🙂", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "error", "usage", "code", "call_id", "name", "arguments", "reason"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
ITEMS = VALUES | st.just(
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
)
EVENTS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "response": VALUES,
        "item": ITEMS,
        "delta": VALUES,
        "arguments": VALUES,
        "output_index": st.integers(0, 2) | VALUES,
        "summary_index": VALUES,
        "error": VALUES,
        "message": VALUES,
        "code": VALUES,
    },
)
STREAMS = st.lists(EVENTS.map(frame) | st.sampled_from([b": p\n\n", b"data: [DONE]\n\n"]))


def check_order(events: list[Event]) -> None:
    """What every reader of events relies on."""
    content = [event for event in events if not isinstance(event, KeepAlive)]
    assert [] == [at for at, event in enumerate(content) if isinstance(event, Start) and at]
    ends = [at for at, event in enumerate(content) if isinstance(event, Finish)]
    assert ends in ([], [len(content) - 1])
    known: set[int] = set()
    for event in content:
        if isinstance(event, ToolCallDelta):
            assert (event.index in known) == (event.id is None) == (event.name is None)
            assert event.index <= len(known)
            known.add(event.index)


@settings(deadline=None)
@given(frames=STREAMS, size=st.sampled_from([1, 7, 0]))
def test_any_stream_is_read_or_refused(frames: list[bytes], size: int) -> None:
    whole, whole_error = told(b"".join(frames))
    events, error = told(b"".join(frames), size)
    assert (whole, type(whole_error)) == (events, type(error))
    check_order(events)
    assert (error is None) == any(isinstance(event, Finish) for event in events)


@settings(deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    check_order(told(data)[0])
    check_order(told(b"data: " + data + b"\n\n")[0])
