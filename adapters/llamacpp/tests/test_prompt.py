from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from typing_extensions import override

from adapters.llamacpp.tests.local_models import ScriptedModel, make_request
from one_api.adapter import ContextWindowExceeded, InvalidRequest, UnsupportedParameter
from one_api_llamacpp.prompt import PromptMaker
from one_api_llamacpp.template import CHATML, ChatTemplate

TOOL = {"type": "function", "function": {"name": "f<|end|>", "description": "<|end|>"}}


class SegmentedModel(ScriptedModel):
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
    model, maker = make("{{ messages | tojson }}{{ tools | tojson }}")
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


def test_calls_are_looked_for_only_when_there_are_tools_to_call() -> None:
    _, maker = make()
    tool = {"type": "function", "function": {"name": "f"}}
    assert not maker.make(make_request()).parses_tools
    assert maker.make(make_request(tools=[tool])).parses_tools
    assert maker.make(make_request(tools=[tool], tool_choice="auto")).parses_tools
    without = maker.make(make_request(tools=[tool], tool_choice="none"))
    assert not without.parses_tools
    assert maker.make(make_request()).tokens == without.tokens


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
    ],
    ids=["required", "named", "custom tool"],
)
def test_tool_wishes_that_cannot_be_granted_are_refused(fields: dict[str, Any], param: str) -> None:
    _, maker = make()
    with pytest.raises(UnsupportedParameter) as caught:
        maker.make(make_request(**fields))
    assert param == caught.value.param


@pytest.mark.parametrize(("end", "opens"), [("<think>\n", True), ("<think></think>", False)])
def test_a_template_may_open_the_reasoning_itself(end: str, opens: bool) -> None:
    _, maker = make("{{ messages[0].content }}" + end)
    assert opens == maker.make(make_request()).opens_reasoning


def test_stop_sequences_are_taken_over() -> None:
    _, maker = make()
    assert maker.make(make_request(stop=["a", "", "b"])).stops == ("a", "b")
