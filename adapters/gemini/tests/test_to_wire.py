"""Requests as generateContent bodies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest, UnsupportedParameter
from one_api_gemini import GeminiAdapter
from one_api_gemini.names import name_to_wire, names_from_wire

NEWEST = "gemini-3.8-flash"
PRO_2_5 = "gemini-2.5-pro"
FLASH_2_5 = "gemini-2.5-flash"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER = {"role": "user", "content": "Hi"}
UNSIGNED = "skip_thought_signature_validator"


def request_of(*messages: Any, **fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire({"messages": list(messages) or [USER], **fields})


def body_of(
    adapter: GeminiAdapter, *messages: Any, call: Call | None = None, **fields: Any
) -> dict[str, Any]:
    call = call or Call(model=NEWEST)
    wire = adapter.to_wire(request_of(*messages, **fields), call)
    assert isinstance(wire.body, bytes)
    body: dict[str, Any] = orjson.loads(wire.body)
    return body


def config_of(adapter: GeminiAdapter, model: str = NEWEST, **fields: Any) -> dict[str, Any]:
    config = body_of(adapter, call=Call(model=model), **fields).get("generationConfig", {})
    assert isinstance(config, dict)
    return config


def assistant(*calls: tuple[str, str, str], **fields: Any) -> dict[str, Any]:
    tool_calls = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "tool_calls": tool_calls, **fields}


def result(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def answer_to(call_id: str, name: str, **response: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": response}}


# --- Where it goes


@pytest.mark.parametrize(
    ("stream", "ending"),
    [(True, ":streamGenerateContent?alt=sse"), (False, ":generateContent")],
    ids=["stream", "whole"],
)
def test_a_request_goes_to_its_models_method(
    adapter: GeminiAdapter, stream: bool, ending: str
) -> None:
    wire = adapter.to_wire(request_of(stream=stream), Call(model=NEWEST))

    base = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash"
    assert ("POST", f"{base}{ending}") == (wire.method, wire.url)


def test_the_credential_is_in_a_header_and_nowhere_else(adapter: GeminiAdapter) -> None:
    wire = adapter.to_wire(request_of(), Call(model=NEWEST))

    assert "AIza-test-key" == wire.headers["x-goog-api-key"]
    assert isinstance(wire.body, bytes)
    assert "AIza" not in wire.url + wire.body.decode()


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        ("models/gemini-3.8-flash", "gemini-3.8-flash"),
        ("../../v1/files", "..%2F..%2Fv1%2Ffiles"),
        ("a?key=b#c", "a%3Fkey%3Db%23c"),
    ],
)
def test_a_models_name_leads_nowhere_else(adapter: GeminiAdapter, model: str, segment: str) -> None:
    wire = adapter.to_wire(request_of(), Call(model=model))

    assert wire.url.endswith(f"/v1beta/models/{segment}:generateContent")


def test_the_smallest_request_says_nothing_unasked(adapter: GeminiAdapter) -> None:
    assert {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]} == body_of(adapter)


# --- Conversations

CONVERSATIONS: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "instructions from anywhere are the system's": (
        [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "In verse."}]},
        ],
        [{"text": "Be brief."}, {"text": "In verse."}],
        [{"role": "user", "parts": [{"text": "Hi"}]}],
    ),
    "messages of one side in a row are one content": (
        [
            USER,
            {"role": "user", "content": [{"type": "text", "text": "there"}]},
            {"role": "assistant", "content": "Oh"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            USER,
        ],
        [],
        [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "model", "parts": [{"text": "Oh"}, {"text": "No."}]},
            {"role": "user", "parts": [{"text": "Hi"}]},
        ],
    ),
    "a conversation begins with a user": (
        [{"role": "assistant", "content": "Welcome"}, USER],
        [],
        [
            {"role": "user", "parts": [{"text": "(no content)"}]},
            {"role": "model", "parts": [{"text": "Welcome"}]},
            {"role": "user", "parts": [{"text": "Hi"}]},
        ],
    ),
    "instructions alone still need a content": (
        [{"role": "system", "content": "Say hi."}],
        [{"text": "Say hi."}],
        [{"role": "user", "parts": [{"text": "(no content)"}]}],
    ),
    "empty texts are left out": (
        [
            {"role": "system", "content": ""},
            USER,
            {"role": "assistant", "content": ""},
            {"role": "user", "content": ""},
        ],
        [],
        [{"role": "user", "parts": [{"text": "Hi"}, {"text": "(no content)"}]}],
    ),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_conversations(adapter: GeminiAdapter, case: str) -> None:
    messages, instructions, contents = CONVERSATIONS[case]

    body = body_of(adapter, *messages)

    assert contents == body["contents"]
    assert instructions == body.get("systemInstruction", {"parts": []})["parts"]


def test_results_follow_their_calls_in_the_order_of_these(adapter: GeminiAdapter) -> None:
    body = body_of(
        adapter,
        USER,
        assistant(("a", "f", '{"x": 1}'), ("b", "g", ""), content="Wait."),
        result("b", [{"type": "text", "text": "B1"}, {"type": "text", "text": "B2"}]),
        {"role": "user", "content": "Quick!"},
        result("a", "A"),
    )

    call_a = {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}
    assert [
        {"text": "Wait."},
        {**call_a, "thoughtSignature": UNSIGNED},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ] == body["contents"][1]["parts"]
    assert {
        "role": "user",
        "parts": [
            answer_to("a", "f", output="A"),
            answer_to("b", "g", output="B1B2"),
            {"text": "Quick!"},
        ],
    } == body["contents"][2]


def test_a_call_nobody_answered_is_answered_with_an_error(adapter: GeminiAdapter) -> None:
    body = body_of(adapter, USER, assistant(("a", "f", "{}")), USER)

    assert answer_to("a", "f", error="no result provided") == body["contents"][2]["parts"][0]


def test_equal_ids_are_answered_one_after_the_other(adapter: GeminiAdapter) -> None:
    calls = assistant(("a", "f", "{}"), ("a", "f", "{}"))

    body = body_of(adapter, USER, calls, result("a", "1"), result("a", "2"), result("a", "3"))

    expected = [answer_to("a", "f", output="1"), answer_to("a", "f", output="3")]
    assert expected == body["contents"][2]["parts"]


def test_an_answer_to_no_call_is_refused(adapter: GeminiAdapter) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, USER, assistant(("a", "f", "{}")), result("a", "1"), USER, result("b", ""))

    assert "messages[4].tool_call_id" == caught.value.param


@pytest.mark.parametrize("arguments", ["[1]", "{", "7"])
def test_arguments_that_are_no_object_are_kept(adapter: GeminiAdapter, arguments: str) -> None:
    body = body_of(adapter, USER, assistant(("a", "f", arguments)), result("a", ""))

    call = body["contents"][1]["parts"][0]["functionCall"]
    assert {"_raw": arguments} == call["args"]


def test_a_conversation_may_not_end_with_the_model(adapter: GeminiAdapter) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, USER, {"role": "assistant", "content": "So"})

    assert "messages" == caught.value.param


REFUSED: dict[str, tuple[list[Any], str]] = {
    "sounds of earlier turns": (
        [USER, {"role": "assistant", "audio": {"id": "x"}}, USER],
        "messages[1].audio",
    ),
    "calls of old": (
        [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}, USER],
        "messages[1].function_call",
    ),
    "answers of old": (
        [USER, {"role": "function", "name": "f", "content": "x"}],
        "messages[1].role",
    ),
    "images from tools": (
        [
            USER,
            assistant(("a", "f", "{}")),
            result("a", [{"type": "image_url", "image_url": {"url": PIXEL}}]),
        ],
        "messages[2].content[0].type",
    ),
    "calls of custom tools": (
        [
            USER,
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}],
            },
            USER,
        ],
        "messages[1].tool_calls",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_by_name(adapter: GeminiAdapter, case: str) -> None:
    messages, param = REFUSED[case]

    with pytest.raises(UnsupportedParameter) as caught:
        body_of(adapter, *messages)

    assert param == caught.value.param


# --- Thought signatures


def blocks(*signatures: str, thinking: str = "") -> list[dict[str, str]]:
    return [
        {"type": "thinking", "thinking": thinking, "signature": signature}
        for signature in signatures
    ]


def test_signatures_come_back_on_the_parts_they_came_on(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.call.0.QUJD", "one_api.v1.gemini.call.1.REVG")
    turn = assistant(("a", "f", "{}"), ("b", "f", "{}"), thinking_blocks=signed)

    parts = body_of(adapter, USER, turn, result("a", ""))["contents"][1]["parts"]

    assert ["QUJD", "REVG"] == [part["thoughtSignature"] for part in parts]


def test_a_signature_of_text_comes_back_on_the_text(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.text.QUJD")
    turn = {"role": "assistant", "content": "Four.", "thinking_blocks": signed}

    parts = body_of(adapter, USER, turn, USER)["contents"][1]["parts"]

    assert [{"text": "Four.", "thoughtSignature": "QUJD"}] == parts


def test_a_signature_of_text_that_is_gone_comes_back_alone(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.text.QUJD")
    turn = assistant(("a", "f", "{}"), thinking_blocks=signed)

    parts = body_of(adapter, USER, turn, result("a", ""))["contents"][1]["parts"]

    assert {"text": "", "thoughtSignature": "QUJD"} == parts[0]


def test_a_signed_thought_comes_back_whole(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.thought.QUJD", thinking="Hm.")
    turn = {"role": "assistant", "content": "Four.", "thinking_blocks": signed}

    parts = body_of(adapter, USER, turn, USER)["contents"][1]["parts"]

    thought = {"text": "Hm.", "thought": True, "thoughtSignature": "QUJD"}
    assert [thought, {"text": "Four."}] == parts


@pytest.mark.parametrize(
    "foreign",
    [
        blocks("EqQBCkYIBRgCKkA="),
        blocks("one_api.v1.0123456789abcdef"),
        blocks("one_api.v1.gemini.call.x.QUJD", "one_api.v1.gemini.text."),
        [{"type": "thinking", "thinking": "unsigned"}, {"type": "redacted_thinking", "data": "x"}],
        ["text", None],
        "text",
        None,
    ],
)
def test_thoughts_of_others_are_left_out(adapter: GeminiAdapter, foreign: Any) -> None:
    turn = assistant(("a", "f", "{}"), content="So", thinking_blocks=foreign)

    parts = body_of(adapter, USER, turn, result("a", ""))["contents"][1]["parts"]

    call = {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": UNSIGNED}
    assert [{"text": "So"}, call] == parts


def test_models_that_need_no_signature_get_no_stand_in(adapter: GeminiAdapter) -> None:
    turn = assistant(("a", "f", "{}"))

    body = body_of(adapter, USER, turn, result("a", ""), call=Call(model=PRO_2_5))

    assert "thoughtSignature" not in body["contents"][1]["parts"][0]


# --- Images, sounds, files

MEDIA: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "inline image": (
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ),
    "jpg is jpeg": (
        {"type": "image_url", "image_url": {"url": "DATA:image/JPG;base64,/9j/ 4AA="}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AA="}},
    ),
    "image by address": (
        {"type": "image_url", "image_url": {"url": "https://a.example/b.c/D.WebP?x=1"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://a.example/b.c/D.WebP?x=1"}},
    ),
    "sound": (
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
    ),
    "bare PDF": (
        {"type": "file", "file": {"file_data": "JVBERi0xLjQ=", "filename": "a.pdf"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQ="}},
    ),
    "text file": (
        {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,SGk="}},
        {"inlineData": {"mimeType": "text/plain", "data": "SGk="}},
    ),
}


@pytest.mark.parametrize("case", MEDIA)
def test_media(adapter: GeminiAdapter, case: str) -> None:
    given, part = MEDIA[case]

    body = body_of(adapter, {"role": "user", "content": [{"type": "text", "text": "See"}, given]})

    assert [{"text": "See"}, part] == body["contents"][0]["parts"]


BAD_MEDIA: dict[str, tuple[dict[str, Any], str]] = {
    "an address without a type": (
        {"type": "image_url", "image_url": {"url": "https://a.example/image?id=3"}},
        "image_url.url",
    ),
    "an address in the clear": (
        {"type": "image_url", "image_url": {"url": "http://a.example/a.png"}},
        "image_url.url",
    ),
    "an address that is none": (
        {"type": "image_url", "image_url": {"url": "https://[a.png"}},
        "image_url.url",
    ),
    "an image nobody reads": (
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
        "image_url.url",
    ),
    "an image that is not base64": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}},
        "image_url.url",
    ),
    "a data URL in the clear": (
        {"type": "image_url", "image_url": {"url": "data:image/png,abc"}},
        "image_url.url",
    ),
    "a sound that is not base64": (
        {"type": "input_audio", "input_audio": {"data": "?", "format": "mp3"}},
        "input_audio.data",
    ),
    "a file by id": ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
    "a file of nothing": ({"type": "file", "file": {"filename": "x"}}, "file.file_data"),
    "a file nobody reads": (
        {"type": "file", "file": {"file_data": "data:application/zip;base64,UEs="}},
        "file.file_data",
    ),
}


@pytest.mark.parametrize("case", BAD_MEDIA)
def test_media_that_cannot_be_sent_are_refused_by_name(adapter: GeminiAdapter, case: str) -> None:
    given, param = BAD_MEDIA[case]

    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, {"role": "user", "content": [given]})

    assert f"messages[0].content[0].{param}" == caught.value.param


# --- Tools

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}},
    "$defs": {"city": {"type": "string"}},
    "additionalProperties": False,
}


def test_functions_are_declared_with_their_json_schema(adapter: GeminiAdapter) -> None:
    tools = [
        function("get_weather", description="Of a city.", parameters=SCHEMA),
        function("get_news"),
        function("get_time", parameters={"type": "object", "properties": {}}),
    ]

    body = body_of(adapter, tools=tools)

    schema = {key: value for key, value in SCHEMA.items() if key != "$schema"}
    first = {"name": "get_weather", "description": "Of a city.", "parametersJsonSchema": schema}
    declared = [first, {"name": "get_news"}, {"name": "get_time"}]
    assert [{"functionDeclarations": declared}] == body["tools"]
    assert "toolConfig" not in body


ALLOWED_G = {"tools": [{"type": "function", "function": {"name": "g"}}]}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", None),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "g"}},
            {"mode": "ANY", "allowedFunctionNames": ["g"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", **ALLOWED_G}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["g"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", **ALLOWED_G}},
            {"mode": "ANY", "allowedFunctionNames": ["g"]},
        ),
    ],
    ids=["auto", "none", "required", "named", "some may", "some must"],
)
def test_each_tool_choice_has_its_mode(
    adapter: GeminiAdapter, choice: Any, config: dict[str, Any] | None
) -> None:
    body = body_of(adapter, tools=[function("f"), function("g")], tool_choice=choice)

    expected = None if config is None else {"functionCallingConfig": config}
    assert expected == body.get("toolConfig")


def test_strict_functions_are_held_to_their_schemas(adapter: GeminiAdapter) -> None:
    body = body_of(adapter, tools=[function("f", strict=True), function("g")])

    assert {"functionCallingConfig": {"mode": "VALIDATED"}} == body["toolConfig"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        (
            {
                "tools": [function("f")],
                "tool_choice": {"type": "function", "function": {"name": "g"}},
            },
            "tool_choice",
        ),
        (
            {
                "tools": [function("f")],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": []},
                },
            },
            "tool_choice",
        ),
        (
            {
                "tools": [function("f")],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]},
                },
            },
            "tool_choice.allowed_tools.tools[0]",
        ),
    ],
    ids=["no tool", "custom tool", "unknown tool", "none allowed", "nameless"],
)
def test_tools_that_contradict_themselves_are_refused(
    adapter: GeminiAdapter, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, **fields)

    assert param == caught.value.param


@pytest.mark.parametrize("name", ["f", "_f", "get_weather-2", "A" * 64])
def test_names_that_google_takes_stay(name: str) -> None:
    assert name == name_to_wire(name)


@pytest.mark.parametrize("name", ["a.b", "a b", "2f", "-f", "é", "A" * 65])
def test_other_names_change_into_ones_that_come_back(name: str) -> None:
    changed = name_to_wire(name)

    assert changed == name_to_wire(changed)
    assert len(changed) <= 64
    assert {changed: name} == names_from_wire(request_of(tools=[function(name), function("g")]))


def test_a_changed_name_is_changed_everywhere(adapter: GeminiAdapter) -> None:
    body = body_of(
        adapter,
        USER,
        assistant(("a", "a.b", "{}")),
        result("a", ""),
        tools=[function("a.b")],
        tool_choice={"type": "function", "function": {"name": "a.b"}},
    )

    changed = name_to_wire("a.b")
    assert changed == body["tools"][0]["functionDeclarations"][0]["name"]
    allowed = body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"]
    assert [changed] == allowed
    assert changed == body["contents"][1]["parts"][0]["functionCall"]["name"]
    assert changed == body["contents"][2]["parts"][0]["functionResponse"]["name"]


# --- How to answer

JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}

CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limit": ({"max_completion_tokens": 50}, {"maxOutputTokens": 50}),
    "limit of old": ({"max_tokens": 50}, {"maxOutputTokens": 50}),
    "one stop": ({"stop": "END"}, {"stopSequences": ["END"]}),
    "no stop": ({"stop": [""]}, {}),
    "seed": ({"seed": -7}, {"seed": -7}),
    "seed of more bits": ({"seed": 2**40 + 5}, {"seed": 5}),
    "text": ({"response_format": {"type": "text"}}, {}),
    "any JSON": (
        {"response_format": {"type": "json_object"}},
        {"responseMimeType": "application/json"},
    ),
    "JSON by schema": (
        {"response_format": JSON_SCHEMA},
        {
            "responseMimeType": "application/json",
            "responseJsonSchema": {k: v for k, v in SCHEMA.items() if k != "$schema"},
        },
    ),
    "JSON by no schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"responseMimeType": "application/json"},
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_generation_config(adapter: GeminiAdapter, case: str) -> None:
    fields, config = CONFIGS[case]

    assert config == config_of(adapter, **fields)


def test_stops_past_the_fifth_are_kept_for_the_reply(adapter: GeminiAdapter) -> None:
    request = request_of().with_stops(["1", "2", "3", "4", "5", "6"])

    wire = adapter.to_wire(request, Call(model=NEWEST))

    assert isinstance(wire.body, bytes)
    config = orjson.loads(wire.body)["generationConfig"]
    assert ["1", "2", "3", "4", "5"] == config["stopSequences"]


@pytest.mark.parametrize(
    ("model", "config"),
    [("gemini-3.1-pro-preview", {"temperature": 0, "topP": 0.5}), (NEWEST, {})],
    ids=["taken", "not taken"],
)
def test_sampling_goes_to_the_models_that_take_it(
    adapter: GeminiAdapter, model: str, config: dict[str, Any]
) -> None:
    assert config == config_of(adapter, model, temperature=0, top_p=0.5)


def level(name: str) -> dict[str, Any]:
    return {"includeThoughts": True, "thinkingLevel": name}


def budget(tokens: int) -> dict[str, Any]:
    return {"includeThoughts": True, "thinkingBudget": tokens}


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        (NEWEST, "minimal", level("LOW")),
        (NEWEST, "low", level("LOW")),
        (NEWEST, "medium", level("MEDIUM")),
        (NEWEST, "high", level("HIGH")),
        (NEWEST, "xhigh", level("HIGH")),
        (NEWEST, "max", level("HIGH")),
        ("gemini-3-pro-preview", "medium", level("LOW")),
        ("gemini-3.6-flash", "minimal", level("MINIMAL")),
        (PRO_2_5, "minimal", budget(1_024)),
        (PRO_2_5, "medium", budget(8_192)),
        (FLASH_2_5, "high", budget(24_576)),
        (FLASH_2_5, "none", {"thinkingBudget": 0}),
        ("gemini-2.0-flash", "high", None),
        (NEWEST, None, None),
    ],
)
def test_each_effort_is_a_level_or_a_budget(
    adapter: GeminiAdapter, model: str, effort: str | None, config: dict[str, Any] | None
) -> None:
    call = Call(model=model)

    body = body_of(adapter, call=call, reasoning_effort=effort)

    assert config == body.get("generationConfig", {}).get("thinkingConfig")
    assert [] == call.degraded


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (NEWEST, {"thinkingLevel": "LOW"}),
        ("gemini-3.6-flash", {"thinkingLevel": "MINIMAL"}),
        (PRO_2_5, {"thinkingBudget": 128}),
    ],
)
def test_a_model_that_must_think_thinks_least_and_the_client_is_told(
    adapter: GeminiAdapter, model: str, config: dict[str, Any]
) -> None:
    call = Call(model=model)

    body = body_of(adapter, call=call, reasoning_effort="none")

    assert config == body["generationConfig"]["thinkingConfig"]
    assert ["reasoning_effort"] == call.degraded
    with pytest.raises(UnsupportedParameter):
        body_of(adapter, call=Call(model=model, strict_params=True), reasoning_effort="none")


def test_thoughts_may_be_asked_for_without_an_effort(adapter: GeminiAdapter) -> None:
    assert {"thinkingConfig": {"includeThoughts": True}} == (
        config_of(adapter, include_reasoning=True)
    )


@pytest.mark.parametrize(
    ("tier", "wire", "dropped"),
    [
        ("auto", None, []),
        ("default", "standard", []),
        ("flex", "flex", []),
        ("priority", "priority", []),
        ("scale", None, ["service_tier"]),
    ],
)
def test_each_service_tier_is_googles_or_dropped(
    adapter: GeminiAdapter, tier: str, wire: str | None, dropped: list[str]
) -> None:
    call = Call(model=NEWEST)

    body = body_of(adapter, call=call, service_tier=tier)

    assert (wire, dropped) == (body.get("serviceTier"), call.dropped)


def test_nesting_that_cannot_be_written_is_refused(adapter: GeminiAdapter) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(300):
        schema = {"anyOf": [schema]}

    with pytest.raises(InvalidRequest):
        body_of(adapter, tools=[function("f", parameters=schema)])


def test_the_same_request_gives_the_same_bytes(adapter: GeminiAdapter) -> None:
    request = request_of(tools=[function("f", parameters=SCHEMA)], reasoning_effort="low")
    call = Call(model=NEWEST)

    assert adapter.to_wire(request, call) == adapter.to_wire(request, call)
