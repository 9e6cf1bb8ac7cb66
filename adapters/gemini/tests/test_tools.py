"""Tools: their declarations, the choice among them, and their names."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.gemini.tests.bodies import (
    SCHEMA,
    USER,
    assistant,
    body_of,
    function,
    request_of,
    result,
)
from one_api.adapter import InvalidRequest
from one_api_gemini import GeminiAdapter
from one_api_gemini.names import name_to_wire, names_from_wire


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
