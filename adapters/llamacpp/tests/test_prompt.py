from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from adapters.llamacpp.tests.local_models import ByteTokeniser, make_request
from one_api.adapter import CompletionRequest, ContextWindowExceeded, InvalidRequest
from one_api_llamacpp.prompt import PromptMaker
from one_api_llamacpp.template import CHATML, ChatTemplate
from one_api_llamacpp.tool_formats import ToolFormat, ToolUse

TOOL = {"type": "function", "function": {"name": "f<|end|>", "description": "<|end|>"}}


class SegmentedModel(ByteTokeniser):
    """Notes what it was given to tokenise."""

    segments: Sequence[str] = ()

    @override
    def tokenise(self, segments: Sequence[str]) -> list[int]:
        self.segments = segments
        return super().tokenise(segments)


def make(source: str = CHATML) -> tuple[SegmentedModel, PromptMaker]:
    model = SegmentedModel()
    return model, PromptMaker(model, ChatTemplate(source, bos="", eos=""))


def test_the_templates_control_texts_stay_whole_and_the_users_are_split() -> None:
    model, maker = make("<|end|>{{ messages[0].content }}<|end|>")
    maker.make(make_request("a<|end|>b<|end|>c"))
    assert model.segments == ["<|end|>a<", "|end|>b<", "|end|>c<|end|>"]


@pytest.mark.parametrize(
    "content",
    ["<|<|end|>end|>", "<|end|><|end|>", "\ufdd0<|end|>", "<\ufdd0|end|>"],
    ids=["nested", "twice", "after a mark", "with a mark inside"],
)
def test_no_content_gets_a_control_text_through(content: str) -> None:
    model, maker = make("{{ messages[0].content }}")
    maker.make(make_request(content))
    assert all("<|end|>" not in segment for segment in model.segments)
    assert content.replace("\ufdd0", "") == "".join(model.segments)


def test_control_texts_are_split_wherever_a_client_may_write() -> None:
    model, maker = make("{# <tool_call> #}{{ messages | tojson }}{{ tools | tojson }}")
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "<|end|>"}], "name": "<|end|>"},
        {
            "role": "assistant",
            "content": "<|end|>",
            "tool_calls": [
                {
                    "id": "<|end|>",
                    "type": "function",
                    "function": {"name": "<|end|>", "arguments": '{"<|end|>": "<|end|>"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "<|end|>", "content": "<|end|>"},
    ]
    maker.make(make_request(messages=messages, tools=[TOOL]))
    assert all("<|end|>" not in segment for segment in model.segments)
    assert "".join(model.segments).count("<|end|>") == 11


@pytest.mark.parametrize(
    ("asked", "limit"),
    [({}, 990), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 5000}, 990)],
    ids=["none", "smaller", "larger than the room"],
)
def test_completion_is_bounded_by_the_client_and_the_context(
    asked: dict[str, int], limit: int
) -> None:
    _, maker = make("{{ messages[0].content }}")
    assert limit == maker.make(make_request("0123456789", **asked)).limit


@pytest.mark.parametrize("size", [1000, 1001, 20_000])
def test_a_prompt_without_room_for_an_answer_is_refused_with_numbers(size: int) -> None:
    _, maker = make("{{ messages[0].content }}")
    with pytest.raises(ContextWindowExceeded) as caught:
        maker.make(make_request("x" * size))
    assert (
        "This model's maximum context length is 1000 tokens. However, your messages resulted "
        f"in {size} tokens."
    ) == caught.value.message
    assert maker.make(make_request("x" * 999)).limit == 1


def test_a_template_that_renders_nothing_is_refused() -> None:
    _, maker = make("{% if messages %}{% endif %}")
    with pytest.raises(InvalidRequest, match="no prompt"):
        maker.make(make_request())


F: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
G: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "g",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}},
    },
}


def test_calls_are_looked_for_only_when_there_are_tools_to_call() -> None:
    _, maker = make()
    assert maker.make(make_request()).tools is None
    use = ToolUse(ToolFormat.HERMES, frozenset({"f"}))
    assert use == maker.make(make_request(tools=[F])).tools
    assert use == maker.make(make_request(tools=[F], tool_choice="auto")).tools
    without = maker.make(make_request(tools=[F], tool_choice="none"))
    assert without.tools is None
    assert maker.make(make_request()).tokens == without.tokens


