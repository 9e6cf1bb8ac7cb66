from __future__ import annotations

from typing import Any

import pytest

from one_api.adapter import InvalidRequest, UnsupportedParameter
from one_api_llamacpp.template import CHATML, ChatTemplate, InvalidTemplate

USER = {"role": "user", "content": "hi"}
SYSTEM = {"role": "system", "content": "obey"}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": "ü"}}}],
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}


def render(source: str, *messages: Any, tools: Any = ()) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages, tools)


def test_a_file_without_template_speaks_chatml() -> None:
    expected = (
        "<|im_start|>system\nobey\n<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n"
        "<|im_start|>assistant\n"
        '\n<tool_call>\n{"name": "f", "arguments": {"a": "ü"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n21\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    result = {"role": "tool", "content": "21"}
    assert expected == render(CHATML, SYSTEM, USER, CALLED, result)


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
    assert ChatTemplate(source, bos="", eos="").render(messages) == "2"
    assert messages == [USER]


def test_a_refused_system_role_is_folded_into_the_user_turn() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    assert render(source, SYSTEM, USER) == "obey\n\nhi"


def test_arguments_are_given_as_text_to_a_template_that_joins_them() -> None:
    source = (
        "{% for m in messages %}{% for c in m.tool_calls or () %}"
        "{{ 'call ' + c.function.arguments }}{% endfor %}{% endfor %}"
    )
    assert render(source, USER, CALLED) == 'call {"a": "ü"}'


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


def test_tools_that_a_template_leaves_out_are_refused_not_lost() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        render("{{ messages[0].content }}", USER, tools=[TOOL])
    assert caught.value.param == "tools"


def test_a_text_that_is_no_template_is_known_at_once() -> None:
    with pytest.raises(InvalidTemplate):
        ChatTemplate("{% for %}", bos="", eos="")
