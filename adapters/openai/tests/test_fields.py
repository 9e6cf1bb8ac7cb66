"""The fields of a request for a response, and what they are called on either side."""

from __future__ import annotations

import pytest

from adapters.openai.tests.bodies import FLAT, QUESTION, sent
from one_api.adapter import Call, ChatCompletionRequest, JsonObject
from one_api_openai.to_wire import parameter_from_wire


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
