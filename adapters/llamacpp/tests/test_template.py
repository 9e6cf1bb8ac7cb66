from __future__ import annotations

from typing import Any

import pytest

from one_api.adapter import InvalidRequest
from one_api_llamacpp.template import CHATML, ChatTemplate, InvalidTemplate, Rendering
from one_api_llamacpp.tool_formats import ToolFormat

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "obey"}
CALLED: dict[str, Any] = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": "ü"}}}],
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}


def rendering(source: str, *messages: Any, tools: Any = ()) -> Rendering:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages, tools)


def render(source: str, *messages: Any, tools: Any = ()) -> str:
    return rendering(source, *messages, tools=tools).text


def test_a_file_without_template_speaks_chatml() -> None:
    expected = (
        "<|im_start|>system\nobey<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
        '<tool_call>\n{"name": "f", "arguments": {"a": "ü"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n21\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    result = {"role": "tool", "content": "21"}
    assert expected == render(CHATML, SYSTEM, USER, CALLED, result)


def test_a_template_that_is_not_the_models_own_is_named_as_a_fallback() -> None:
    assert rendering(CHATML, USER).fallbacks == ("messages",)
    assert rendering(CHATML, USER, tools=[TOOL]).fallbacks == ("messages", "tools")
    assert rendering("{{ messages[0].content }}", USER).fallbacks == ()


def test_a_system_role_that_was_folded_is_named_as_a_fallback() -> None:
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    assert rendering(source, SYSTEM, USER).fallbacks == ("messages",)


def test_chatml_tells_the_tools_in_the_system_turn() -> None:
    prompt = render(CHATML, USER, tools=[TOOL])
    assert prompt.startswith("<|im_start|>system\n# Tools\n")
    assert '{"type": "function", "function": {"name": "get_weather", "parameters": {}}}' in prompt
    assert prompt.endswith("<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


def test_no_tools_means_undefined_not_none() -> None:
    source = "{{ 'defined' if tools is defined else 'undefined' }}"
    assert render(source, USER) == "undefined"


def test_json_is_written_as_transformers_does() -> None:
    source = (
        "{{ messages[0] | tojson }}{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}"
        "{{ messages | map(attribute='role') | tojson }}"
    )
    message = {"role": "user", "content": "<ü>'"}
    expected = '{"role": "user", "content": "<ü>\'"}{\n "a": 2,\n "b": 1\n}["user"]'
    assert expected == render(source, message)


def test_templates_have_bos_eos_loop_controls_and_generation_blocks() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% break %}{% endfor %}{{ eos_token }}"
    )
    assert render(source, USER, USER) == "<s>hi</s>"


def test_a_template_may_change_its_messages_but_not_the_callers() -> None:
    messages = [USER]
    source = "{% set _ = messages.append(messages[0]) %}{{ messages | length }}"
    assert ChatTemplate(source, bos="", eos="").render(messages).text == "2"
    assert messages == [USER]


def test_a_refused_system_role_is_folded_into_the_user_turn() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    assert render(source, SYSTEM, USER) == "obey\n\nhi"


def test_arguments_are_given_as_text_to_a_template_that_joins_them() -> None:
    source = (
        "{# <tool_call> #}{% for m in messages %}{% for c in m.tool_calls or () %}"
        "{{ c.function.name + ' ' + c.function.arguments }}{% endfor %}{% endfor %}"
    )
    assert render(source, USER, CALLED) == 'f {"a": "ü"}'


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].nothing.at_all }}", "has no attribute 'nothing'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
    ids=["raise_exception", "undefined", "arithmetic", "sandbox"],
)
def test_what_a_template_cannot_render_is_the_requests_fault(source: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        render(source, USER)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].content }}",
        "{# <tool_call> #}{{ messages[0].content }}",
        "{{ messages[0].content }}{{ tools | default('') }}",
    ],
    ids=["without tools", "ignoring them", "in a notation that is not read"],
)
def test_tools_that_a_template_does_not_tell_readably_are_told_as_text(source: str) -> None:
    told = rendering(source, USER, tools=[TOOL])
    assert '"name": "get_weather"' in told.text
    assert "<tool_call>" in told.text
    assert (told.tool_format, told.fallbacks) == (ToolFormat.HERMES, ("tools",))


def test_calls_and_results_are_told_as_text_where_the_template_has_no_place_for_them() -> None:
    source = (
        "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}"
        "{{ raise_exception('no such role') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    result = {"role": "tool", "tool_call_id": "c", "content": "21"}
    expected = (
        '[user]hi[assistant]<tool_call>\n{"name": "f", "arguments": {"a": "ü"}}\n</tool_call>'
        "[user]<tool_response>\n21\n</tool_response>"
    )
    assert expected == render(source, USER, CALLED, result)


def test_turns_are_merged_for_a_template_in_which_they_must_alternate() -> None:
    source = (
        "{% for m in messages %}{% if loop.previtem and loop.previtem.role == m.role %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    assert render(source, USER, USER) == "hi\n\nhi"


def test_ids_are_shortened_for_a_template_that_refuses_others() -> None:
    source = (
        "{# [TOOL_CALLS] #}{% for m in messages %}{% for id in [m.tool_call_id] if id %}"
        "{% if id | length != 9 %}{{ raise_exception('nine!') }}{% endif %}{{ id }}{% endfor %}"
        "{% for c in m.tool_calls or () %}{{ c.function.name ~ c.id }}{% endfor %}{% endfor %}"
    )
    call = {**CALLED["tool_calls"][0], "id": "call_0123456789"}
    message = {**CALLED, "tool_calls": [call]}
    prompt = render(
        source, message, {"role": "tool", "tool_call_id": "call_0123456789", "content": ""}
    )
    assert (len(prompt), prompt[1:10]) == (19, prompt[10:])
    assert "abcdefghi" in render(
        source, {"role": "tool", "tool_call_id": "abcdefghi", "content": ""}
    )


@pytest.mark.parametrize(
    ("source", "form"),
    [
        ("<tool_call>{{ tools }}", ToolFormat.HERMES),
        ("<tool_call><function={{ tools }}", None),
        ("[TOOL_CALLS]{{ tools }}", ToolFormat.MISTRAL_LIST),
        ("[TOOL_CALLS][ARGS]{{ tools }}", ToolFormat.MISTRAL),
        ("<|start_header_id|>ipython{{ tools }}", ToolFormat.LLAMA),
        ("{{ tools }}", None),
    ],
)
def test_the_notation_of_calls_is_told_by_the_template(
    source: str, form: ToolFormat | None
) -> None:
    told = rendering(source, USER, tools=[TOOL])
    assert (told.tool_format, told.fallbacks) == (
        (form, ()) if form else (ToolFormat.HERMES, ("tools",))
    )


@pytest.mark.parametrize("source", ["<think>", "<thin"])
def test_a_template_says_whether_its_model_reasons(source: str) -> None:
    assert (source == "<think>") == ChatTemplate(source, bos="", eos="").reasons


def test_a_template_that_does_not_come_to_an_end_is_refused() -> None:
    source = "{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}"
    with pytest.raises(InvalidRequest, match="does not come to an end"):
        render(source, USER)


def test_a_text_that_is_no_template_is_known_at_once() -> None:
    with pytest.raises(InvalidTemplate):
        ChatTemplate("{% for %}", bos="", eos="")
