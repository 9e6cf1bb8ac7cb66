"""Every field of a chat request: what is accepted, what is refused and how it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from one_api.schemas.chat import ChatCompletionRequest
from tests.schemas.wire import USER, chat, refusal

FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
CUSTOM = {"name": "c", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}
SCHEMA = {"name": "n", "schema": {"type": "object"}}
TEXT_256 = "x" * 256

#: Values each field takes, at both ends of its range.
ACCEPTED: dict[str, list[Any]] = {
    "audio": [{"format": "wav", "voice": "alloy"}, {"format": "mp3", "voice": {"id": "v"}}],
    "frequency_penalty": [-2, 0, 2, 0.5],
    "function_call": ["none", "auto", {"name": "f"}],
    "functions": [[{"name": "f"}], [FUNCTION] * 128],
    "logit_bias": [{}, {"50256": -100, "1": 100, "2": 0.5}],
    "logprobs": [True, False],
    "max_completion_tokens": [1, 2**31],
    "max_tokens": [1, 2**31],
    "messages": [[USER], [USER] * 1_000],
    "models": [["a"], ["a", "b/c"]],
    "metadata": [{}, {"k" * 64: "v" * 512}, {str(n): "" for n in range(16)}],
    "modalities": [["text"]],
    "model": ["m", "org/name:tag", TEXT_256],
    "moderation": [{"model": "m"}, {"model": "m", "policy": {"input": {"mode": "block"}}}],
    "n": [1, 128],
    "parallel_tool_calls": [True, False],
    "prediction": [
        {"type": "content", "content": "x"},
        {"type": "content", "content": [{"type": "text", "text": "x"}]},
    ],
    "presence_penalty": [-2, 0, 2, 0.5],
    "prompt_cache_key": ["", "k"],
    "prompt_cache_options": [{"mode": "implicit", "ttl": "30m"}],
    "prompt_cache_retention": ["in_memory", "24h"],
    "reasoning_effort": ["none", "minimal", "low", "medium", "high", "xhigh", "max"],
    "response_format": [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "a-B_9" * 12, "strict": None}},
        {
            "type": "json_schema",
            "json_schema": {**SCHEMA, "strict": True, "description": None},
        },
    ],
    "safety_identifier": ["", "s" * 128],
    "seed": [-(2**63), 0, 2**63 - 1],
    "service_tier": ["auto", "default", "flex", "scale", "priority", "fast"],
    "stop": ["", "x", ["x"], ["a", "b", "c", "d"]],
    "store": [True, False],
    "stream": [True, False],
    "temperature": [0, 1, 2, 0.7],
    "tool_choice": [
        "none",
        "auto",
        "required",
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "c"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        },
    ],
    "tools": [
        [],
        [{"type": "function", "function": {"name": "f"}}],
        [{"type": "function", "function": {**FUNCTION, "strict": None, "parameters": None}}],
        [{"type": "custom", "custom": {"name": "c"}}, {"type": "custom", "custom": CUSTOM}],
        [{"type": "function", "function": FUNCTION}] * 200,
    ],
    "top_p": [0, 1, 0.9],
    "user": ["", "u"],
    "verbosity": ["low", "medium", "high"],
    "web_search_options": [{}, {"search_context_size": "low"}],
}
#: Accepted only beside another field.
ACCEPTED_TOGETHER: list[dict[str, Any]] = [
    {"logprobs": True, "top_logprobs": 0},
    {"logprobs": True, "top_logprobs": 20},
    {"stream": True, "stream_options": {}},
    {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": None}},
    {"modalities": ["text", "audio"], "audio": {"format": "wav", "voice": "v"}},
    {"max_tokens": None, "max_completion_tokens": 7},
    {"max_tokens": 7, "max_completion_tokens": None},
]

TYPE = "invalid_type"
VALUE = "invalid_value"
CHOICE = "unsupported_value"
MISSING = "missing_required_parameter"

#: field, value, path of what is wrong, code.
REFUSED: list[tuple[str, Any, str, str]] = [
    ("audio", "wav", "audio", TYPE),
    ("audio", {"format": "wav"}, "audio.voice", MISSING),
    ("audio", {"voice": "v"}, "audio.format", MISSING),
    ("function_call", "required", "function_call", CHOICE),
    ("function_call", {}, "function_call.name", MISSING),
    ("functions", {}, "functions", TYPE),
    ("functions", [], "functions", "empty_array"),
    ("functions", [FUNCTION] * 129, "functions", "array_above_max_length"),
    ("functions", [{}], "functions[0].name", MISSING),
    ("functions", [{"name": "f"}, {"name": 1}], "functions[1].name", TYPE),
    ("logit_bias", [], "logit_bias", TYPE),
    ("logit_bias", {"7": "x"}, "logit_bias.7", TYPE),
    ("logprobs", "yes", "logprobs", TYPE),
    ("logprobs", 1, "logprobs", TYPE),
    ("max_completion_tokens", 0, "max_completion_tokens", "integer_below_min_value"),
    ("max_completion_tokens", "5", "max_completion_tokens", TYPE),
    ("max_tokens", 0, "max_tokens", "integer_below_min_value"),
    ("max_tokens", -1, "max_tokens", "integer_below_min_value"),
    ("max_tokens", 1.5, "max_tokens", TYPE),
    ("max_tokens", 1.0, "max_tokens", TYPE),
    ("max_tokens", True, "max_tokens", TYPE),
    ("max_tokens", "5", "max_tokens", TYPE),
    ("messages", {}, "messages", TYPE),
    ("messages", "Hi", "messages", TYPE),
    ("messages", [], "messages", "empty_array"),
    ("models", "a", "models", TYPE),
    ("models", [], "models", "empty_array"),
    ("models", ["a"] * 9, "models", "array_above_max_length"),
    ("models", [1], "models[0]", TYPE),
    ("metadata", [], "metadata", TYPE),
    ("metadata", {"k": 1}, "metadata.k", TYPE),
    ("metadata", {"k": None}, "metadata.k", TYPE),
    ("metadata", {"k": "v" * 513}, "metadata.k", "string_above_max_length"),
    ("modalities", "text", "modalities", TYPE),
    ("modalities", ["text", "video"], "modalities[1]", CHOICE),
    ("model", 5, "model", TYPE),
    ("model", "", "model", VALUE),
    ("model", "x" * 257, "model", "string_above_max_length"),
    ("moderation", "on", "moderation", TYPE),
    ("n", 0, "n", "integer_below_min_value"),
    ("n", 129, "n", "integer_above_max_value"),
    ("n", "2", "n", TYPE),
    ("parallel_tool_calls", "true", "parallel_tool_calls", TYPE),
    ("prediction", {"type": "text", "content": "x"}, "prediction.type", CHOICE),
    ("prediction", {"type": "content"}, "prediction.content", MISSING),
    ("prompt_cache_key", 5, "prompt_cache_key", TYPE),
    ("prompt_cache_options", "30m", "prompt_cache_options", TYPE),
    ("prompt_cache_retention", 24, "prompt_cache_retention", TYPE),
    ("reasoning_effort", "extreme", "reasoning_effort", CHOICE),
    ("reasoning_effort", 3, "reasoning_effort", CHOICE),
    ("response_format", "json", "response_format", VALUE),
    ("response_format", {}, "response_format", VALUE),
    ("response_format", {"type": "xml"}, "response_format", VALUE),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema", MISSING),
    (
        "response_format",
        {"type": "json_schema", "json_schema": {}},
        "response_format.json_schema.name",
        MISSING,
    ),
    *(
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": name}},
            "response_format.json_schema.name",
            VALUE,
        )
        for name in ("", "a b", "é", "x" * 65, "x\n")
    ),
    ("safety_identifier", "s" * 129, "safety_identifier", "string_above_max_length"),
    ("seed", -(2**63) - 1, "seed", "integer_below_min_value"),
    ("seed", 0.5, "seed", TYPE),
    ("service_tier", "gold", "service_tier", CHOICE),
    ("stop", 5, "stop", TYPE),
    ("stop", {}, "stop", TYPE),
    ("stop", [None], "stop[0]", TYPE),
    ("stop", ["a", 1], "stop[1]", TYPE),
    ("stop", ["x"] * 5, "stop", "array_above_max_length"),
    ("store", "no", "store", TYPE),
    ("stream", "true", "stream", TYPE),
    ("stream", 1, "stream", TYPE),
    ("stream_options", [], "stream_options", TYPE),
    ("stream_options", {"include_usage": "yes"}, "stream_options.include_usage", TYPE),
    ("temperature", "1", "temperature", TYPE),
    ("temperature", True, "temperature", TYPE),
    ("tool_choice", "any", "tool_choice", CHOICE),
    ("tool_choice", 5, "tool_choice", VALUE),
    ("tool_choice", {}, "tool_choice", VALUE),
    ("tool_choice", {"type": ["function"]}, "tool_choice", VALUE),
    ("tool_choice", {"type": "function"}, "tool_choice.function", MISSING),
    (
        "tool_choice",
        {"type": "function", "function": {}},
        "tool_choice.function.name",
        MISSING,
    ),
    (
        "tool_choice",
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}},
        "tool_choice.allowed_tools.mode",
        CHOICE,
    ),
    ("tools", {}, "tools", TYPE),
    ("tools", [{}], "tools[0]", VALUE),
    ("tools", [{"type": "web_search"}], "tools[0]", VALUE),
    ("tools", [{"type": "function"}], "tools[0].function", MISSING),
    ("tools", [{"type": "function", "function": {}}], "tools[0].function.name", MISSING),
    (
        "tools",
        [{"type": "function", "function": {"name": ""}}],
        "tools[0].function.name",
        VALUE,
    ),
    (
        "tools",
        [{"type": "function", "function": {"name": "f", "parameters": "{}"}}],
        "tools[0].function.parameters",
        TYPE,
    ),
    ("tools", [{"type": "custom"}], "tools[0].custom", MISSING),
    ("top_p", "1", "top_p", TYPE),
    ("user", 5, "user", TYPE),
    ("verbosity", "loud", "verbosity", CHOICE),
    ("web_search_options", True, "web_search_options", TYPE),
]
#: Numbers outside their range, whatever code tells it.
OUT_OF_RANGE = [
    ("frequency_penalty", -2.1),
    ("frequency_penalty", 2.1),
    ("presence_penalty", -2.1),
    ("presence_penalty", 2.1),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", float("nan")),
    ("temperature", float("inf")),
    ("seed", 2**63),
    ("top_p", -0.1),
    ("top_p", 1.1),
]
#: Fields that contradict one another, and the one that is named.
DISAGREEING: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": 5, "max_completion_tokens": 7}, "max_tokens"),
    ({"stream_options": {}}, "stream_options"),
    ({"stream": False, "stream_options": {"include_usage": True}}, "stream_options"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
    ({"modalities": ["text", "audio"]}, "audio"),
]
FIELDS = sorted(ChatCompletionRequest.model_fields)


def test_every_field_has_its_rows() -> None:
    together = {name for fields in ACCEPTED_TOGETHER for name in fields}
    assert set(FIELDS) == ACCEPTED.keys() | together
    refused = {field for field, *_ in REFUSED} | {field for field, _ in OUT_OF_RANGE}
    assert set(FIELDS) == refused | {"top_logprobs"}


@pytest.mark.parametrize(
    "fields",
    [
        *({field: value} for field, values in ACCEPTED.items() for value in values),
        *ACCEPTED_TOGETHER,
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_accepted_value_arrives_as_it_was_sent(fields: dict[str, Any]) -> None:
    body = chat(**fields)
    given = {name: value for name, value in body.items() if value is not None}
    assert given == ChatCompletionRequest.from_wire(body).to_wire()


@pytest.mark.parametrize(
    ("field", "value", "param", "code"),
    REFUSED,
    ids=[f"{row[2]}={row[1]!r:.30}" for row in REFUSED],
)
def test_refused_value_is_told_by_path_and_code(
    field: str, value: Any, param: str, code: str
) -> None:
    error = refusal(chat(**{field: value}))
    assert (400, param, code) == (error.status, error.param, error.code)
    assert f"'{param}'" in error.message


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_number_out_of_range_is_refused(field: str, value: float) -> None:
    assert field == refusal(chat(**{field: value})).param


@pytest.mark.parametrize(("fields", "param"), DISAGREEING)
def test_contradiction_names_one_of_the_two(fields: dict[str, Any], param: str) -> None:
    error = refusal(chat(**fields))
    assert (param, VALUE) == (error.param, error.code)
    assert f"'{param}'" in error.message


def test_too_many_metadata_are_refused() -> None:
    error = refusal(chat(metadata={str(n): "" for n in range(17)}))
    assert "metadata" == error.param


def test_too_long_metadata_key_is_refused() -> None:
    assert "string_above_max_length" == refusal(chat(metadata={"k" * 65: ""})).code


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "messages"])
def test_null_is_absent(name: str) -> None:
    request = ChatCompletionRequest.from_wire({"messages": [USER], name: None})
    assert {"messages": [USER]} == request.to_wire()
    assert name not in request.model_fields_set


@pytest.mark.parametrize("body", [{}, {"messages": None}, {"model": "m"}])
def test_messages_are_required(body: dict[str, Any]) -> None:
    error = refusal(body)
    assert ("messages", MISSING) == (error.param, error.code)
    assert "Missing required parameter: 'messages'." == error.message


@pytest.mark.parametrize("body", [[], None, "x", 5, True, [chat()]])
def test_body_must_be_an_object(body: object) -> None:
    error = refusal(body)
    assert (None, TYPE) == (error.param, error.code)
    assert "the request body" in error.message


def test_first_wrong_field_is_the_one_named() -> None:
    assert refusal(chat(temperature="x", n=0, top_p="y")).param in {"n", "temperature", "top_p"}


class TestUnknownFields:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("top_k", 5),
            ("thinking", {"type": "enabled", "budget_tokens": 1_024}),
            ("", 0),
            # Names that the class itself uses for something else.
            ("model_config", 1),
            ("model_fields_set", []),
            ("copy", True),
            ("to_wire", "x"),
            ("__dict__", {}),
            ("__class__", "x"),
        ],
    )
    def test_are_kept_as_they_came(self, name: str, value: Any) -> None:
        body = {**chat(), name: value}
        assert body == ChatCompletionRequest.from_wire(body).to_wire()

    def test_inside_nested_objects_are_kept(self) -> None:
        body = chat(
            messages=[{**USER, "cache_control": {"type": "ephemeral"}}],
            tools=[{"type": "function", "function": {"name": "f", "x": 1}, "y": [2]}],
            response_format={"type": "json_object", "schema": {"type": "object"}},
            stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True},
        )
        assert body == ChatCompletionRequest.from_wire(body).to_wire()


class TestToWire:
    def test_same_request_in_another_order_gives_the_same_bytes(self) -> None:
        one = ChatCompletionRequest.from_wire(chat(top_p=0.5, seed=1, temperature=1.5))
        two = ChatCompletionRequest.from_wire(
            {"temperature": 1.5, "seed": 1, "top_p": 0.5, **chat()}
        )
        assert json.dumps(one.to_wire()) == json.dumps(two.to_wire())

    def test_each_call_gives_a_new_object(self) -> None:
        request = ChatCompletionRequest.from_wire(chat())
        request.to_wire()["model"] = "changed"
        assert "m" == request.to_wire()["model"]

    def test_request_cannot_be_changed(self) -> None:
        request = ChatCompletionRequest.from_wire(chat())
        with pytest.raises(ValidationError, match="frozen"):
            setattr(request, "model", "other")  # noqa: B010 - the type checker knows


class TestWithout:
    def test_is_the_request_as_if_never_sent(self) -> None:
        request = ChatCompletionRequest.from_wire(chat(seed=1, n=2, top_k=5))
        less = request.without("n", "user")
        assert chat(seed=1, top_k=5) == less.to_wire()
        assert ({"n"}, None) == (request.model_fields_set - less.model_fields_set, less.n)

    def test_leaves_the_original_alone(self) -> None:
        request = ChatCompletionRequest.from_wire(chat(n=2))
        request.without("n")
        assert chat(n=2) == request.to_wire()


class TestReadings:
    @pytest.mark.parametrize(
        ("fields", "stream", "usage"),
        [
            ({}, False, False),
            ({"stream": False}, False, False),
            ({"stream": True}, True, False),
            ({"stream": True, "stream_options": {}}, True, False),
            ({"stream": True, "stream_options": {"include_usage": None}}, True, False),
            ({"stream": True, "stream_options": {"include_usage": False}}, True, False),
            ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ],
    )
    def test_streaming(self, fields: dict[str, Any], stream: bool, usage: bool) -> None:
        request = ChatCompletionRequest.from_wire(chat(**fields))
        assert (stream, usage) == (request.wants_stream, request.wants_usage_chunk)

    @pytest.mark.parametrize(
        ("fields", "limit"),
        [({}, None), ({"max_tokens": 5}, 5), ({"max_completion_tokens": 7}, 7)],
    )
    def test_completion_limit(self, fields: dict[str, Any], limit: int | None) -> None:
        assert limit == ChatCompletionRequest.from_wire(chat(**fields)).completion_limit

    @pytest.mark.parametrize(
        ("stop", "expected"),
        [
            (None, ()),
            ("", ()),
            ("x", ("x",)),
            ("ab", ("ab",)),
            ([], ()),
            (["", "a", "", "b"], ("a", "b")),
        ],
    )
    def test_stop_sequences(self, stop: Any, expected: tuple[str, ...]) -> None:
        assert expected == ChatCompletionRequest.from_wire(chat(stop=stop)).stop_sequences
