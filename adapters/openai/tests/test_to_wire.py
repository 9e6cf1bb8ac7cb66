"""Chat requests as requests for a response."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from one_api.adapter import Call, ChatCompletionRequest, JsonObject, UnsupportedParameter
from one_api_openai.to_wire import parameter_from_wire, request_to_wire

PARAMETERS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsStreaming)
QUESTION: JsonObject = {"role": "user", "content": "Hello?"}
FUNCTION: JsonObject = {
    "name": "get_weather",
    "description": "d",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
TOOL: JsonObject = {"type": "function", "function": FUNCTION}
FLAT: JsonObject = {"type": "function", **FUNCTION}
PIXEL = "data:image/png;base64,AAAA"


def exhaust(value: Any) -> None:
    """Visit all of `value`: pydantic validates iterables only when they are read."""
    if isinstance(value, Mapping):
        for inner in value.values():
            exhaust(inner)
    elif isinstance(value, list | Iterator):
        for inner in value:
            exhaust(inner)


def sent(call: Call | None = None, **fields: Any) -> JsonObject:
    """The body for a request with `fields`."""
    body = {"model": "x", "messages": [QUESTION], "tools": [TOOL], **fields}
    return request_to_wire(ChatCompletionRequest.from_wire(body), call or Call(model="gpt-5.6"))


def check(body: JsonObject) -> None:
    """`body` has the shape that the SDK gives it.

    The SDK knows what a model said only as it was stored, with an id. The API needs none.
    """
    stored = {"id": "msg_0", "status": "completed"}
    given = [
        {**item, **stored} if item.get("role") == "assistant" else item for item in body["input"]
    ]
    for item in given:
        if item.get("role") == "assistant":
            item["content"] = [{"annotations": [], **part} for part in item["content"]]
    exhaust(PARAMETERS.validate_python({**body, "input": given}))


def items(*messages: JsonObject) -> list[JsonObject]:
    """The items of `messages`, in the shape that the SDK gives them."""
    body = sent(messages=list(messages))
    check(body)
    given: list[JsonObject] = body["input"]
    return given


def call_of(id_: str, name: str = "f", arguments: str = "{}") -> JsonObject:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- the whole


def test_a_response_is_streamed_and_not_stored() -> None:
    assert {
        "model": "gpt-5.6",
        "input": [{"type": "message", "role": "user", "content": "Hello?"}],
        "tools": [FLAT],
        "reasoning": {"effort": "high"},
        "store": False,
        "stream": True,
    } == sent(reasoning_effort="high", stream=False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"max_tokens": 50}, {"max_output_tokens": 50}, id="old limit"),
        pytest.param({"max_completion_tokens": 50}, {"max_output_tokens": 50}, id="limit"),
        pytest.param({"verbosity": "low"}, {"text": {"verbosity": "low"}}, id="verbosity"),
        pytest.param(
            {"response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "json_object"}}},
            id="JSON",
        ),
        pytest.param(
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                },
                "verbosity": "high",
            },
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "n",
                        "schema": {"type": "object"},
                        "strict": True,
                    },
                    "verbosity": "high",
                }
            },
            id="schema",
        ),
        pytest.param(
            {"stream": True, "stream_options": {"include_usage": True}}, {}, id="usage is told"
        ),
        pytest.param(
            {"stream": True, "stream_options": {"include_obfuscation": False}},
            {"stream_options": {"include_obfuscation": False}},
            id="obfuscation",
        ),
        pytest.param(
            {"reasoning_effort": "low", "include_reasoning": True},
            {"reasoning": {"effort": "low", "summary": "auto"}},
            id="reasoning asked for",
        ),
        pytest.param({"include_reasoning": False}, {}, id="reasoning not asked for"),
        pytest.param(
            {"reasoning_effort": "low", "reasoning": {"summary": "detailed"}},
            {"reasoning": {"effort": "low", "summary": "detailed"}},
            id="reasoning of their own",
        ),
        pytest.param(
            {"text": {"x": 1}, "verbosity": "low"},
            {"text": {"x": 1, "verbosity": "low"}},
            id="text of their own",
        ),
        pytest.param({"stream": True, "model": "y", "input": "z"}, {}, id="ours comes first"),
        pytest.param({"n": 1, "logprobs": False, "stop": ""}, {}, id="nothing asked for"),
    ],
)
def test_fields_have_their_names_here(given: JsonObject, expected: JsonObject) -> None:
    call = Call(model="gpt-5.6")
    assert {**sent(), **expected} == sent(call, **given)
    assert [] == call.dropped


def test_fields_of_both_formats_and_unknown_ones_are_sent_as_they_are() -> None:
    fields: JsonObject = {
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "explicit"},
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "service_tier": "flex",
        "temperature": 0.5,
        "top_p": 0.5,
        "user": "u",
        "moderation": {"model": "m"},
        "new_field": {"a": [None]},
        "max_tool_calls": 2,
    }
    assert {**sent(), **fields} == sent(**fields)


# -- what is lost

TUNING: JsonObject = {
    "frequency_penalty": 1,
    "logit_bias": {"5": 1},
    "prediction": {"type": "content", "content": "p"},
    "presence_penalty": 1,
    "seed": 0,
    "store": True,
}
SHAPING: JsonObject = {
    "audio": {"format": "wav", "voice": "alloy"},
    "logprobs": True,
    "n": 2,
    "stop": ["."],
    "web_search_options": {},
}


def test_what_only_tunes_is_dropped_and_told() -> None:
    call = Call(model="gpt-5.6")
    assert sent() == sent(call, **TUNING)
    assert sorted(TUNING) == sorted(call.dropped)


@pytest.mark.parametrize("name", TUNING)
def test_nothing_is_dropped_where_strictness_is_asked_for(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        sent(Call(model="gpt-5.6", strict_params=True), **{name: TUNING[name]})
    assert name == caught.value.param


@pytest.mark.parametrize("name", SHAPING)
def test_what_changes_the_answer_is_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match="'reasoning_effort' to 'none'") as caught:
        sent(**{name: SHAPING[name]})
    assert name == caught.value.param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param(
            {"tools": [TOOL, {"type": "custom", "custom": {"name": "c"}}]}, "tools[1]", id="tool"
        ),
        pytest.param(
            {"tool_choice": {"type": "custom", "custom": {"name": "c"}}}, "tool_choice", id="choice"
        ),
        pytest.param(
            {
                "messages": [
                    QUESTION,
                    {
                        "role": "assistant",
                        "tool_calls": [
                            {"id": "c", "type": "custom", "custom": {"name": "c", "input": ""}}
                        ],
                    },
                ]
            },
            "messages[1].tool_calls[0]",
            id="call",
        ),
        pytest.param(
            {"messages": [QUESTION, {"role": "assistant", "audio": {"id": "a"}}]},
            "messages[1].audio",
            id="spoken answer",
        ),
        pytest.param(
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "?"},
                            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                        ],
                    }
                ]
            },
            "messages[0].content[1]",
            id="audio",
        ),
    ],
)
def test_what_has_no_place_here_is_named(fields: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        sent(**fields)
    assert param == caught.value.param


def test_names_of_speakers_are_dropped_and_told_once() -> None:
    call = Call(model="gpt-5.6")
    named = [{**QUESTION, "name": "Ann"}, {**QUESTION, "name": "Bob"}]
    assert sent(messages=[QUESTION, QUESTION]) == sent(call, messages=named)
    assert ["messages.name"] == call.dropped


# -- tools


def test_functions_are_strict_only_when_told() -> None:
    """Here they are unless told otherwise, in a chat it is the other way round."""
    bare = {"type": "function", "function": {"name": "ping", "parameters": None}}
    assert [
        {
            "type": "function",
            "name": "ping",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        }
    ] == sent(tools=[bare])["tools"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        pytest.param("none", "none", id="none"),
        pytest.param("auto", "auto", id="auto"),
        pytest.param("required", "required", id="required"),
        pytest.param(
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "name": "f"},
            id="function",
        ),
        pytest.param(
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "f"}}, {"type": "x"}],
                },
            },
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "x"}],
            },
            id="allowed",
        ),
    ],
)
def test_tool_choice_is_flat(choice: Any, expected: Any) -> None:
    assert expected == sent(tool_choice=choice)["tool_choice"]


@pytest.mark.parametrize(
    ("given", "expected"), [("auto", "auto"), ({"name": "f"}, {"type": "function", "name": "f"})]
)
def test_legacy_functions_are_tools_called_one_at_a_time(given: Any, expected: Any) -> None:
    body = sent(tools=None, functions=[FUNCTION], function_call=given)
    assert ([FLAT], expected, False) == (
        body["tools"],
        body["tool_choice"],
        body["parallel_tool_calls"],
    )


# -- messages


@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_instructions_and_questions_are_messages(role: str) -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    parts = [
        {"type": "text", "text": "a", **mark},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]
    assert [
        {"type": "message", "role": role, "content": "a"},
        {
            "type": "message",
            "role": role,
            "content": [
                {"type": "input_text", "text": "a", **mark},
                {"type": "input_text", "text": "b"},
            ],
        },
    ] == items({"role": role, "content": "a"}, {"role": role, "content": parts})


def test_images_and_files_are_sent() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:,x", "filename": "a.txt", "file_id": None}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    (message,) = items({"role": "user", "content": content})
    assert [
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_file", "file_data": "data:,x", "filename": "a.txt"},
        {"type": "input_file", "file_id": "file-1"},
    ] == message["content"]


def test_a_turn_with_calls_is_its_words_then_its_calls_then_their_results() -> None:
    turn = {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": [call_of("c1", "f", '{"a":1}'), call_of("c2", "g")],
    }
    picture = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    given = items(
        turn,
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": picture},
    )
    assert [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me look."}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_image", "image_url": PIXEL, "detail": "auto"}],
        },
    ] == given


@pytest.mark.parametrize("content", [None, "", []], ids=["none", "empty", "no parts"])
def test_a_turn_of_calls_alone_has_no_message(content: Any) -> None:
    turn = {"role": "assistant", "content": content, "tool_calls": [call_of("c")]}
    assert ["function_call"] == [item["type"] for item in items(turn)]


def test_refusals_are_sent_back() -> None:
    parts = [{"type": "text", "text": "Well"}, {"type": "refusal", "refusal": "No."}]
    first, second = items(
        {"role": "assistant", "content": parts}, {"role": "assistant", "refusal": "Never."}
    )
    assert [
        {"type": "output_text", "text": "Well"},
        {"type": "refusal", "refusal": "No."},
    ] == first["content"]
    assert [{"type": "refusal", "refusal": "Never."}] == second["content"]


def test_a_turn_in_which_nothing_was_said_keeps_its_place() -> None:
    (item,) = items({"role": "assistant", "content": ""})
    assert [{"type": "output_text", "text": ""}] == item["content"]


def test_legacy_calls_find_their_results() -> None:
    def called(name: str) -> JsonObject:
        return {"role": "assistant", "function_call": {"name": name, "arguments": "{}"}}

    given = items(
        called("f"),
        called("g"),
        {"role": "function", "name": "g", "content": "of g"},
        {"role": "function", "name": "f", "content": "of f"},
        called("f"),
        {"role": "function", "name": "f", "content": None},
    )
    assert [
        ("call_fn_0", None),
        ("call_fn_1", None),
        ("call_fn_1", "of g"),
        ("call_fn_0", "of f"),
        ("call_fn_2", None),
        ("call_fn_2", ""),
    ] == [(item["call_id"], item.get("output")) for item in given]


# -- what the provider says of it


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("max_output_tokens", "max_tokens"),
        ("input", "messages"),
        ("input[3].content[0].text", "messages"),
        ("reasoning.effort", "reasoning_effort"),
        ("text.format.schema", "response_format"),
        ("text.verbosity", "verbosity"),
        ("temperature", "temperature"),
        ("inputs", "inputs"),
    ],
)
def test_parameters_have_the_clients_names(theirs: str, ours: str) -> None:
    request = ChatCompletionRequest.from_wire({"messages": [QUESTION], "max_tokens": 5})
    assert ours == parameter_from_wire(theirs, request)


def test_the_limit_has_the_name_the_client_used() -> None:
    request = ChatCompletionRequest.from_wire({"messages": [QUESTION], "max_completion_tokens": 5})
    assert "max_completion_tokens" == parameter_from_wire("max_output_tokens", request)


# -- laws

TEXT = st.sampled_from(["", " ", "a", "é🙂", "\u2028"])
PARTS = st.lists(
    st.one_of(
        TEXT.map(lambda text: {"type": "text", "text": text}),
        st.just({"type": "image_url", "image_url": {"url": PIXEL}}),
        st.just({"type": "file", "file": {"file_id": "file-1"}}),
        st.just({"type": "input_audio", "input_audio": {"data": "", "format": "mp3"}}),
    ),
    min_size=1,
    max_size=3,
)
MESSAGES = st.one_of(
    st.builds(lambda c: {"role": "user", "content": c}, TEXT | PARTS),
    st.builds(
        lambda r, c: {"role": r, "content": c}, st.sampled_from(["system", "developer"]), TEXT
    ),
    st.builds(
        lambda c, ids, r: {
            "role": "assistant",
            "content": c,
            "refusal": r,
            "tool_calls": [call_of(id_) for id_ in ids],
        },
        TEXT,
        st.lists(st.sampled_from(["c1", "c2"]), max_size=2),
        st.none() | TEXT,
    ),
    st.builds(
        lambda c: {"role": "tool", "tool_call_id": "c1", "content": c},
        TEXT | PARTS,
    ),
    st.builds(
        lambda n: {"role": "assistant", "function_call": {"name": n, "arguments": "{}"}},
        st.sampled_from(["f", "g"]),
    ),
    st.builds(
        lambda n, c: {"role": "function", "name": n, "content": c},
        st.sampled_from(["f", "g"]),
        st.none() | TEXT,
    ),
)
REQUESTS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=5), "tools": st.just([TOOL])},
    optional={
        "n": st.integers(1, 2),
        "stop": st.sampled_from(["", ".", []]),
        "seed": st.integers(0, 1),
        "reasoning_effort": st.sampled_from(["low", "max", None]),
        "tool_choice": st.sampled_from(["auto", {"type": "function", "function": {"name": "f"}}]),
        "include_reasoning": st.booleans(),
    },
)


@settings(deadline=None)
@given(body=REQUESTS, strict=st.booleans())
def test_every_valid_request_converts_to_the_same_body_or_is_refused(
    body: JsonObject, strict: bool
) -> None:
    before = orjson.dumps(body)
    request = ChatCompletionRequest.from_wire(body)
    outcomes: list[JsonObject | str] = []
    for _ in range(2):
        call = Call(model="m", strict_params=strict)
        try:
            outcomes.append(request_to_wire(request, call))
        except UnsupportedParameter as error:
            outcomes.append(error.message)
        assert not (strict and call.dropped)
    first, second = outcomes
    assert first == second
    assert before == orjson.dumps(body)
    if not isinstance(first, str):
        check(first)


@settings(deadline=None)
@given(messages=st.lists(MESSAGES, min_size=1, max_size=5), more=MESSAGES)
def test_going_on_with_a_conversation_only_appends(
    messages: list[JsonObject], more: JsonObject
) -> None:
    """The provider's cache of the prompt holds."""
    try:
        longer = sent(messages=[*messages, more])["input"]
    except UnsupportedParameter:
        return
    shorter = sent(messages=messages)["input"]
    assert shorter == longer[: len(shorter)]
