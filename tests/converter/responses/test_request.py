"""Requests for responses as chat requests: a table of what becomes what, and of what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.converter.responses import ChatTranslation, chat_request
from one_api.converter.responses.sealed import seal
from one_api.errors import GatewayError, InvalidRequest, UnsupportedParameter
from one_api.schemas.responses import ResponseRequest

USER = {"role": "user", "content": "Hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
CALLED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
CHAT_TOOL = {"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}
PIXEL = "data:image/png;base64,AAAA"
BLOCKS = [{"type": "thinking", "thinking": "hm", "signature": "s"}]


def translated(**fields: Any) -> ChatTranslation:
    return chat_request(ResponseRequest.from_wire({"model": "m", "input": "Hi", **fields}))


def messages(*items: Any, **fields: Any) -> Any:
    return translated(input=list(items), **fields).chat.messages


def test_plain_request_asks_for_nothing_but_an_answer() -> None:
    assert {"messages": [USER], "model": "m"} == translated().chat.to_wire()


def test_instructions_come_first() -> None:
    assert [{"role": "system", "content": "Be brief."}, USER] == translated(
        instructions="Be brief."
    ).chat.messages


ITEMS: dict[str, tuple[list[Any], list[Any]]] = {
    "message without a type": ([USER], [USER]),
    "message with a type": ([{"type": "message", **USER}], [USER]),
    "developer": (
        [{"role": "developer", "content": [{"type": "input_text", "text": "d"}]}, USER],
        [{"role": "developer", "content": "d"}, USER],
    ),
    "one text": ([{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], [USER]),
    "two texts": (
        [{"role": "user", "content": [{"type": "input_text", "text": text} for text in "ab"]}],
        [{"role": "user", "content": [{"type": "text", "text": text} for text in "ab"]}],
    ),
    "text with a mark": (
        [{"role": "user", "content": [{"type": "input_text", "text": "a", "cache_control": {}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}],
    ),
    "image": (
        [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": PIXEL, "detail": "low"}],
            }
        ],
        [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}],
            }
        ],
    ),
    "file": (
        [
            {
                "role": "user",
                "content": [{"type": "input_file", "file_data": "AA", "filename": "a.pdf"}],
            }
        ],
        [
            {
                "role": "user",
                "content": [{"type": "file", "file": {"file_data": "AA", "filename": "a.pdf"}}],
            }
        ],
    ),
    "answer as it was given": (
        [
            USER,
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
                    {"type": "output_text", "text": "b", "annotations": []},
                ],
            },
            USER,
        ],
        [USER, {"role": "assistant", "content": "ab"}, USER],
    ),
    "refusal": (
        [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, USER],
        [USER, {"role": "assistant", "content": None, "refusal": "no"}, USER],
    ),
    "one turn in items": (
        [
            USER,
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": seal(BLOCKS),
            },
            {"role": "assistant", "content": "Let me look."},
            CALL,
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {"type": "function_call_output", "call_id": "c2", "output": "2"},
        ],
        [
            USER,
            {
                "role": "assistant",
                "content": "Let me look.",
                "reasoning_content": "hm",
                "thinking_blocks": BLOCKS,
                "tool_calls": [CALLED, {**CALLED, "id": "c2"}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": "2"},
        ],
    ),
    "reasoning text rather than its summary": (
        [
            {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "s"}],
                "content": [{"type": "reasoning_text", "text": "r"}],
                "encrypted_content": "sealed by somebody else",
            },
            CALL,
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "r",
                "tool_calls": [CALLED],
            }
        ],
    ),
    "reasoning that came to nothing": (
        [USER, {"type": "reasoning", "summary": []}, USER],
        [USER] * 2,
    ),
    "output in parts": (
        [
            CALL,
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": PIXEL},
                ],
            },
        ],
        [
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                ],
            },
        ],
    ),
}


@pytest.mark.parametrize(("items", "expected"), ITEMS.values(), ids=ITEMS)
def test_items_become_messages(items: list[Any], expected: list[Any]) -> None:
    assert expected == messages(*items)


SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "max_output_tokens": ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
    "effort": ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
    "summary only": ({"reasoning": {"summary": "auto"}}, {}),
    "verbosity": ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
    "text": ({"text": {"format": {"type": "text"}}}, {}),
    "json_object": (
        {"text": {"format": {"type": "json_object"}}},
        {"response_format": {"type": "json_object"}},
    ),
    "json_schema": (
        {"text": {"format": SCHEMA}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {k: v for k, v in SCHEMA.items() if k != "type"},
            }
        },
    ),
    "tools": (
        {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
        {"tools": [CHAT_TOOL], "tool_choice": "auto", "parallel_tool_calls": False},
    ),
    "no tools": ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    "a tool without parameters": (
        {"tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
    ),
    "named tool": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
        {
            "tools": [CHAT_TOOL],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
        },
    ),
    "allowed tools": (
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}],
            },
        },
        {
            "tools": [CHAT_TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        },
    ),
    "log probabilities": (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 2},
    ),
    "the same in both formats": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "user": "u",
            "safety_identifier": "s",
            "prompt_cache_key": "k",
            "service_tier": "flex",
            "stream": True,
        },
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "user": "u",
            "safety_identifier": "s",
            "prompt_cache_key": "k",
            "service_tier": "flex",
            "stream": True,
        },
    ),
    "ours alone": (
        {
            "metadata": {"k": "v"},
            "store": True,
            "background": False,
            "include": ["reasoning.encrypted_content"],
            "max_tool_calls": 3,
            "stream_options": {"include_obfuscation": False},
            "truncation": "disabled",
        },
        {},
    ),
    "unknown": ({"x_future": {"a": 1}, "seed": 5}, {"x_future": {"a": 1}, "seed": 5}),
    "null": ({"tools": None, "text": None, "reasoning": None, "max_output_tokens": None}, {}),
}


@pytest.mark.parametrize(("fields", "expected"), FIELDS.values(), ids=FIELDS)
def test_fields_become_chats(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    translation = translated(**fields)
    assert {"messages": [USER], "model": "m", **expected} == translation.chat.to_wire()
    assert () == translation.ignored


def test_what_has_no_effect_is_named() -> None:
    translation = translated(
        truncation="auto", reasoning={"mode": "pro"}, context_management=[], n=3
    )
    assert ("context_management", "n", "reasoning.mode", "truncation") == translation.ignored
    assert {"messages": [USER], "model": "m"} == translation.chat.to_wire()


STORAGE = {"type": "item_reference", "id": "msg_1"}
UNSUPPORTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "previous response": ({"previous_response_id": "resp_1"}, "previous_response_id", "'input'"),
    "conversation": ({"conversation": {"id": "conv_1"}}, "conversation", "'input'"),
    "background": ({"background": True}, "background", "stored"),
    "prompt": ({"prompt": {"id": "p"}, "input": None}, "prompt", "stored"),
    "item by reference": ({"input": [STORAGE]}, "input[0]", "item_reference"),
    "hosted tool": ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1]", "web_search"),
    "custom tool": ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0]", "custom"),
    "hosted choice": (
        {"tools": [TOOL], "tool_choice": {"type": "mcp", "server_label": "s"}},
        "tool_choice",
        "mcp",
    ),
    "hosted choice among others": (
        {
            "tools": [TOOL],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "web_search"}],
            },
        },
        "tool_choice.tools[0]",
        "web_search",
    ),
    "image by id": (
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].file_id",
        "image_url",
    ),
    "file by URL": (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
        "input[0].content[0].file_url",
        "file_data",
    ),
    "image for the system": (
        {
            "input": [
                {"role": "system", "content": [{"type": "input_image", "image_url": PIXEL}]},
            ]
        },
        "input[0].content[0]",
        "input_image",
    ),
}


@pytest.mark.parametrize(("fields", "param", "words"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_nobody_here_can_do_is_refused(fields: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(UnsupportedParameter, match=words) as caught:
        translated(**fields)
    assert (400, "unsupported_parameter", param) == (
        caught.value.status,
        caught.value.code,
        caught.value.param,
    )


WRONG: dict[str, tuple[Any, str | None, str]] = {
    "no object": ([], None, "invalid_type"),
    "no input": ({"input": None}, "input", "missing_required_parameter"),
    "input of a wrong type": ({"input": 5}, "input", "invalid_type"),
    "no items": ({"input": []}, "input", "empty_array"),
    "an item that is none": ({"input": [5]}, "input[0]", "invalid_value"),
    "an item without type and role": ({"input": [{"content": "a"}]}, "input[0]", "invalid_value"),
    "nothing but reasoning": (
        {"input": [{"type": "reasoning", "summary": []}]},
        "input",
        "invalid_value",
    ),
    "no content": ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
    "unknown role": (
        {"input": [{"role": "tool", "content": "a"}]},
        "input[0].role",
        "unsupported_value",
    ),
    "unknown part": (
        {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
        "input[0].content[0]",
        "invalid_value",
    ),
    "part without text": (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input[0].content[0].text",
        "missing_required_parameter",
    ),
    "image without a URL": (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0].image_url",
        "missing_required_parameter",
    ),
    "refusal of a user": (
        {"input": [{"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}]},
        "input[0].content[0]",
        "invalid_value",
    ),
    "image of an assistant": (
        {
            "input": [
                {"role": "assistant", "content": [{"type": "input_image", "image_url": PIXEL}]}
            ]
        },
        "input[0].content[0]",
        "invalid_value",
    ),
    "call without an id": (
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
        "input[0].call_id",
        "missing_required_parameter",
    ),
    "output without a call": (
        {"input": [{"type": "function_call_output", "output": "1"}]},
        "input[0].call_id",
        "missing_required_parameter",
    ),
    "changed reasoning": (
        {"input": [{"type": "reasoning", "encrypted_content": seal(BLOCKS)[:-7]}]},
        "input[0].encrypted_content",
        "invalid_value",
    ),
    "reasoning of a wrong shape": (
        {"input": [{"type": "reasoning", "encrypted_content": "one_api.1.NQ=="}]},
        "input[0].encrypted_content",
        "invalid_value",
    ),
    "tool without a type": ({"tools": [{"name": "f"}]}, "tools[0]", "invalid_value"),
    "tool without a name": (
        {"tools": [{"type": "function"}]},
        "tools[0].name",
        "missing_required_parameter",
    ),
    "tool in chat's shape": (
        {"tools": [CHAT_TOOL]},
        "tools[0].name",
        "missing_required_parameter",
    ),
    "unknown choice": ({"tool_choice": "any"}, "tool_choice", "unsupported_value"),
    "unknown format": (
        {"text": {"format": {"type": "xml"}}},
        "text.format",
        "invalid_value",
    ),
    "schema without a schema": (
        {"text": {"format": {"type": "json_schema", "name": "n"}}},
        "text.format.schema",
        "missing_required_parameter",
    ),
    "unknown effort": (
        {"reasoning": {"effort": "huge"}},
        "reasoning.effort",
        "unsupported_value",
    ),
    "no tokens": ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
    "a seed that is none": ({"seed": "x"}, "seed", "invalid_type"),
}


@pytest.mark.parametrize(("body", "param", "code"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(body: Any, param: str | None, code: str) -> None:
    whole = {"model": "m", "input": "Hi", **body} if isinstance(body, dict) else body
    with pytest.raises(InvalidRequest) as caught:
        chat_request(ResponseRequest.from_wire(whole))
    assert (400, param, code) == (caught.value.status, caught.value.param, caught.value.code)


NAMES = {
    "messages[0].content": "instructions.content",
    "messages[1].content[0].image_url.url": "input[0].content[0].image_url",
    "messages[1].content[0].file.file_data": "input[0].content[0].file_data",
    "messages[2].tool_calls[0].function.arguments": "input[1].tool_calls[0].function.arguments",
    "messages[9]": "input[9]",
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format.json_schema": "text.format.json_schema",
    "reasoning_effort": "reasoning.effort",
    "tools[0].function.parameters": "tools[0].parameters",
    "temperature": "temperature",
}


@pytest.mark.parametrize(("chat", "ours"), NAMES.items(), ids=NAMES)
def test_errors_speak_of_the_clients_parameters(chat: str, ours: str) -> None:
    items = [USER, CALL, {"type": "function_call_output", "call_id": "c1", "output": ""}]
    translation = translated(instructions="i", input=items)
    error = InvalidRequest(f"Wrong value for '{chat}'.", param=chat)
    translation.explain(error)
    assert (ours, f"Wrong value for '{ours}'.") == (error.param, error.message)


def test_errors_without_a_parameter_stay_as_they_are() -> None:
    error = InvalidRequest("Wrong.")
    translated().explain(error)
    assert (None, "Wrong.") == (error.param, error.message)


# -- reading is total

LEAVES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.text(max_size=4)
    | st.sampled_from(
        [
            "message",
            "user",
            "assistant",
            "system",
            "function_call",
            "function_call_output",
            "reasoning",
            "input_text",
            "input_image",
            "input_file",
            "output_text",
            "refusal",
            "function",
            "allowed_tools",
            "auto",
            "json_schema",
            seal(BLOCKS),
        ]
    )
)
KEYS = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "call_id",
        "name",
        "arguments",
        "output",
        "summary",
        "encrypted_content",
        "image_url",
        "file_data",
        "refusal",
        "mode",
        "tools",
        "format",
        "schema",
        "effort",
    ]
) | st.text(max_size=3)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=14,
)
NAMES_OF_FIELDS = st.sampled_from(sorted(ResponseRequest.model_fields)) | st.text(max_size=5)
CONTENT = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_text", "output_text", "refusal", "input_image"])},
        optional={"text": LEAVES, "refusal": LEAVES, "image_url": LEAVES, "file_id": LEAVES},
    ),
    max_size=3,
)
ITEM = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": LEAVES | CONTENT}
    ),
    st.fixed_dictionaries(
        {"type": st.just("reasoning")},
        optional={"summary": JSON, "content": JSON, "encrypted_content": LEAVES},
    ),
    st.just(CALL),
    st.fixed_dictionaries(
        {"type": st.just("function_call_output"), "call_id": LEAVES, "output": LEAVES | CONTENT}
    ),
)


def is_total(body: Any) -> bool:
    """Whether `body` gives a chat request or a 400; any other exception passes through."""
    try:
        translation = chat_request(ResponseRequest.from_wire(body))
    except GatewayError as error:
        return error.status == 400 and error.message != ""
    return len(translation.paths) == len(translation.chat.messages) > 0


@given(st.dictionaries(NAMES_OF_FIELDS, JSON, max_size=6))
@settings(deadline=None)
def test_any_json_object_is_a_request_or_a_400(body: dict[str, Any]) -> None:
    assert is_total(body)


@given(st.dictionaries(NAMES_OF_FIELDS, JSON, max_size=3), st.lists(ITEM, max_size=4))
@settings(deadline=None)
def test_any_list_of_items_is_a_request_or_a_400(fields: dict[str, Any], items: list[Any]) -> None:
    assert is_total({**fields, "input": items})


@given(st.lists(ITEM, min_size=1, max_size=6))
@settings(deadline=None)
def test_no_two_turns_of_the_model_follow_each_other(items: list[Any]) -> None:
    try:
        translation = translated(input=items)
    except GatewayError:
        return
    roles = [message["role"] for message in translation.chat.messages]
    assert ("assistant", "assistant") not in list(itertools.pairwise(roles))
