from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ollama.tests.scripted import chunk, connect, last
from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    FinishReason,
    GatewayError,
    JsonObject,
    KeepAlive,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamServerError,
    Usage,
    UsageReport,
)
from one_api_ollama.from_wire import MAX_LINE_BYTES, ChatParser

USAGE = UsageReport(Usage(prompt_tokens=26, completion_tokens=7))


def call_of(name: str, arguments: object, **fields: object) -> JsonObject:
    return {"function": {"name": name, "arguments": arguments}, **fields}


def lines(*told: JsonObject) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in told)


def read(pieces: Iterable[bytes], parser: ChatParser | None = None) -> list[Event]:
    parser = parser or ChatParser(request_id="req_1")
    events = [event for piece in pieces for event in parser.feed(piece)]
    return [*events, *parser.close()]


#: Thinking, words in many bytes each, two calls and counts: all that a reply may hold.
FULL = (
    chunk(thinking="Let me "),
    chunk(thinking="see."),
    chunk(content="Grüße, 世界 \u2028"),
    chunk(content="👋🏽\n"),
    chunk(tool_calls=[call_of("get_weather", {"city": "Köln", "days": [1, 2]})]),
    chunk(tool_calls=[call_of("get_time", {}, id="call_theirs")]),
    last(prompt_eval_cached_count=20),
)


def test_a_whole_reply_is_told_in_order() -> None:
    events = read([lines(*FULL)])
    made = events[5]

    assert isinstance(made, ToolCallDelta)
    assert [
        Start(),
        ReasoningDelta("Let me "),
        ReasoningDelta("see."),
        TextDelta("Grüße, 世界 \u2028"),
        TextDelta("👋🏽\n"),
        ToolCallDelta(0, made.id, "get_weather", '{"city":"Köln","days":[1,2]}'),
        ToolCallDelta(1, "call_theirs", "get_time", "{}"),
        Finish("tool_calls"),
        UsageReport(Usage(prompt_tokens=26, completion_tokens=7, cached_tokens=20)),
    ] == events


def test_where_the_bytes_are_split_makes_no_difference() -> None:
    data = lines(*FULL)
    whole = read([data])

    assert all(whole == read([data[:at], data[at:]]) for at in range(len(data)))
    assert whole == read(data[at : at + 1] for at in range(len(data)))


def test_a_reply_cut_at_any_byte_before_its_last_line_is_complete_is_no_answer() -> None:
    data = lines(*FULL)
    for at in range(len(data) - 1):
        with pytest.raises(UpstreamDisconnected):
            read([data[:at]])

    assert read([data]) == read([data[:-1]])


def test_a_reply_that_is_not_streamed_is_read_alike() -> None:
    message = {
        "thinking": "Hm.",
        "content": "Hello",
        "tool_calls": [call_of("get_time", None, id="call_1")],
    }
    body = last(message={"role": "assistant", **message})

    assert [
        Start(),
        ReasoningDelta("Hm."),
        TextDelta("Hello"),
        ToolCallDelta(0, "call_1", "get_time", "{}"),
        Finish("tool_calls"),
        USAGE,
    ] == read([orjson.dumps(body)])


def test_signs_of_life_are_no_content() -> None:
    data = b"\n" + lines(chunk()) + b"\r\n" + lines(chunk(content="Hi"), last())

    assert [
        KeepAlive(),
        Start(),
        KeepAlive(),
        KeepAlive(),
        TextDelta("Hi"),
        Finish("stop"),
        USAGE,
    ] == read([data])


def test_what_follows_the_last_line_is_not_read() -> None:
    data = lines(chunk(content="Hi"), last())

    assert read([data]) == read([data, b"<html>", b"\n", lines({"error": "late"})])


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("", "stop"),
        (None, "stop"),
        ("a reason of tomorrow", "stop"),
    ],
)
def test_a_text_ends_for_a_reason(told: str | None, reason: FinishReason) -> None:
    assert Finish(reason) in read([lines(chunk(content="Hi"), last(done_reason=told))])


def test_calls_that_were_cut_short_do_not_end_in_calls() -> None:
    call = chunk(tool_calls=[call_of("f", {})])

    assert Finish("length") in read([lines(call, last(done_reason="length"))])


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_model_that_was_only_moved_has_not_answered(reason: str) -> None:
    with pytest.raises(UpstreamInvalidResponse, match=f"no more than {reason} the model"):
        read([lines(last(done_reason=reason))])


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        (
            {"prompt_eval_count": 26, "eval_count": 7},
            Usage(prompt_tokens=26, completion_tokens=7),
        ),
        ({"prompt_eval_count": 26}, Usage(prompt_tokens=26, completion_tokens=0)),
        (
            {"prompt_eval_count": 9, "eval_count": 1, "prompt_eval_cached_count": 9},
            Usage(prompt_tokens=9, completion_tokens=1, cached_tokens=9),
        ),
        (
            {"prompt_eval_count": 9, "eval_count": 1, "prompt_eval_cached_count": 12},
            Usage(prompt_tokens=9, completion_tokens=1, cached_tokens=9),
        ),
        ({"eval_count": 7}, None),
        ({"prompt_eval_count": 0, "eval_count": 7}, None),
        ({"prompt_eval_count": "26", "eval_count": True}, None),
        ({}, None),
    ],
    ids=str,
)
def test_usage_is_told_where_the_prompt_was_counted(
    counts: dict[str, Any], usage: Usage | None
) -> None:
    end = {**chunk(), "done": True, "done_reason": "stop", **counts}
    reports = [event.usage for event in read([lines(end)]) if isinstance(event, UsageReport)]

    assert ([] if usage is None else [usage]) == reports


