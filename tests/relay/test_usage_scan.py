"""The usage of replies that are passed on: the reply's own, however it is cut, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.events import Usage
from one_api.relay.usage import UsageScan
from tests.scripted_upstream import (
    Answer,
    AnthropicDialect,
    OpenAIDialect,
    TokenCount,
    anthropic_events,
    anthropic_frames,
    anthropic_message_body,
    openai_chunks,
    openai_completion_body,
    openai_frames,
    openai_usage,
    split,
    sse_frame,
)
from tests.scripted_upstream.replies import dump

COUNT = TokenCount(prompt=21, completion=9, cached=4, cache_write=3, reasoning=2)
TRUTH = Usage(
    prompt_tokens=21, completion_tokens=9, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=2
)
ANSWER = Answer(usage=COUNT)
#: What Anthropic tells at the beginning of a stream: the whole input, and a first token.
OPENED = Usage(
    prompt_tokens=21, completion_tokens=1, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=0
)
SPOOF = {"prompt_tokens": 1, "completion_tokens": 1, "input_tokens": 1, "output_tokens": 1}


def responses_usage(count: TokenCount) -> dict[str, Any]:
    return {
        "input_tokens": count.prompt,
        "input_tokens_details": {
            "cached_tokens": count.cached,
            "cache_write_tokens": count.cache_write,
        },
        "output_tokens": count.completion,
        "output_tokens_details": {"reasoning_tokens": count.reasoning},
        "total_tokens": count.prompt + count.completion,
    }


def response(
    text: str = "Hello", tools: Iterable[Any] = (), usage: object = None
) -> dict[str, Any]:
    """A response as OpenAI's Responses API gives it: the request's tools are in it."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "instructions": None,
        "output": [{"type": "message", "role": "assistant", "content": [part]}],
        "tools": list(tools),
        "usage": usage or responses_usage(COUNT),
        "user": None,
        "metadata": {},
    }


def responses_frames(whole: dict[str, Any]) -> list[bytes]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": begun},
        {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hello"},
        {"type": "response.completed", "sequence_number": 2, "response": whole},
    ]
    return [sse_frame(event, event=str(event["type"])) for event in events]


def embeddings(count: int = 1) -> bytes:
    data = [{"object": "embedding", "index": n, "embedding": [0.1234567] * 8} for n in range(count)]
    usage = {"prompt_tokens": 21, "total_tokens": 21}
    return dump({"object": "list", "data": data, "model": "m", "usage": usage})


def scanned(pieces: Iterable[bytes]) -> Usage | None:
    scan = UsageScan()
    for piece in pieces:
        scan.feed(piece)
    return scan.usage()


LATE_INPUT = AnthropicDialect(input_tokens_in_delta=False)
REPLIES = {
    "chat": (dump(openai_completion_body(ANSWER)), TRUTH),
    "chat, indented": (json.dumps(openai_completion_body(ANSWER), indent=2).encode(), TRUTH),
    "chat, blank before": (b" \n" + dump(openai_completion_body(ANSWER)), TRUTH),
    "chat, usage first": (
        dump({"usage": openai_usage(COUNT), **openai_completion_body(Answer(usage=None))}),
        TRUTH,
    ),
    "chat stream": (b"".join(openai_frames(openai_chunks(ANSWER))), TRUTH),
    "chat stream, usage in each chunk": (
        b"".join(openai_frames(openai_chunks(ANSWER, OpenAIDialect(usage_on="every")))),
        TRUTH,
    ),
    "chat stream of CRLF": (
        b"".join(openai_frames(openai_chunks(ANSWER))).replace(b"\n", b"\r\n"),
        TRUTH,
    ),
    "chat stream of CR": (
        b"".join(openai_frames(openai_chunks(ANSWER))).replace(b"\n", b"\r"),
        TRUTH,
    ),
    "response": (dump(response()), TRUTH),
    "response stream": (b"".join(responses_frames(response())), TRUTH),
    "embeddings": (embeddings(), Usage(prompt_tokens=21, completion_tokens=0)),
    "message": (dump(anthropic_message_body(ANSWER)), TRUTH),
    "message stream": (b"".join(anthropic_frames(anthropic_events(ANSWER))), TRUTH),
    "message stream, input at the beginning only": (
        b"".join(anthropic_frames(anthropic_events(ANSWER, LATE_INPUT))),
        TRUTH,
    ),
}
ALL_REPLIES = pytest.mark.parametrize(("body", "expected"), REPLIES.values(), ids=REPLIES)


