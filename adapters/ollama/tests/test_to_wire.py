from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.ollama.tests.scripted import URL, connect
from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    InvalidRequest,
    JsonObject,
    UnsupportedParameter,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "get_weather", "description": "The weather", "parameters": SCHEMA}
TOOL = {"type": "function", "function": WEATHER}
CLOCK = {"type": "function", "function": {"name": "get_time"}}
CLOCK_ON_WIRE = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
USER = {"role": "user", "content": "Hi"}


def wire_of(call: Call | None = None, **fields: Any) -> JsonObject:
    """The body for a request with these fields."""
    body = {"model": "public", "messages": [USER], **fields}
    adapter, _ = connect()
    request = adapter.to_wire(ChatCompletionRequest.from_wire(body), call or Call(model="qwen3"))
    assert f"{URL}/api/chat" == request.url
    assert isinstance(request.body, bytes)
    told: JsonObject = orjson.loads(request.body)
    return told


def messages_of(*messages: JsonObject, call: Call | None = None) -> list[JsonObject]:
    wire: list[JsonObject] = wire_of(call, messages=list(messages))["messages"]
    return wire


def turn(*calls: tuple[str, str, str], **fields: Any) -> JsonObject:
    """A message of the model with calls: id, name and arguments."""
    tool_calls = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]
    return {"role": "assistant", "content": None, "tool_calls": tool_calls, **fields}


def image(url: str) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


@pytest.mark.parametrize("stream", [None, False, True])
def test_a_plain_request_is_a_stream_of_the_upstream_model(stream: bool | None) -> None:
    assert {"model": "qwen3", "messages": [USER], "stream": True} == wire_of(stream=stream)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0, "top_p": 0.5}, {"options": {"temperature": 0, "top_p": 0.5}}),
        ({"seed": 7}, {"options": {"seed": 7}}),
        (
            {"frequency_penalty": 0.5, "presence_penalty": -1},
            {"options": {"frequency_penalty": 0.5, "presence_penalty": -1}},
        ),
        ({"max_tokens": 9}, {"options": {"num_predict": 9}}),
        ({"max_completion_tokens": 9}, {"options": {"num_predict": 9}}),
        ({"stop": "END"}, {"options": {"stop": ["END"]}}),
        ({"stop": ["A", "", "B"]}, {"options": {"stop": ["A", "B"]}}),
        ({"stop": []}, {}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"logprobs": False}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "place", "strict": True, "schema": SCHEMA},
                }
            },
            {"format": SCHEMA},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "any"}}},
            {"format": "json"},
        ),
        ({"reasoning_effort": "high"}, {"think": True}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"tools": [TOOL, CLOCK]}, {"tools": [TOOL, CLOCK_ON_WIRE]}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"tools": []}, {}),
        (
            {
                "tools": [TOOL, CLOCK],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [
                            {"type": "function", "function": {"name": "get_time"}},
                            {"type": "function", "function": "get_weather"},
                        ],
                    },
                },
            },
            {"tools": [CLOCK_ON_WIRE]},
        ),
        ({"functions": [WEATHER]}, {"tools": [TOOL]}),
        ({"functions": [WEATHER], "function_call": "none"}, {}),
    ],
    ids=str,
)
def test_a_field_has_its_place(fields: JsonObject, expected: JsonObject) -> None:
    call = Call(model="qwen3", strict_params=True)
    told = wire_of(call, **fields)

    assert expected == {k: v for k, v in told.items() if k not in ("model", "messages", "stream")}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (
            {
                "tools": [TOOL],
                "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
            },
            "tool_choice",
        ),
        (
            {
                "tools": [TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [TOOL]},
                },
            },
            "tool_choice",
        ),
        ({"functions": [WEATHER], "function_call": {"name": "get_weather"}}, "function_call"),
        ({"tools": [TOOL, {"type": "custom", "custom": {"name": "sql"}}]}, "tools[1]"),
    ],
    ids=["required", "named", "allowed and required", "legacy", "custom"],
)
def test_what_tools_cannot_do_there_is_refused(fields: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        wire_of(**fields)

    assert param == caught.value.param


def test_keep_alive_is_the_operators() -> None:
    adapter, _ = connect(OLLAMA_KEEP_ALIVE="-1")
    request = ChatCompletionRequest.from_wire({"messages": [USER], "keep_alive": 0})
    wire = adapter.to_wire(request, Call(model="qwen3"))

    assert isinstance(wire.body, bytes)
    assert -1 == orjson.loads(wire.body)["keep_alive"]
    assert not adapter.parameters("qwen3").honours("keep_alive")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        ({"role": "system", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        (
            {"role": "user", "content": [{"type": "text", "text": t} for t in ("a", "b")]},
            {"role": "user", "content": "a\nb"},
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    image(f"data:image/png;base64,{PIXEL}"),
                    image(f" data:image/jpeg;x=y;base64,{PIXEL}"),
                ],
            },
            {"role": "user", "content": "What is this?", "images": [PIXEL, PIXEL]},
        ),
        (
            {"role": "assistant", "content": "Hm.", "refusal": "No."},
            {"role": "assistant", "content": "Hm.\nNo."},
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Hm."},
                    {"type": "refusal", "refusal": "No."},
                ],
            },
            {"role": "assistant", "content": "Hm.\nNo."},
        ),
        (
            {"role": "assistant", "content": "42", "reasoning_content": "6 times 7"},
            {"role": "assistant", "content": "42", "thinking": "6 times 7"},
        ),
        (
            {"role": "assistant", "content": "42", "reasoning": "6 times 7"},
            {"role": "assistant", "content": "42", "thinking": "6 times 7"},
        ),
    ],
    ids=[
        "developer", "system", "texts", "images", "refusal", "refusal part", "reasoning_content",
        "reasoning",
    ],
)  # fmt: skip
def test_a_message_is_one_text(message: JsonObject, expected: JsonObject) -> None:
    assert [expected] == messages_of(message, call=Call(model="m", strict_params=True))


