"""Tools as Anthropic defines them: their choice, their schemas and their names."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.claude.tests.wires import (
    ANSWERED,
    ASK,
    OPUS_5,
    OPUS_5_5,
    TWO,
    allowed,
    assistant,
    call_of,
    named,
    refusal,
    to_wire,
    tool,
    user,
)
from one_api.adapter import Call, JsonObject
from one_api_claude import ClaudeAdapter

EMPTY_SCHEMA = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("body", "names", "choice"),
    [
        pytest.param({"tools": TWO}, ["f", "g"], {"type": "auto"}, id="absent"),
        pytest.param(
            {"tools": TWO, "tool_choice": "none"},
            ["f", "g"],
            {"type": "none"},
            id="P10-none-keeps-the-tools",
        ),
        pytest.param(
            {"tools": TWO, "parallel_tool_calls": False},
            ["f", "g"],
            {"type": "auto", "disable_parallel_tool_use": True},
            id="P10-one-at-a-time",
        ),
        pytest.param({"parallel_tool_calls": False}, None, None, id="P10-without-tools"),
        pytest.param({"tool_choice": "auto", "tools": []}, None, None, id="empty-tools"),
        pytest.param(
            {"tools": TWO, "tool_choice": "required"},
            ["f", "g"],
            {"type": "any"},
            id="P11-required",
        ),
        pytest.param(
            {"tools": TWO, "tool_choice": named("f"), "parallel_tool_calls": False},
            ["f", "g"],
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            id="P11-named",
        ),
        pytest.param(
            {"tools": TWO, "tool_choice": allowed("required", "f")},
            ["f"],
            {"type": "any"},
            id="P11-allowed-required",
        ),
        pytest.param(
            {"tools": TWO, "tool_choice": allowed("auto", "g", "f")},
            ["f", "g"],
            {"type": "auto"},
            id="allowed-auto-keeps-the-order-of-tools",
        ),
        pytest.param(
            {"functions": [{"name": "f"}, {"name": "g"}], "function_call": {"name": "g"}},
            ["f", "g"],
            {"type": "tool", "name": "g", "disable_parallel_tool_use": True},
            id="P24-legacy-named",
        ),
        pytest.param(
            {"functions": [{"name": "f"}], "function_call": "none"},
            ["f"],
            {"type": "none"},
            id="P24-legacy-none",
        ),
    ],
)
def test_tool_choice(
    adapter: ClaudeAdapter, body: JsonObject, names: list[str] | None, choice: JsonObject | None
) -> None:
    wire, call, _ = to_wire(adapter, body, Call(model=OPUS_5))
    offered = [offer["name"] for offer in wire["tools"]] if "tools" in wire else None
    assert (names, choice) == (offered, wire.get("tool_choice"))
    assert (call.dropped, call.degraded) == ([], [])


@pytest.mark.parametrize(
    ("choice", "names", "nudge"),
    [
        pytest.param("required", ["f", "g"], "Answer by calling one of the tools.", id="required"),
        pytest.param(named("g"), ["g"], 'Answer by calling the tool "g".', id="named"),
        pytest.param(
            allowed("required", "f"), ["f"], "Answer by calling one of the tools.", id="allowed"
        ),
    ],
)
def test_a_forced_call_becomes_a_nudge_where_the_model_refuses_force(
    adapter: ClaudeAdapter, choice: Any, names: list[str], nudge: str
) -> None:
    signed = {"type": "thinking", "thinking": "", "signature": "Sig"}
    messages = [ASK, {"role": "assistant", "content": "c", "thinking_blocks": [signed]}, ASK]
    wire, call, _ = to_wire(adapter, {"messages": messages, "tools": TWO, "tool_choice": choice})
    assert (names, {"type": "auto"}) == ([t["name"] for t in wire["tools"]], wire["tool_choice"])
    # Signed thinking is bound to a conversation without the nudge.
    assert [user("x"), assistant("c"), user("x", nudge)] == wire["messages"]
    assert call.degraded == ["tool_choice"]


def test_strictness_refuses_what_would_be_degraded(adapter: ClaudeAdapter) -> None:
    body = {"tools": TWO, "tool_choice": "required"}
    error = refusal(adapter, body, Call(model=OPUS_5_5, strict_params=True))
    assert (error.code, error.param) == ("unsupported_parameter", "tool_choice")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        pytest.param(tool(), {"name": "f", "input_schema": EMPTY_SCHEMA}, id="P09-no-parameters"),
        pytest.param(
            tool(description="d", parameters={"properties": {"a": {"type": "string"}}}),
            {
                "name": "f",
                "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                "description": "d",
            },
            id="missing-type-is-added",
        ),
        pytest.param(
            {**tool(description=None, strict=None), "cache_control": {"type": "ephemeral"}},
            {"name": "f", "input_schema": EMPTY_SCHEMA, "cache_control": {"type": "ephemeral"}},
            id="breakpoint-and-nulls",
        ),
        pytest.param(
            tool(
                strict=True,
                parameters={
                    "type": "object",
                    "properties": {"n": {"type": "integer", "minimum": 1}},
                    "required": ["n"],
                    "additionalProperties": False,
                },
            ),
            {
                "name": "f",
                "input_schema": {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                    "required": ["n"],
                    "additionalProperties": False,
                },
                "strict": True,
            },
            id="strict-schema-is-made-enforceable",
        ),
        pytest.param(
            tool("my.tool"),
            {"name": "my_tool_bca2c361", "input_schema": EMPTY_SCHEMA},
            id="name-is-made-valid",
        ),
    ],
)
def test_tool_definitions(adapter: ClaudeAdapter, given: JsonObject, written: JsonObject) -> None:
    wire, call, _ = to_wire(adapter, {"tools": [given]})
    assert ([written], []) == (wire["tools"], call.degraded)


CLOSED = {**EMPTY_SCHEMA, "additionalProperties": False}
LINK = {**CLOSED, "properties": {"next": {"$ref": "#/$defs/Link"}}}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "object", "additionalProperties": {"type": "string"}}, id="open"),
        pytest.param({**LINK, "$defs": {"Link": LINK}}, id="recursive"),
    ],
)
def test_a_strict_tool_that_cannot_be_enforced_is_told(
    adapter: ClaudeAdapter, schema: JsonObject
) -> None:
    wire, call, _ = to_wire(adapter, {"tools": [tool(strict=True, parameters=schema)]})
    assert [{"name": "f", "input_schema": schema}] == wire["tools"]
    assert call.degraded == ["tools.strict"]


def test_only_so_many_tools_are_strict(adapter: ClaudeAdapter) -> None:
    tools = [tool(f"t{n}", strict=True, parameters=CLOSED) for n in range(21)]
    wire, _, _ = to_wire(adapter, {"tools": tools})
    assert [offer.get("strict", False) for offer in wire["tools"]] == [True] * 20 + [False]


def test_a_long_tool_name_is_the_same_in_history_choice_and_definition(
    adapter: ClaudeAdapter,
) -> None:
    name = "n" * 65
    messages = [ASK, {"role": "assistant", "tool_calls": [call_of(name)]}, ANSWERED]
    body = {"messages": messages, "tools": [tool(name)], "tool_choice": named(name)}
    wire, _, _ = to_wire(adapter, body, Call(model=OPUS_5))
    written = wire["tools"][0]["name"]
    assert len(written) == 64
    assert written == wire["messages"][1]["content"][0]["name"] == wire["tool_choice"]["name"]