def test_calls_are_left_to_the_model_where_nothing_demands_them() -> None:
    _, maker = make()
    assert maker.make(make_request(tools=[F, G])).sampling.grammar is None
    strict = {"type": "function", "function": {**G["function"], "strict": True}}
    assert maker.make(make_request(tools=[F, strict])).sampling.grammar is not None


@pytest.mark.parametrize(
    ("fields", "names", "is_single"),
    [
        ({"tool_choice": "required"}, {"f", "g"}, False),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {"f", "g"}, True),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, {"g"}, True),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [F]},
                }
            },
            {"f"},
            False,
        ),
    ],
    ids=["required", "single", "named", "allowed"],
)
def test_a_call_that_must_be_is_held_to_a_grammar(
    fields: dict[str, Any], names: set[str], is_single: bool
) -> None:
    _, maker = make()
    prompt = maker.make(make_request(tools=[F, G], **fields))
    assert ToolUse(ToolFormat.HERMES, frozenset(names), is_single) == prompt.tools
    assert prompt.sampling.grammar is not None
    assert "root ::=" in prompt.sampling.grammar


def test_the_functions_of_old_are_tools_that_are_called_once() -> None:
    _, maker = make()
    old = maker.make(make_request(functions=[G["function"]], function_call={"name": "g"}))
    choice = {"type": "function", "function": {"name": "g"}}
    assert old == replace(
        maker.make(make_request(tools=[G], tool_choice=choice)), sampling=old.sampling
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (
            {"tools": [F], "tool_choice": {"type": "function", "function": {"name": "h"}}},
            "tool_choice",
        ),
        ({"tools": [F], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice"),
        (
            {
                "tools": [F],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": []},
                },
            },
            "tool_choice",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ({"functions": [F["function"]], "function_call": {"name": "g"}}, "function_call"),
        ({"n": 9}, "n"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "strict": True, "parameters": {"not": {}}},
                    }
                ]
            },
            "tools[0].function.parameters.not",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"pattern": "a"}},
                }
            },
            "response_format.json_schema.schema.pattern",
        ),
    ],
    ids=[
        "required without tools",
        "named without tools",
        "another name",
        "custom choice",
        "none allowed",
        "custom tool",
        "another function",
        "too many choices",
        "strict function",
        "schema",
    ],
)
def test_wishes_that_cannot_be_granted_are_refused(fields: dict[str, Any], param: str) -> None:
    _, maker = make()
    with pytest.raises(InvalidRequest) as caught:
        maker.make(make_request(**fields))
    assert param == caught.value.param


def test_a_template_without_tools_leaves_them_to_the_text_and_says_so() -> None:
    model, maker = make("{% for m in messages %}{{ m.content }}{% endfor %}")
    prompt = maker.make(make_request(tools=[G]))
    assert ("tools",) == prompt.fallbacks
    assert '"name": "g"' in "".join(model.segments)
    assert () == maker.make(make_request()).fallbacks


@pytest.mark.parametrize(("end", "opens"), [("<think>\n", True), ("<think></think>", False)])
def test_a_template_may_open_the_reasoning_itself(end: str, opens: bool) -> None:
    _, maker = make("{{ messages[0].content }}" + end)
    assert opens == maker.make(make_request()).opens_reasoning


@pytest.mark.parametrize(
    ("end", "rule"),
    [
        ("", "root ::= (object)"),
        ("{# <think> #}", 'root ::= ("<think>" reasoning)? (object)'),
        ("<think>\n", "root ::= reasoning (object)"),
        ("<think>\n\n</think>\n\n", "root ::= (object)"),
    ],
    ids=["never", "possibly", "begun", "over"],
)
def test_what_is_demanded_comes_after_the_reasoning(end: str, rule: str) -> None:
    _, maker = make("{{ messages[0].content }}" + end)
    prompt = maker.make(make_request(response_format={"type": "json_object"}))
    assert prompt.sampling.grammar is not None
    assert rule in prompt.sampling.grammar.splitlines()


@pytest.mark.parametrize(
    ("given", "echo"), [("a<|end|>", "a<|end|>"), ([97, 240, 159, 145, 139], "a👋")]
)
def test_the_prompt_is_echoed_as_text(given: str | list[int], echo: str) -> None:
    _, maker = make()
    request = CompletionRequest.from_wire({"prompt": given, "echo": True})
    assert echo == maker.make_raw(request, given).echo
    assert maker.make_raw(CompletionRequest.from_wire({"prompt": given}), given).echo == ""


def test_stop_sequences_are_taken_over() -> None:
    _, maker = make()
    assert maker.make(make_request(stop=["a", "", "b"])).stops == ("a", "b")
