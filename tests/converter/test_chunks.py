"""A stream of chunks as OpenAI writes it, arm by arm."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from one_api.converter import DONE, PING, ChunkWriter, ReasoningField
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import (
    Annotation,
    Event,
    Finish,
    FinishReason,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from tests.converter.replies import chunks_of, citation, deltas_of, form, logprobs, written

OPENING = {"role": "assistant", "content": "", "refusal": None}
CALL = ToolCallDelta(0, "call_a", "f")
STOP = Finish("stop")


def test_text_is_streamed_as_it_comes() -> None:
    stream = written([Start(), TextDelta("Hel"), TextDelta("lo"), STOP])

    assert [OPENING, {"content": "Hel"}, {"content": "lo"}, {}] == deltas_of(stream)


@pytest.mark.parametrize("usage", [False, True], ids=["plain", "with-usage"])
def test_every_piece_of_a_text_is_written_like_the_first(*, usage: bool) -> None:
    reply_form = form(include_usage=usage)
    piece = TextDelta('"\\ü\u2028🦙\n', 1)
    writer = ChunkWriter(reply_form)
    writer.write(Start(id='a""b', system_fingerprint=""))
    writer.write(TextDelta("", 1))
    writer.write(TextDelta("of the first choice"))

    first = writer.write(piece).split(b"\n\n")[-2]

    assert 3 * [first + b"\n\n"] == [writer.write(piece) for _ in range(3)]
    assert [{"content": piece.text}] == [c["delta"] for c in json.loads(first[6:])["choices"]]
    assert 4 * piece.text == "".join(writer.texts[1:])


def test_chunk_has_every_field_that_openai_sends() -> None:
    start = Start(id="chatcmpl-theirs", service_tier="default", system_fingerprint="fp_1")

    first = chunks_of(written([start, STOP]))[0]

    assert {
        "id": "chatcmpl-theirs",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "delta": OPENING, "logprobs": None, "finish_reason": None}],
    } == first


def test_identity_stays_when_a_start_comes_late() -> None:
    usage = UsageReport(Usage(prompt_tokens=1, completion_tokens=1))

    stream = written([TextDelta("a"), Start(id="late"), STOP, usage], form(include_usage=True))

    assert {"chatcmpl-1"} == {chunk["id"] for chunk in chunks_of(stream)}


@pytest.mark.parametrize(
    "event",
    [
        TextDelta(""),
        ReasoningDelta(""),
        RefusalDelta(""),
        UsageReport(Usage(prompt_tokens=1, completion_tokens=1)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_new_gives_no_chunk(event: Event) -> None:
    assert b"" == ChunkWriter(form()).write(event)


def test_keep_alive_is_a_comment() -> None:
    assert PING == ChunkWriter(form()).write(KeepAlive())


def test_later_choice_introduces_those_before_it() -> None:
    writer = ChunkWriter(form())

    stream = writer.write(TextDelta("c", choice=2)) + DONE

    assert [0, 1, 2, 2] == [chunk["choices"][0]["index"] for chunk in chunks_of(stream)]
    assert [OPENING, {"content": "c"}] == deltas_of(stream, 2)


def test_tool_call_is_introduced_once_then_only_arguments_follow() -> None:
    stream = written(
        [
            ToolCallDelta(0, "call_a", "f", '{"x"'),
            ToolCallDelta(0, "call_a", "f", ":1}"),
            ToolCallDelta(1, "call_b", "g", "{}"),
            Finish("tool_calls"),
        ]
    )

    first = {"name": "f", "arguments": '{"x"'}
    second = {"name": "g", "arguments": "{}"}
    assert [
        OPENING,
        {"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": first}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": second}]},
        {},
    ] == deltas_of(stream)


def test_tool_call_without_an_id_gets_one() -> None:
    stream = written([ToolCallDelta(0, name="f"), Finish("tool_calls")])

    given = deltas_of(stream)[1]["tool_calls"][0]["id"]
    assert given.startswith("call_")
    assert len("call_") + 24 == len(given)


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [("tool_calls", "{}"), ("function_call", "{}"), ("stop", "{}"), ("length", "")],
)
def test_call_without_arguments_ends_as_an_empty_object(
    reason: FinishReason, arguments: str
) -> None:
    """Strict tools cannot parse ""; a call that a limit cut has no arguments to tell yet."""
    stream = written([CALL, Finish(reason)])

    pieces = [
        call["function"]["arguments"]
        for delta in deltas_of(stream)
        for call in delta.get("tool_calls", ())
    ]
    assert arguments == "".join(pieces)


@pytest.mark.parametrize(
    ("reason", "functions", "told"),
    [
        ("stop", False, "stop"),
        ("length", False, "length"),
        ("content_filter", False, "content_filter"),
        ("tool_calls", False, "tool_calls"),
        ("function_call", False, "tool_calls"),
        ("tool_calls", True, "function_call"),
        ("function_call", True, "function_call"),
        ("stop", True, "stop"),
    ],
)
def test_finish_reason_after_a_call(reason: FinishReason, functions: bool, told: str) -> None:
    stream = written([CALL, Finish(reason)], form(functions=functions))

    assert told == chunks_of(stream)[-1]["choices"][0]["finish_reason"]


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
@pytest.mark.parametrize("functions", [False, True])
def test_turn_without_a_call_did_not_end_in_one(reason: FinishReason, functions: bool) -> None:
    stream = written([TextDelta("a"), Finish(reason)], form(functions=functions))

    assert "stop" == chunks_of(stream)[-1]["choices"][0]["finish_reason"]


def test_legacy_functions_get_one_function_call() -> None:
    """`function_call` has no room for a second call; its name must not run into the first's."""
    stream = written(
        [
            ToolCallDelta(0, "call_a", "f", '{"x":'),
            ToolCallDelta(1, "call_b", "g", "{}"),
            ToolCallDelta(0, arguments="1}"),
            Finish("tool_calls"),
        ],
        form(functions=True),
    )

    assert [
        OPENING,
        {"function_call": {"name": "f", "arguments": '{"x":'}},
        {"function_call": {"arguments": "1}"}},
        {},
    ] == deltas_of(stream)


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("both", {"reasoning_content", "reasoning"}),
        ("reasoning", {"reasoning"}),
        ("reasoning_content", {"reasoning_content"}),
    ],
)
def test_reasoning_goes_under_the_names_asked_for(field: ReasoningField, names: set[str]) -> None:
    stream = written([ReasoningDelta("hm"), STOP], form(reasoning_field=field))

    assert dict.fromkeys(names, "hm") == deltas_of(stream)[1]