@ALL_REPLIES
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_usage_is_found_in_whatever_pieces_it_comes(
    body: bytes, expected: Usage, size: int
) -> None:
    assert expected == scanned(split(body, size))


@ALL_REPLIES
def test_a_reply_cut_anywhere_tells_the_truth_so_far_or_nothing(
    body: bytes, expected: Usage
) -> None:
    told = [scanned([body[:at]]) for at in range(len(body))]

    assert {None, OPENED, expected} >= set(told)
    assert told[0] is None
    assert expected == scanned([body])


@ALL_REPLIES
def test_pieces_make_no_difference_to_a_cut_reply(body: bytes, expected: Usage) -> None:
    for at in range(0, len(body), 97):
        assert scanned([body[:at]]) == scanned(split(body[:at], 13))


def nested(depth: int) -> Any:
    return {"usage": nested(depth - 1), **SPOOF} if depth else {**SPOOF}


TOOL = {"type": "function", "name": "bill", "parameters": {"usage": SPOOF, "x": nested(3)}}


def chat_that_says(text: str) -> bytes:
    return dump(openai_completion_body(Answer(words=(text,), usage=COUNT)))


def message_that_calls(arguments: object, *, cut: int | None = None) -> bytes:
    body = anthropic_message_body(Answer(words=("x" * (cut or 1),), usage=COUNT))
    call = {"type": "tool_use", "id": "t", "name": "bill", "input": arguments}
    body["content"].append(call)
    return dump(body)


def message_with_context_after() -> bytes:
    body = anthropic_message_body(ANSWER)
    return dump({**body, "container": {"id": "c", "usage": SPOOF}})


SAYS = f'"usage": {json.dumps(SPOOF)}'
SPOOFS = {
    "text": chat_that_says(SAYS),
    "text that closes its string": chat_that_says('"}}],' + SAYS + "}"),
    "backslashes": chat_that_says("\\\\\\" + SAYS),
    "a key that ends like it": message_that_calls({'say "usage': SPOOF, "\\": 1}),
    "arguments": message_that_calls({"usage": SPOOF}),
    "arguments, deep": message_that_calls(nested(5)),
    "arguments in a stream": b"".join(
        anthropic_frames(
            [
                *anthropic_events(ANSWER)[:-2],
                {"type": "content_block_delta", "delta": {"usage": SPOOF}},
                *anthropic_events(ANSWER)[-2:],
            ]
        )
    ),
    "after the usage": message_with_context_after(),
    "quoted tools": dump(response(tools=[TOOL])),
    "quoted tools in a stream": b"".join(responses_frames(response(tools=[TOOL]))),
    "long arguments": message_that_calls({"usage": SPOOF}, cut=200_000),
    "long text": chat_that_says("x" * 200_000 + SAYS),
    "long, after the text": message_that_calls({"x": "y" * 200_000, "usage": SPOOF}),
    "long stream event": b"".join(responses_frames(response("x" * 200_000, tools=[TOOL]))),
}