def test_calls_have_objects_for_arguments_and_results_name_their_function() -> None:
    told = messages_of(
        turn(("a", "get_weather", '{"city":"Rome"}'), ("b", "get_time", ""), content="Wait."),
        {"role": "tool", "tool_call_id": "b", "content": "12:00"},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "22 °C"}]},
    )

    weather = {"index": 0, "name": "get_weather", "arguments": {"city": "Rome"}}
    time = {"index": 1, "name": "get_time", "arguments": {}}
    assert [
        {
            "role": "assistant",
            "content": "Wait.",
            "tool_calls": [
                {"type": "function", "function": weather},
                {"type": "function", "function": time},
            ],
        },
        {"role": "tool", "tool_name": "get_weather", "content": "22 °C"},
        {"role": "tool", "tool_name": "get_time", "content": "12:00"},
    ] == told


def test_results_of_one_function_follow_in_the_order_of_its_calls() -> None:
    cities = ("Oslo", "Rome", "Bonn")
    first = turn(*((city, "get_weather", "{}") for city in cities))
    # A later turn may have the ids of an earlier one: some servers count anew in each reply.
    second = turn(*((city, "get_weather", "{}") for city in reversed(cities)))
    results = [
        {"role": "tool", "tool_call_id": city, "content": f"{city}?"} for city in sorted(cities)
    ]
    told = messages_of(first, *results, USER, second, *results)

    said = [message["content"] for message in told if message["role"] == "tool"]
    assert ["Oslo?", "Rome?", "Bonn?", "Bonn?", "Rome?", "Oslo?"] == said


def test_legacy_calls_are_calls() -> None:
    told = messages_of(
        {"role": "assistant", "function_call": {"name": "get_time", "arguments": "{}"}},
        {"role": "function", "name": "get_time", "content": None},
    )

    function = {"index": 0, "name": "get_time", "arguments": {}}
    calls = [{"type": "function", "function": function}]
    assert [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_name": "get_time", "content": ""},
    ] == told


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (
            [{"role": "user", "content": [image("https://example.test/cat.png")]}],
            "messages[0].content[0].image_url.url",
        ),
        (
            [USER, {"role": "user", "content": [image("data:image/svg+xml,%3Csvg/%3E")]}],
            "messages[1].content[0].image_url.url",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
                    ],
                }
            ],
            "messages[0].content[0].input_audio",
        ),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
            "messages[0].content[0].file",
        ),
        (
            [turn(("a", "f", "[1]"))],
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            [turn(("a", "f", "{}"), ("b", "f", '{"x":'))],
            "messages[0].tool_calls[1].function.arguments",
        ),
        (
            [{"role": "assistant", "function_call": {"name": "f", "arguments": "x"}}],
            "messages[0].function_call.arguments",
        ),
        (
            [turn(("a", "f", "{}")), {"role": "tool", "tool_call_id": "b", "content": "1"}],
            "messages[1].tool_call_id",
        ),
        (
            [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}
                    ],
                }
            ],
            "messages[0].tool_calls[0]",
        ),
        ([{"role": "assistant", "audio": {"id": "x"}}], "messages[0].audio"),
    ],
    ids=[
        "image to fetch", "image not in base64", "audio", "file", "arguments of a list",
        "arguments cut", "legacy arguments", "result of no call", "custom call", "spoken",
    ],
)  # fmt: skip
def test_what_cannot_be_said_there_is_refused_by_name(
    messages: list[JsonObject], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        messages_of(*messages)

    assert (400, param) == (caught.value.status, caught.value.param)


def test_names_of_speakers_are_dropped_and_told() -> None:
    call = Call(model="m")

    assert [USER] == messages_of({**USER, "name": "Ann"}, call=call)
    assert ["messages.name"] == call.dropped


def test_what_is_said_does_not_depend_on_what_follows() -> None:
    first = [
        USER,
        turn(("a", "get_time", "{}")),
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]

    assert messages_of(*first) == messages_of(*first, USER)[:3]


def test_numbers_that_json_has_no_room_for_are_refused() -> None:
    huge = {"type": "function", "function": {"name": "f", "parameters": {"maximum": 10**30}}}

    with pytest.raises(InvalidRequest, match="cannot be sent on"):
        wire_of(tools=[huge])
