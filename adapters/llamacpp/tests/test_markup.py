from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_api.adapter import ReasoningDelta, ToolCallDelta
from one_api_llamacpp.markup import Found, MarkupParser
from one_api_llamacpp.tool_formats import ToolFormat, ToolUse
from one_api_llamacpp.written import Written

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'


HERMES = ToolUse(ToolFormat.HERMES, frozenset({"get_weather", "f"}))


def parse(
    text: str, size: int, *, tools: ToolUse | None = HERMES, reasoning: bool = False
) -> list[Found]:
    parser = MarkupParser(tools, opens_reasoning=reasoning)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    return [*itertools.chain.from_iterable(map(parser.feed, pieces)), *parser.close()]


def text_of(found: Sequence[Found]) -> str:
    return "".join(item.text for item in found if isinstance(item, Written))


def summary(found: Sequence[Found]) -> tuple[str, str, list[tuple[int, str | None, str]]]:
    calls = [item for item in found if isinstance(item, ToolCallDelta)]
    reasoning = "".join(item.text for item in found if isinstance(item, ReasoningDelta))
    return reasoning, text_of(found), [(call.index, call.name, call.arguments) for call in calls]


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
    "a number that is no JSON": (
        '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>',
        ("", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>', []),
    ),
    "half a surrogate pair": (
        '<tool_call>{"name": "f", "arguments": {"a": "\\ud800"}}</tool_call>',
        ("", "", [(0, "f", '{"a": "?"}')]),
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
@pytest.mark.parametrize("tools", [HERMES, None], ids=["tools", "no tools"])
def test_text_without_calls_is_passed_on_unchanged(
    fragments: list[str], tools: ToolUse | None
) -> None:
    text = "x" + "".join(fragments)  # reasoning is only looked for at the beginning
    assert text == text_of(parse(text, 1, tools=tools))


def test_without_tools_a_call_is_text() -> None:
    assert summary(parse(CALL, 5, tools=None)) == ("", CALL, [])


CALLED = (0, "f", '{"a": 1}')
OTHER_FORMATS = {
    "llama": (ToolFormat.LLAMA, '{"name": "f", "parameters": {"a": 1}}', ("", [CALLED])),
    "llama, marked": (
        ToolFormat.LLAMA,
        '<|python_tag|>{"type": "function", "name": "f", "parameters": {"a": 1}}',
        ("", [CALLED]),
    ),
    "llama, nested": (
        ToolFormat.LLAMA,
        '{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}',
        ("", [CALLED]),
    ),
    "llama, two": (
        ToolFormat.LLAMA,
        ' {"name": "f", "parameters": {"a": 1}}; {"name": "f", "parameters": {}}\n',
        ("", [CALLED, (1, "f", "{}")]),
    ),
    "llama, text first": (
        ToolFormat.LLAMA,
        'So: {"name": "f", "parameters": {}}',
        ('So: {"name": "f", "parameters": {}}', []),
    ),
    "llama, another name": (
        ToolFormat.LLAMA,
        '{"name": "Emma", "age": 33}\n',
        ('{"name": "Emma", "age": 33}\n', []),
    ),
    "llama, other JSON": (ToolFormat.LLAMA, '{"age": 33}', ('{"age": 33}', [])),
    "llama, half": (ToolFormat.LLAMA, '{"name": "f", "par', ('{"name": "f", "par', [])),
    "llama, code": (
        ToolFormat.LLAMA,
        "<|python_tag|>print(1)",
        ("<|python_tag|>print(1)", []),
    ),
    "llama, text after": (
        ToolFormat.LLAMA,
        '{"name": "f", "parameters": {"a": 1}} Done.',
        ("Done.", [CALLED]),
    ),
    "mistral list": (
        ToolFormat.MISTRAL_LIST,
        'Well. [TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}, "id": "abcdefghi"}, '
        '{"name": "f", "arguments": {}}]',
        ("Well.", [CALLED, (1, "f", "{}")]),
    ),
    "mistral list, brackets inside": (
        ToolFormat.MISTRAL_LIST,
        '[TOOL_CALLS][{"name": "f", "arguments": {"a": "]}"}}]',
        ("", [(0, "f", '{"a": "]}"}')]),
    ),
    "mistral list, one wrong": (
        ToolFormat.MISTRAL_LIST,
        '[TOOL_CALLS][{"name": "f"}, 3]',
        ('[TOOL_CALLS][{"name": "f"}, 3]', []),
    ),
    "mistral list, half": (
        ToolFormat.MISTRAL_LIST,
        'a [TOOL_CALLS][{"name": "f"',
        ('a [TOOL_CALLS][{"name": "f"', []),
    ),
    "mistral": (
        ToolFormat.MISTRAL,
        '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{}',
        ("", [CALLED, (1, "f", "{}")]),
    ),
    "mistral, no object": (
        ToolFormat.MISTRAL,
        "[TOOL_CALLS]f[ARGS]1",
        ("[TOOL_CALLS]f[ARGS]1", []),
    ),
    "mistral, nearly": (ToolFormat.MISTRAL, "[TOOL_CAL", ("[TOOL_CAL", [])),
}


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize(
    ("form", "text", "expected"), OTHER_FORMATS.values(), ids=OTHER_FORMATS.keys()
)
def test_every_models_own_notation_of_calls_is_read(
    form: ToolFormat, text: str, expected: tuple[str, list[tuple[int, str, str]]], size: int
) -> None:
    found = parse(text, size, tools=ToolUse(form, frozenset({"f"})))
    assert ("", *expected) == summary(found)


@pytest.mark.parametrize("form", ToolFormat)
@given(
    text=st.text(st.sampled_from('[]{}"<>|:,; fTOL_CALSARG\n'), max_size=40), size=st.integers(1, 9)
)
def test_no_text_is_lost_in_any_notation(form: ToolFormat, text: str, size: int) -> None:
    """Beginning with a full stop, that is: before it there may be layout or a call."""
    found = parse("." + text, size, tools=ToolUse(form, frozenset({"f"})))
    assert ("", "." + text, []) == summary(found)


@given(text=st.text(st.sampled_from("<think>/ab \n[TOL_CALS]{}"), max_size=60))
@pytest.mark.parametrize("form", ToolFormat)
def test_pieces_of_text_know_their_place(form: ToolFormat, text: str) -> None:
    for item in parse(text, 3, tools=ToolUse(form, frozenset())):
        if isinstance(item, Written):
            assert item.text == text[item.start : item.start + len(item.text)]


def test_what_follows_the_only_call_that_is_allowed_is_left_out() -> None:
    tools = ToolUse(ToolFormat.HERMES, frozenset({"f"}), is_single=True)
    parser = MarkupParser(tools, opens_reasoning=False)
    assert [WEATHER] == summary(parser.feed(f"{CALL}{CALL} and so on"))[2]
    assert parser.is_done


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        (ToolFormat.HERMES, "call_[0-9a-f]{24}"),
        (ToolFormat.MISTRAL, "[0-9A-Za-z]{9}"),
        (ToolFormat.MISTRAL_LIST, "[0-9A-Za-z]{9}"),
    ],
)
def test_ids_are_what_the_models_own_template_takes(form: ToolFormat, pattern: str) -> None:
    first, second = form.new_id(), form.new_id()
    assert first != second
    assert re.fullmatch(pattern, first)