@pytest.mark.parametrize("size", [4096, 1 << 20])
@pytest.mark.parametrize("body", SPOOFS.values(), ids=SPOOFS)
def test_what_a_model_or_a_client_says_is_not_believed(body: bytes, size: int) -> None:
    assert TRUTH == scanned(split(body, size))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(dump({"choices": [{"message": {"usage": SPOOF}}]}), id="in a choice"),
        pytest.param(dump({"data": "x" * 200_000, "a": [{"usage": SPOOF}]}), id="long"),
        pytest.param(dump([{"usage": SPOOF}]), id="in a list"),
        pytest.param(message_that_calls({"usage": SPOOF}, cut=200_000)[:-400], id="long, cut"),
        pytest.param(sse_frame({"delta": {"usage": SPOOF}}), id="in a delta"),
        pytest.param(b'{"usage": null}', id="null"),
        pytest.param(b'{"usage": {}}', id="empty"),
        pytest.param(b'{"usage": {"total_tokens": 5}}', id="only a total"),
        pytest.param(b'{"usage": [1]}', id="list"),
        pytest.param(b'{"usage": {"prompt_tokens": -5, "completion_tokens": true}}', id="nonsense"),
        pytest.param(b'{"usage": {"prompt_tokens": "5"}}', id="text"),
        pytest.param(b'{"usage": {"prompt_tokens": 5}', id="unfinished"),
        pytest.param(b'data: {"usage": {"prompt_tokens": 5}, \n\n', id="broken event"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"RIFF\0\1\2\n\xff" * 20_000, id="sound"),
        pytest.param(b"[" * 200_000, id="brackets"),
        pytest.param(b'"usage":{' * 20_000, id="many beginnings"),
        pytest.param(
            b'{"x":"%b","usage":{"a":"%b' % (b"x" * 99_000, b'\\"' * 30_000), id="many quotes"
        ),
    ],
)
def test_no_usage_is_made_up(body: bytes) -> None:
    assert scanned(split(body, 5000)) is None


def test_vectors_of_any_length_are_charged_for() -> None:
    body = embeddings(20_000)

    assert len(body) > 1_000_000
    expected = Usage(prompt_tokens=21, completion_tokens=0)
    assert expected == scanned(split(body, 65_536))


@pytest.mark.parametrize("is_line", [True, False], ids=["stream", "whole"])
def test_memory_is_bounded_whatever_comes(is_line: bool) -> None:
    scan = UsageScan()
    scan.feed(b"data: " if is_line else b"{")
    for _ in range(100):
        scan.feed(b"x" * 50_000)

        assert len(scan._part) <= 65_536


USAGES: list[tuple[str, dict[str, Any], Usage]] = [
    (
        "deeply nested",
        {
            "input_tokens": 5,
            "iterations": [{"type": "message", "cache_creation": {"a": {"b": 1}}}],
            "output_tokens": 2,
        },
        Usage(prompt_tokens=5, completion_tokens=2),
    ),
    (
        "cache apart, in OpenAI's totals",
        {"prompt_tokens": 20, "completion_tokens": 2, "cache_read_input_tokens": 8},
        Usage(prompt_tokens=20, completion_tokens=2, cached_tokens=8),
    ),
    (
        "hits beside the totals",
        {"prompt_tokens": 20, "completion_tokens": 2, "prompt_cache_hit_tokens": 8},
        Usage(prompt_tokens=20, completion_tokens=2, cached_tokens=8),
    ),
    (
        "written for two times, told apart",
        {
            "input_tokens": 10,
            "cache_creation_input_tokens": 9,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 7},
            "output_tokens": 2,
        },
        Usage(prompt_tokens=19, completion_tokens=2, cache_write_tokens=9, cache_write_1h_tokens=7),
    ),
    (
        "details null",
        {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(prompt_tokens=3, completion_tokens=2),
    ),
]


@pytest.mark.parametrize(
    ("wire", "expected"), [one[1:] for one in USAGES], ids=[one[0] for one in USAGES]
)
def test_forms_of_usage(wire: dict[str, Any], expected: Usage) -> None:
    assert expected == scanned([dump({"id": "x", "usage": wire})])
    assert expected == scanned([dump({"id": "x" * 100_000, "usage": wire, "tier": None})])


JSON = st.recursive(
    st.none() | st.integers() | st.text('u"\\{}[]: \n', max_size=12) | st.just(SAYS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", 'x"', "\\", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    said=JSON,
    padding=st.sampled_from([0, 70_000]),
    size=st.sampled_from([1000, 30_000, 1 << 20]),
    wrap=st.sampled_from([dump, lambda body: sse_frame({"type": "t", "response": body})]),
)
def test_whatever_is_said_the_reply_s_own_usage_counts(
    said: object, padding: int, size: int, wrap: Callable[[object], bytes]
) -> None:
    body = {
        "content": [{"input": said}],
        "padding": "p" * padding,
        "tools": [said],
        "usage": openai_usage(COUNT),
    }

    assert TRUTH == scanned(split(wrap(body), size))
