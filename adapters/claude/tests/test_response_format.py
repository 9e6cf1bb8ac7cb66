"""Response formats: enforced where they can be, asked for in words where not."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.claude.tests.wires import ASK, OPUS_5_5, SYSTEM, refusal, text, to_wire, user
from one_api.adapter import Call, JsonObject
from one_api_claude import ClaudeAdapter


def schema_format(schema: JsonObject | None, **more: Any) -> JsonObject:
    fields = {"name": "n", "schema": schema, **more}
    return {"response_format": {"type": "json_schema", "json_schema": fields}}


def test_p20_json_object_is_asked_for_in_words(adapter: ClaudeAdapter) -> None:
    body = {"messages": [SYSTEM, ASK], "response_format": {"type": "json_object"}}
    wire, _, _ = to_wire(adapter, body)
    assert text("be brief") == wire["system"][0]
    assert wire["system"][-1]["text"].startswith("Respond with one JSON object only")
    assert [user("x")] == wire["messages"]
    assert "output_config" not in wire


def test_json_schema_is_enforced(adapter: ClaudeAdapter) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    body = {**schema_format(schema, strict=True), "reasoning_effort": "low"}
    wire, call, _ = to_wire(adapter, body)
    enforced = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": '{pattern: "x"}'}},
        "additionalProperties": False,
    }
    config = {"effort": "low", "format": {"type": "json_schema", "schema": enforced}}
    assert (config, []) == (wire["output_config"], call.degraded)


def test_json_schema_that_cannot_be_enforced_is_asked_for_in_words(
    adapter: ClaudeAdapter,
) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    wire, call, _ = to_wire(adapter, schema_format(schema))
    assert wire["system"][-1]["text"].endswith(f"\n{orjson.dumps(schema).decode()}")
    assert call.degraded == ["response_format"]
    error = refusal(adapter, schema_format(schema), Call(model=OPUS_5_5, strict_params=True))
    assert error.param == "response_format"


def test_json_schema_that_cannot_be_sent_is_refused(adapter: ClaudeAdapter) -> None:
    error = refusal(adapter, schema_format({"default": 2**70}))
    assert (error.status, error.param) == (400, "response_format.json_schema.schema")


def test_json_schema_without_a_schema_is_any_object(adapter: ClaudeAdapter) -> None:
    wire, call, _ = to_wire(adapter, schema_format(None))
    assert len(wire["system"]) == 1
    assert call.degraded == []
