from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.local_models import calls_of, finish_of, make_prompt, text_of, usage_of
from one_api.adapter import Event, Finish, TextDelta
from one_api_llamacpp.reply import Reply


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


def test_bytes_of_no_character_become_replacement_characters() -> None:
    assert text_of(answer([b"a", b"\xff", b"b"])) == "a\ufffdb"
    assert text_of(answer([b"a", b"\xf0\x9f"])) == "a\ufffd"


CALL = b'<tool_call>{"name": "f", "arguments": {}}</tool_call>'


def test_an_answer_with_a_call_finishes_for_it() -> None:
    events = answer([CALL[:20], CALL[20:]], parses_tools=True)
    assert (calls_of(events), finish_of(events)) == ([(0, "f", "{}")], "tool_calls")
    assert finish_of(answer([CALL, b"x"], parses_tools=True, limit=2)) == "length"
    stopped = answer([CALL, b"x"], parses_tools=True, stops=("x",))
    assert Finish("tool_calls") in stopped


def test_reasoning_tokens_are_those_up_to_its_end() -> None:
    usage = usage_of(answer([b"<think>", b"h", b"m</think>", b"yes"]))
    assert (usage.completion_tokens, usage.reasoning_tokens) == (5, 3)