def test_thinking_blocks_carry_their_index() -> None:
    stream = written(
        [
            ThinkingBlockDelta(0, {"type": "thinking", "thinking": "t"}),
            ThinkingBlockDelta(0, {"signature": "s"}),
            ThinkingBlockDelta(1, {"type": "redacted_thinking", "data": "d"}),
            STOP,
        ]
    )

    blocks = [delta["thinking_blocks"] for delta in deltas_of(stream)[1:-1]]
    assert [
        [{"index": 0, "type": "thinking", "thinking": "t"}],
        [{"index": 0, "signature": "s"}],
        [{"index": 1, "type": "redacted_thinking", "data": "d"}],
    ] == blocks


def test_annotations_are_counted_per_choice() -> None:
    a, b = citation("https://a.example"), citation("https://b.example")

    stream = written([Annotation(a), Annotation(a, 1), Annotation(b), STOP, Finish("stop", 1)])

    told = [d["annotations"] for d in deltas_of(stream) if "annotations" in d]
    assert [[{"index": 0, **a}], [{"index": 1, **b}]] == told
    assert [{"index": 0, **a}] == deltas_of(stream, 1)[1]["annotations"]


def test_refusal_is_streamed_beside_content() -> None:
    stream = written([RefusalDelta("I "), RefusalDelta("cannot"), STOP])

    assert [{"refusal": "I "}, {"refusal": "cannot"}] == deltas_of(stream)[1:-1]


def test_logprobs_go_with_their_text_even_when_it_is_empty() -> None:
    stream = written([TextDelta("", logprobs=logprobs("<eot>")), STOP])

    entry = chunks_of(stream)[1]["choices"][0]
    assert ({"content": ""}, logprobs("<eot>")) == (entry["delta"], entry["logprobs"])


def test_last_usage_report_counts() -> None:
    reports = [UsageReport(Usage(prompt_tokens=3, completion_tokens=count)) for count in (1, 2)]
    writer = ChunkWriter(form())
    events: list[Event] = [*reports, TextDelta("a"), STOP]
    for event in events:
        writer.write(event)

    assert reports[-1].usage == writer.usage


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Start()],
        [TextDelta("a")],
        [TextDelta("a"), STOP, TextDelta("b", choice=1)],
        [Finish("stop", 1)],
    ],
    ids=["nothing", "only-start", "no-finish", "second-choice-open", "first-choice-open"],
)
def test_reply_without_its_end_is_no_reply(events: list[Event]) -> None:
    with pytest.raises(UpstreamDisconnected):
        written(events)


OUT_OF_CONTRACT: dict[str, list[Any]] = {
    "call-index-gap": [ToolCallDelta(1, "call_a", "f")],
    "call-index-negative": [CALL, ToolCallDelta(-1, arguments="{}")],
    "call-without-name": [ToolCallDelta(0, "call_a")],
    "block-index-gap": [ThinkingBlockDelta(1, {"thinking": "t"})],
    "block-index-negative": [
        ThinkingBlockDelta(0, {"thinking": "t"}),
        ThinkingBlockDelta(-1, {"thinking": "t"}),
    ],
    "choice-negative": [TextDelta("a", choice=-1)],
    "choice-huge": [TextDelta("a", choice=10**9)],
    "finish-of-huge-choice": [Finish("stop", 10**9)],
    "relay-among-events": [TextDelta("a"), Relay(b"data: {}\n\n")],
    "not-an-event": [cast("Event", "Hello")],
}


@pytest.mark.parametrize("events", OUT_OF_CONTRACT.values(), ids=OUT_OF_CONTRACT)
def test_event_out_of_contract_is_the_adapters_failure(events: list[Event]) -> None:
    writer = ChunkWriter(form())

    with pytest.raises(UpstreamInvalidResponse):
        b"".join(map(writer.write, events))


def test_arguments_are_json_even_when_cut_into_single_characters() -> None:
    arguments = json.dumps({"city": "Zürich", "n": [1, {"x": None}]}, ensure_ascii=False)
    parts = [ToolCallDelta(0, arguments=char) for char in arguments]

    stream = written([CALL, *parts, Finish("tool_calls")])

    told = "".join(
        call["function"]["arguments"]
        for delta in deltas_of(stream)
        for call in delta.get("tool_calls", ())
    )
    assert arguments == told
