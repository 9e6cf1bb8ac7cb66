from __future__ import annotations

import json
import re
from typing import Any

import pytest

from one_api.adapter import ChatCompletionRequest, UnsupportedParameter
from one_api_llamacpp.conversation import (
    map_strings,
    to_template,
    with_arguments_as_text,
    with_short_ids,
    with_system_folded,
    with_tools_as_text,
    with_turns_merged,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"role": "user", "content": "hi", "name": "ann"},
            {"role": "user", "content": "hi", "name": "ann"},
        ),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {"role": "user", "content": "ab"},
        ),
        ({"role": "developer", "content": "obey"}, {"role": "system", "content": "obey"}),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "assistant", "content": "no"},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": {"a": 1}},
                    }
                ],
            },
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": ""}},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}],
            },
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": "21"},
            {"role": "tool", "tool_call_id": "c1", "content": "21"},
        ),
        (
            {"role": "function", "name": "f", "content": None},
            {"role": "tool", "name": "f", "content": ""},
        ),
    ],
    ids=["plain", "parts", "developer", "refusal", "call", "legacy call", "tool", "function"],
)
def test_messages_become_what_templates_expect(
    message: dict[str, Any], expected: dict[str, Any]
) -> None:
    request = ChatCompletionRequest.from_wire({"messages": [message]})
    assert [expected] == to_template(request.messages)


@pytest.mark.parametrize("arguments", ["not json", "[1]", "3"])
def test_arguments_that_are_no_object_stay_text(arguments: str) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    (message,) = to_template([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert arguments == message["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                ],
            },
            "messages[1].content[1]",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}
                ],
            },
            "messages[1].tool_calls",
        ),
    ],
    ids=["image", "custom call"],
)
def test_what_a_local_model_cannot_read_is_refused_by_place(
    message: dict[str, Any], param: str
) -> None:
    request = ChatCompletionRequest.from_wire(
        {"messages": [{"role": "user", "content": "hi"}, message]}
    )
    with pytest.raises(UnsupportedParameter) as caught:
        to_template(request.messages)
    assert param == caught.value.param


def test_arguments_go_back_to_text_for_templates_that_join_them() -> None:
    messages = to_template([{"role": "assistant", "content": None, "tool_calls": [CALL]}])
    (message,) = with_arguments_as_text(messages)
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'


def test_a_folded_system_text_opens_the_first_user_turn() -> None:
    system = {"role": "system", "content": "obey"}
    user = {"role": "user", "content": "hi"}
    answer = {"role": "assistant", "content": "yes"}
    folded = {"role": "user", "content": "obey\n\nhi"}
    assert [folded, answer, user] == with_system_folded([system, user, answer, user])
    assert [{"role": "user", "content": "obey"}, answer] == with_system_folded([system, answer])


def test_tools_as_text_join_the_system_text() -> None:
    system = {"role": "system", "content": "obey"}
    user = {"role": "user", "content": "hi"}
    tool = {"type": "function", "function": {"name": "f"}}
    told = with_tools_as_text([system, user], [tool])
    assert told[0]["content"].startswith("obey\n\n# Tools\n")
    assert json.dumps(tool) in told[0]["content"]
    assert [user] == told[1:]
    assert ["system", "user"] == [message["role"] for message in with_tools_as_text([user], [tool])]
    assert [user] == with_tools_as_text([user], [])


def test_merged_turns_keep_their_calls_and_results_stay_apart() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    said = {"role": "assistant", "content": "so"}
    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "content": "21"}
    merged = {"role": "assistant", "content": "so", "tool_calls": [call, call]}
    assert [merged, result, result] == with_turns_merged([said, calling, calling, result, result])


def test_short_ids_of_calls_and_results_stay_the_same_as_each_other() -> None:
    call: dict[str, Any] = {"id": "call_" + "x" * 24, "type": "function", "function": {}}
    calling, result = with_short_ids(
        [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"]}]
    )
    assert calling["tool_calls"][0]["id"] == result["tool_call_id"]
    assert re.fullmatch("[0-9a-f]{9}", result["tool_call_id"])
    assert call["id"].startswith("call_")


def test_every_string_is_mapped_keys_included() -> None:
    value = {"a": ["b", 1, None, True], "c": {"d": "e"}}
    assert map_strings(value, str.upper) == {"A": ["B", 1, None, True], "C": {"D": "E"}}
