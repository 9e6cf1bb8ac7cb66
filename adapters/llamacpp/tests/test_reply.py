from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.local_models import calls_of, finish_of, make_prompt, text_of, usage_of
from one_api.adapter import Event, Finish, TextDelta
from one_api_llamacpp.reply import Reply
from one_api_llamacpp.sampling import Sampling, TokenLogprobs
from one_api_llamacpp.tool_formats import ToolFormat, ToolUse


def answer(pieces: Sequence[bytes], **fields: Any) -> list[Event]:
    """The events of tokens that add `pieces`, then of the end of the turn."""
    reply = Reply(make_prompt("12345", **fields), cached_tokens=2)
    events: list[Event] = []
    for piece in pieces:
        events += reply.take(piece)
        if reply.finished:
            return events
    return events + reply.end_turn()


@given(text=st.text(), size=st.integers(1, 5))
def test_characters_come_whole_however_their_bytes_are_cut(text: str, size: int) -> None:
    data = text.encode()
    events = answer([data[at : at + size] for at in range(0, len(data), size)], limit=10**6)
    assert text == text_of(events)
    assert all(event.text for event in events if isinstance(event, TextDelta))
    assert finish_of(events) == "stop"


def test_usage_counts_every_token_the_end_of_the_turn_included() -> None:
    usage = usage_of(answer([b"a", b"", b"\xf0\x9f", b"\x91\x8b"]))
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (5, 5, 2)


@pytest.mark.parametrize(
    ("stops", "text", "matched"),
    [
        (("world",), "hello ", "world"),
        (("o w", "lo"), "hel", "lo"),
        (("absent",), "hello world!", None),
    ],
    ids=["across tokens", "earliest of two", "never"],
)
def test_a_stop_sequence_ends_the_text_before_it(
    stops: tuple[str, ...], text: str, matched: str | None
) -> None:
    events = answer([b"hel", b"lo wo", b"rl", b"d!"], stops=stops)
    assert text == text_of(events)
    assert Finish("stop", stop_sequence=matched) in events


def test_tokens_after_a_stop_sequence_are_not_asked_for() -> None:
    reply = Reply(make_prompt(stops=("b",)), cached_tokens=0)
    assert usage_of(reply.take(b"abc")).completion_tokens == 1
    assert reply.finished


def test_text_held_back_for_a_stop_sequence_comes_in_the_end() -> None:
    assert text_of(answer([b"a wor"], stops=("world",))) == "a wor"
    assert text_of(answer([b"a wor"], stops=("world",), limit=1)) == "a wor"


def test_the_limit_ends_the_answer() -> None:
    events = answer([b"a", b"b", b"c"], limit=2)
    assert (
        text_of(events),
        finish_of(events),
        usage_of(events).completion_tokens,
    ) == ("ab", "length", 2)


def test_a_character_cut_by_the_limit_is_left_out() -> None:
    assert text_of(answer([b"a", b"\xf0\x9f"], limit=2)) == "a"


def test_bytes_of_no_character_are_left_out() -> None:
    assert text_of(answer([b"a", b"\xff", b"b"])) == "ab"
    assert text_of(answer([b"a", b"\xf0\x9f"])) == "a"


@given(pieces=st.lists(st.binary(max_size=4)))
def test_no_delta_has_a_replacement_character_that_the_model_did_not_write(
    pieces: list[bytes],
) -> None:
    written = b"".join(pieces)
    assert ("\ufffd" in text_of(answer(pieces, limit=10**6))) == ("\ufffd".encode() in written)


TOOLS = ToolUse(ToolFormat.HERMES, frozenset({"f"}))
CALL = b'<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def test_an_answer_with_a_call_finishes_for_it() -> None:
    events = answer([CALL[:20], CALL[20:]], tools=TOOLS)
    assert (calls_of(events), finish_of(events)) == ([(0, "f", "{}")], "tool_calls")
    assert finish_of(answer([CALL, b"x"], tools=TOOLS, limit=2)) == "length"
    stopped = answer([CALL, b"x"], tools=TOOLS, stops=("x",))
    assert Finish("tool_calls") in stopped


def test_reasoning_tokens_are_those_up_to_its_end() -> None:
    usage = usage_of(answer([b"<think>", b"h", b"m</think>", b"yes"]))
    assert (usage.completion_tokens, usage.reasoning_tokens) == (5, 3)


def test_one_call_ends_an_answer_that_may_have_no_more() -> None:
    reply = Reply(
        make_prompt(tools=ToolUse(ToolFormat.HERMES, frozenset({"f"}), is_single=True)),
        cached_tokens=0,
    )
    events = reply.take(CALL + CALL)
    assert (len(calls_of(events)), finish_of(events), reply.finished) == (1, "tool_calls", True)