def test_reasoning_that_the_template_opened_needs_no_beginning() -> None:
    assert summary(parse("\nhm</think>\nYes", 2, reasoning=True)) == ("hm", "Yes", [])


def test_only_what_may_become_a_marker_is_held_back() -> None:
    parser = MarkupParser(HERMES, opens_reasoning=False)
    assert [Written("a<b", 0)] == parser.feed("a<b <too")
    assert [Written(" <tool-", 3)] == parser.feed("l-")


def test_reasoning_streams() -> None:
    parser = MarkupParser(None, opens_reasoning=False)
    assert parser.feed("<thi") == []
    assert [ReasoningDelta("h")] == parser.feed("nk>h")
    assert parser.in_reasoning
    assert [ReasoningDelta("m")] == parser.feed("m</")
    assert [Written("!", 17)] == parser.feed("think>!")
    assert not parser.in_reasoning


def test_every_call_has_an_id_of_its_own() -> None:
    first, second = (item for item in parse(CALL + CALL, 9) if isinstance(item, ToolCallDelta))
    assert first.id != second.id
    assert first.id is not None
    assert first.id.startswith("call_")


@pytest.mark.parametrize(
    ("form", "begin"),
    [
        (ToolFormat.HERMES, "<tool_call>"),
        (ToolFormat.LLAMA, '{"name": '),
        (ToolFormat.MISTRAL_LIST, "[TOOL_CALLS]"),
    ],
)
def test_json_nested_without_end_is_text(form: ToolFormat, begin: str) -> None:
    text = begin + "[" * 100_000
    assert text == text_of(parse(text, 200_000, tools=ToolUse(form, frozenset())))
