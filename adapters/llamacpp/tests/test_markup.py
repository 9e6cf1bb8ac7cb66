from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.local_models import calls_of, reasoning_of, text_of
from one_api.adapter import Event, ReasoningDelta, TextDelta, ToolCallDelta
from one_api_llamacpp.markup import MarkupParser

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'


def parse(text: str, size: int, *, tools: bool = True, reasoning: bool = False) -> list[Event]:
    parser = MarkupParser(parses_tools=tools, opens_reasoning=reasoning)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    return [*itertools.chain.from_iterable(map(parser.feed, pieces)), *parser.close()]


def summary(events: list[Event]) -> tuple[str, str, list[tuple[int, str | None, str]]]:
    return reasoning_of(events), text_of(events), calls_of(events)


WEATHER = (0, "get_weather", '{"city": "Zürich"}')
CASES = {
    "text": ("just text\n", ("", "just text\n", [])),
    "call": (CALL, ("", "", [WEATHER])),
    "text and call": (f"Let me see.\n{CALL}\n", ("", "Let me see.", [WEATHER])),
    "two calls": (f"{CALL}\n{CALL}", ("", "", [WEATHER, (1, *WEATHER[1:])])),
    "text after a call": (f"{CALL}\nDone.\n", ("", "Done.\n", [WEATHER])),
    "reasoning": ("<think>\nhm\n</think>\n\nYes", ("hm\n", "Yes", [])),
    "empty reasoning": ("<think>\n\n</think>\n\nYes", ("", "Yes", [])),
    "reasoning without end": ("<think>hm <tool_call>", ("hm <tool_call>", "", [])),
    "reasoning and call": (f" <think>hm</think>\n{CALL}", ("hm", "", [WEATHER])),
    "think inside text": ("a <think>b</think>", ("", "a <think>b</think>", [])),
    "call without end": (CALL.removesuffix("</tool_call>"), ("", "", [WEATHER])),
    "half a call": ('a <tool_call>{"name": "f', ("", 'a <tool_call>{"name": "f', [])),
    "call that is no JSON": (
        "a <tool_call>get it</tool_call> b",
        ("", "a <tool_call>get it</tool_call> b", []),
    ),
    "call without name": (
        '<tool_call>{"arguments": {}}</tool_call>',
        ("", '<tool_call>{"arguments": {}}</tool_call>', []),
    ),
    "call of a list": ("<tool_call>[]</tool_call>", ("", "<tool_call>[]</tool_call>", [])),
    "call without arguments": ('<tool_call>{"name": "f"}</tool_call>', ("", "", [(0, "f", "{}")])),
    "arguments called parameters": (
        '<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>',
        ("", "", [(0, "f", '{"a": 1}')]),
    ),
    "arguments as text": (
        '<tool_call>{"name": "f", "arguments": "{\\"a\\":1}"}</tool_call>',
        ("", "", [(0, "f", '{"a":1}')]),
    ),
    "nearly a marker": ("a <tool_cal> <too", ("", "a <tool_cal> <too", [])),
    "nothing": ("", ("", "", [])),
    "only space": (" \n", ("", " \n", [])),
}


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_markup_is_found_however_the_text_is_cut(
    text: str, expected: tuple[str, str, list[tuple[int, str | None, str]]], size: int
) -> None:
    assert expected == summary(parse(text, size))


FRAGMENTS = st.sampled_from(["<", "tool_call", ">", "/", "x", " ", "think", "{}"])


@given(fragments=st.lists(FRAGMENTS))
@pytest.mark.parametrize("tools", [True, False])
def test_text_without_calls_is_passed_on_unchanged(fragments: list[str], tools: bool) -> None:
    text = "x" + "".join(fragments)  # reasoning is only looked for at the beginning
    assert text == text_of(parse(text, 1, tools=tools))


def test_without_tools_a_call_is_text() -> None:
    assert summary(parse(CALL, 5, tools=False)) == ("", CALL, [])


def test_reasoning_that_the_template_opened_needs_no_beginning() -> None:
    assert summary(parse("\nhm</think>\nYes", 2, reasoning=True)) == ("hm", "Yes", [])


def test_only_what_may_become_a_marker_is_held_back() -> None:
    parser = MarkupParser(parses_tools=True, opens_reasoning=False)
    assert [TextDelta("a<b")] == parser.feed("a<b <too")
    assert [TextDelta(" <tool-")] == parser.feed("l-")


def test_reasoning_streams() -> None:
    parser = MarkupParser(parses_tools=False, opens_reasoning=False)
    assert parser.feed("<thi") == []
    assert [ReasoningDelta("h")] == parser.feed("nk>h")
    assert parser.in_reasoning
    assert [ReasoningDelta("m")] == parser.feed("m</")
    assert [TextDelta("!")] == parser.feed("think>!")
    assert not parser.in_reasoning


def test_every_call_has_an_id_of_its_own() -> None:
    first, second = (event for event in parse(CALL + CALL, 9) if isinstance(event, ToolCallDelta))
    assert first.id != second.id
    assert first.id is not None
    assert first.id.startswith("call_")


def test_json_nested_without_end_is_text() -> None:
    body = "[" * 100_000
    assert f"<tool_call>{body}" == text_of(parse(f"<tool_call>{body}", 200_000))
