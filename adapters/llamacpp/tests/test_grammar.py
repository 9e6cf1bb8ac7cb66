"""Grammars of whole answers, as llama.cpp reads them, against what is then found in the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from adapters.llamacpp.tests.grammar_writer import GrammarWriter
from one_api.adapter import InvalidRequest, ReasoningDelta, ToolCallDelta
from one_api_llamacpp.grammar import Reasoning, answer_grammar
from one_api_llamacpp.markup import Found, MarkupParser
from one_api_llamacpp.tool_choice import Function
from one_api_llamacpp.tool_formats import ToolFormat, ToolUse
from one_api_llamacpp.written import Written

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
ADD = Function({"name": "add", "parameters": SCHEMA}, "tools[0].function")
STRICT = Function({"name": "add", "parameters": SCHEMA, "strict": True}, "tools[0].function")
NOW = Function({"name": "now"}, "tools[1].function")
JSON = {"type": "json_object"}


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrammarWriter]:
    made = GrammarWriter(tmp_path_factory.mktemp("vocabulary") / "noise.gguf")
    yield made
    made.close()


def grammar_of(
    functions: Sequence[Function] = (),
    use: ToolUse | None = None,
    *,
    response_format: Any = None,
    must_call: bool = False,
    reasoning: Reasoning = Reasoning.NEVER,
) -> str:
    grammar = answer_grammar(
        response_format, functions, use, must_call=must_call, reasoning=reasoning
    )
    assert grammar is not None
    return grammar


def use_of(form: ToolFormat, *, is_single: bool = False) -> ToolUse:
    return ToolUse(form, frozenset({"add", "now"}), is_single)


def parse(text: str, use: ToolUse | None, *, opens_reasoning: bool = False) -> list[Found]:
    parser = MarkupParser(use, opens_reasoning=opens_reasoning)
    return parser.feed(text) + parser.close()


def texts(writer: GrammarWriter, grammar: str, count: int = 12) -> list[str]:
    """Texts of `grammar` that came to an end, of which there must be some."""
    found = [text for seed in range(count) if (text := writer.write(grammar, seed)) is not None]
    assert found
    return found


@pytest.mark.llamacpp
@pytest.mark.parametrize("is_single", [True, False])
@pytest.mark.parametrize("form", ToolFormat)
def test_an_answer_that_must_call_is_calls_with_right_arguments(
    writer: GrammarWriter, form: ToolFormat, is_single: bool
) -> None:
    use = use_of(form, is_single=is_single)
    for text in texts(writer, grammar_of([ADD, NOW], use, must_call=True)):
        calls = parse(text, use)
        assert calls
        assert len(calls) == 1 or not is_single
        for call in calls:
            assert isinstance(call, ToolCallDelta), text
            arguments = json.loads(call.arguments)
            assert call.name in ("add", "now")
            assert arguments.keys() == ({"n"} if call.name == "add" else set())
            assert all(type(value) is int for value in arguments.values())


@pytest.mark.llamacpp
@pytest.mark.parametrize("form", ToolFormat)
def test_text_may_come_instead_of_what_is_strict_but_no_wrong_call(
    writer: GrammarWriter, form: ToolFormat
) -> None:
    grammar = grammar_of([STRICT], use_of(form))
    calls = texts(writer, grammar_of([STRICT], use_of(form), must_call=True))
    assert all(writer.accepts(grammar, text) for text in ("", "just <text>", "<b>", *calls))
    wrong = form.marker + '{"name": "add", "arguments": {"n": "1"}}</tool_call>'
    assert not writer.accepts(grammar, wrong)
    assert writer.accepts(grammar, "nearly " + form.marker[:-1])


@pytest.mark.llamacpp
def test_text_may_come_before_calls(writer: GrammarWriter) -> None:
    grammar = grammar_of([STRICT], use_of(ToolFormat.HERMES))
    call = '<tool_call>{"name": "add", "arguments": {"n": 1}}</tool_call>'
    assert writer.accepts(grammar, f"Well <tool>. {call}\n{call}")
    assert not writer.accepts(grammar, f"{call} and so on")


@pytest.mark.llamacpp
def test_what_begins_like_the_call_of_a_llama_must_be_one(writer: GrammarWriter) -> None:
    grammar = grammar_of([STRICT], use_of(ToolFormat.LLAMA))
    assert not writer.accepts(grammar, '{"n": 1}')
    assert not writer.accepts(grammar, ' {"n": 1}')


@pytest.mark.llamacpp
def test_calls_may_come_instead_of_the_format_that_is_demanded(writer: GrammarWriter) -> None:
    grammar = grammar_of([ADD], use_of(ToolFormat.HERMES), response_format=JSON)
    assert writer.accepts(grammar, '{"a": 1}')
    assert writer.accepts(
        grammar, '<tool_call>\n{"name": "add", "arguments": {"n": 1}}\n</tool_call>'
    )
    assert not writer.accepts(grammar, "text")


@pytest.mark.llamacpp
@pytest.mark.parametrize("reasoning", Reasoning)
def test_reasoning_is_free_and_the_answer_after_it_is_not(
    writer: GrammarWriter, reasoning: Reasoning
) -> None:
    grammar = grammar_of(response_format=JSON, reasoning=reasoning)
    thought = 'hm {"a" </thin <think> é'
    with_end = f"{thought}</think>\n\n{{}}"
    assert writer.accepts(grammar, "{}") == (reasoning is not Reasoning.BEGUN)
    assert writer.accepts(grammar, f"<think>{with_end}") == (reasoning is not Reasoning.NEVER)
    assert writer.accepts(grammar, with_end) == (reasoning is Reasoning.BEGUN)
    assert not writer.accepts(grammar, f"<think>{thought}</think>hm {{}}")


@pytest.mark.llamacpp
def test_an_answer_after_reasoning_is_split_as_it_was_held_to(writer: GrammarWriter) -> None:
    grammar = grammar_of(response_format=JSON, reasoning=Reasoning.BEGUN)
    text = 'hm {</think>\n{"a": 1}'
    assert writer.accepts(grammar, text)
    assert [ReasoningDelta("hm {"), Written('{"a": 1}', 13)] == parse(
        text, None, opens_reasoning=True
    )


@pytest.mark.llamacpp
@pytest.mark.parametrize(
    ("schema", "text", "is_right"),
    [
        (None, '{"a": []}', True),
        (None, "[]", False),
        (SCHEMA, '{"n": 3}', True),
        (SCHEMA, "{}", False),
    ],
)
def test_a_schema_that_is_demanded_is_followed(
    writer: GrammarWriter, schema: Any, text: str, is_right: bool
) -> None:
    told = {"name": "n"} if schema is None else {"name": "n", "schema": schema}
    demanded = {"type": "json_schema", "json_schema": told}
    assert is_right == writer.accepts(grammar_of(response_format=demanded), text)


@pytest.mark.parametrize("response_format", [None, {"type": "text"}])
def test_what_may_be_anything_needs_no_grammar(response_format: Any) -> None:
    use = use_of(ToolFormat.HERMES)
    for tools in (use, None):
        assert (
            answer_grammar(
                response_format, [ADD], tools, must_call=False, reasoning=Reasoning.POSSIBLY
            )
            is None
        )


UNENFORCEABLE = {"type": "object", "properties": {"n": {"pattern": "a"}}}


def test_arguments_of_a_function_that_is_not_strict_may_be_any_object() -> None:
    loose = Function({"name": "add", "parameters": UNENFORCEABLE}, "tools[0].function")
    grammar = grammar_of([loose], use_of(ToolFormat.HERMES), must_call=True)
    (calls,) = [line for line in grammar.splitlines() if line.startswith("calls")]
    assert r'", \"arguments\": " object "}"' in calls


def test_a_wrong_schema_is_told_even_where_an_answer_must_call() -> None:
    demanded = {"type": "json_schema", "json_schema": {"name": "n", "schema": UNENFORCEABLE}}
    with pytest.raises(InvalidRequest) as caught:
        grammar_of([ADD], use_of(ToolFormat.HERMES), response_format=demanded, must_call=True)
    assert caught.value.param == "response_format.json_schema.schema.properties.n.pattern"


def test_a_strict_function_that_cannot_be_enforced_is_refused_by_place() -> None:
    strict = {"name": "add", "parameters": UNENFORCEABLE, "strict": True}
    with pytest.raises(InvalidRequest) as caught:
        grammar_of([Function(strict, "tools[0].function")], use_of(ToolFormat.HERMES))
    assert caught.value.param == "tools[0].function.parameters.properties.n.pattern"