def told(pieces: Sequence[bytes], **fields: Any) -> list[TextDelta]:
    """The text deltas of tokens with logprobs: -1 for the first, -2 for the next and so on."""
    reply = Reply(make_prompt(sampling=Sampling(logprobs=1), **fields), cached_tokens=0)
    events: list[Event] = []
    for number, piece in enumerate(pieces, start=1):
        top = [(7, b"top", -0.5)]
        events += reply.take(
            piece, TokenLogprobs(token=number, piece=piece, logprob=-float(number), top=top)
        )
        if reply.finished:
            break
    else:
        events += reply.end_turn()
    return [event for event in events if isinstance(event, TextDelta)]


def listed(deltas: Sequence[TextDelta]) -> list[tuple[str, list[str]]]:
    """The text of each delta, with the tokens it came from."""
    return [
        (delta.text, [entry["token"] for entry in (delta.logprobs or {})["content"]])
        for delta in deltas
    ]


def test_logprobs_have_openais_shape() -> None:
    (delta,) = told([b"Hi"])
    assert delta.logprobs == {
        "content": [
            {
                "token": "Hi",
                "logprob": -1.0,
                "bytes": [72, 105],
                "top_logprobs": [{"token": "top", "logprob": -0.5, "bytes": [116, 111, 112]}],
            }
        ],
        "refusal": None,
    }


@pytest.mark.parametrize(
    ("pieces", "fields", "expected"),
    [
        ([b"a", b" b"], {}, [("a", ["a"]), (" b", [" b"])]),
        ([b"\xf0\x9f", b"\x91\x8b!"], {}, [("👋!", [r"\xf0\x9f", r"\x91\x8b!"])]),
        ([b"a", b"\xff", b"b"], {}, [("a", ["a"]), ("b", ["b"])]),
        ([b"a", b"", b"b"], {}, [("a", ["a"]), ("b", ["b"])]),
        ([b"x", b"st", b"ar"], {"stops": ("stop",)}, [("x", ["x"]), ("star", ["st", "ar"])]),
        ([b"x", b"y st", b"op"], {"stops": ("stop",)}, [("x", ["x"]), ("y ", ["y st"])]),
        ([b"<think>", b"hm", b"</think>", b"\n", b"yes"], {}, [("yes", ["yes"])]),
        (
            [b"hm</think>y", b"es"],
            {"opens_reasoning": True},
            [("y", ["hm</think>y"]), ("es", ["es"])],
        ),
        ([b"a", b" ", CALL, b"b"], {"tools": TOOLS}, [("a", ["a"]), ("b", ["b"])]),
        ([b"a", b" <tool", b"x"], {"tools": TOOLS}, [("a", ["a"]), (" <toolx", [" <tool", "x"])]),
    ],
    ids=[
        "one each",
        "a character of two tokens",
        "bytes of no character",
        "a token without text",
        "held back",
        "cut by a stop",
        "reasoning",
        "the end of reasoning",
        "a call",
        "nearly a call",
    ],
)
def test_logprobs_come_with_the_text_their_tokens_made(
    pieces: list[bytes], fields: dict[str, Any], expected: list[tuple[str, list[str]]]
) -> None:
    assert expected == listed(told(pieces, **fields))


def test_a_raw_answers_logprobs_have_the_shape_of_old_after_the_echo() -> None:
    echo, first, second = told([b"a", b"bc"], is_raw=True, echo="xyz")
    assert (echo.text, echo.logprobs) == ("xyz", None)
    assert first.logprobs == {
        "tokens": ["a"],
        "token_logprobs": [-1.0],
        "top_logprobs": [{"top": -0.5}],
        "text_offset": [3],
    }
    assert second.logprobs is not None
    assert second.logprobs["text_offset"] == [4]


def test_without_being_asked_for_no_logprobs_are_told() -> None:
    assert all(event.logprobs is None for event in answer([b"a"]) if isinstance(event, TextDelta))


def test_an_impossible_tokens_logprob_is_a_number_in_json() -> None:
    reply = Reply(make_prompt(sampling=Sampling(logprobs=0)), cached_tokens=0)
    (delta,) = reply.take(b"a", TokenLogprobs(token=1, piece=b"a", logprob=float("-inf")))
    assert isinstance(delta, TextDelta)
    assert delta.logprobs is not None
    assert delta.logprobs["content"][0]["logprob"] == -9999.0


def test_an_echo_comes_even_before_an_empty_answer() -> None:
    assert text_of(answer([], is_raw=True, echo="so")) == "so"