class TestIdsOfCalls:
    CALLS = lines(
        chunk(tool_calls=[call_of("f", {}), call_of("f", {})]), chunk(tool_calls=[call_of("f", {})])
    ) + lines(last())

    def ids(self, data: bytes = CALLS, request_id: str = "req_1") -> list[str | None]:
        events = read([data], ChatParser(request_id=request_id))
        return [event.id for event in events if isinstance(event, ToolCallDelta)]

    def test_equal_calls_have_ids_of_their_own(self) -> None:
        assert 3 == len(set(self.ids()))

    def test_the_same_reply_has_the_same_ids(self) -> None:
        assert self.ids() == self.ids()

    def test_another_reply_has_other_ids(self) -> None:
        later = self.CALLS.replace(b"12:00:00", b"12:00:01")

        assert set(self.ids()).isdisjoint(self.ids(later))
        assert set(self.ids()).isdisjoint(self.ids(request_id="req_2"))


LOGPROBS = [
    {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": [72, 105],
        "top_logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}],
    },
    {"token": "!", "logprob": -1.5},
]


def test_log_probabilities_have_the_shape_of_openai() -> None:
    data = lines({**chunk(content="Hi!"), "logprobs": LOGPROBS}, last())
    event = read([data], ChatParser(wants_logprobs=True))[1]

    second = {"token": "!", "logprob": -1.5, "bytes": None, "top_logprobs": []}
    assert TextDelta("Hi!", logprobs={"content": [LOGPROBS[0], second], "refusal": None}) == event


def test_log_probabilities_that_were_not_asked_for_are_left_out() -> None:
    data = lines({**chunk(content="Hi!"), "logprobs": LOGPROBS}, last())

    assert TextDelta("Hi!") in read([data])
    assert TextDelta("Hi!") in read([lines(chunk(content="Hi!"), last())])


@pytest.mark.parametrize(
    ("line", "error", "text"),
    [
        (b'{"error":"an error was encountered while running the model"}',
         UpstreamServerError, "an error was encountered while running the model"),
        (b'{"error":{"message":"odd"}}', UpstreamServerError, "odd"),
        (b"data: {}", UpstreamInvalidResponse, "without JSON"),
        (b"[1]", UpstreamInvalidResponse, "no JSON object"),
        (orjson.dumps(chunk(tool_calls=[{"function": {"arguments": {}}}])),
         UpstreamInvalidResponse, "without a name"),
        (orjson.dumps(chunk(tool_calls=["f"])), UpstreamInvalidResponse, "without a name"),
        (orjson.dumps(chunk(tool_calls=7)), UpstreamInvalidResponse, "no array"),
        (orjson.dumps(chunk(tool_calls=[call_of("f", '{"x":1}')])),
         UpstreamInvalidResponse, "no JSON object"),
    ],
    ids=[
        "error", "odd error", "SSE", "array", "call without name", "call of text", "number",
        "arguments",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [(), (chunk(content="Hi"),)], ids=["at once", "after words"])
def test_a_line_that_tells_of_a_fault_is_an_error(
    line: bytes, error: type[GatewayError], text: str, before: tuple[JsonObject, ...]
) -> None:
    parser = ChatParser()
    said = list(parser.feed(lines(*before)))

    assert ([Start(), TextDelta("Hi")] if before else []) == said
    with pytest.raises(error, match=text):
        list(parser.feed(line + b"\n"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["function", "name", "arguments", "id", "top_logprobs"]), inner
        )
    ),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("content", "thinking", "tool_calls"), JSON)
)
LINES = st.fixed_dictionaries(
    {},
    optional={
        "message": MESSAGES | JSON,
        **dict.fromkeys(("done", "done_reason", "error", "logprobs", "prompt_eval_count"), JSON),
    },
)


@given(st.lists(LINES | JSON, max_size=4))
def test_whatever_a_reply_holds_it_is_read_or_refused(told: list[Any]) -> None:
    data = b"".join(orjson.dumps(line) + b"\n" for line in told)
    error = None
    events: list[Event] = []
    try:
        events = read([data], ChatParser(wants_logprobs=True))
    except GatewayError as exc:
        error = exc

    if error is None:
        assert 1 == sum(isinstance(event, Finish) for event in events)
    else:
        assert error.status >= 500


def test_an_error_is_heard_in_a_body_without_a_line_end() -> None:
    with pytest.raises(UpstreamServerError, match="out of memory"):
        read([b'{"error":"out of memory"}'])


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    parser = ChatParser()
    assert [] == list(parser.feed(b" " * MAX_LINE_BYTES))

    with pytest.raises(UpstreamInvalidResponse, match="oversized line"):
        list(parser.feed(b" "))


def test_a_page_is_no_answer() -> None:
    adapter, _ = connect()
    request = ChatCompletionRequest.from_wire({"messages": [{"role": "user", "content": "Hi"}]})

    with pytest.raises(UpstreamInvalidResponse, match="a page"):
        adapter.from_wire(request, Call(model="m"), {"content-type": "text/html; charset=utf-8"})
