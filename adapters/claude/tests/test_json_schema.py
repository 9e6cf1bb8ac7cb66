from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema

from one_api.adapter import JsonObject
from one_api_claude.json_schema import NotExpressible, SchemaBudget, enforceable, is_closed


def closed(required: list[str] | None = None, **properties: Any) -> JsonObject:
    schema: JsonObject = {"type": "object", "properties": properties}
    if required is not None:
        schema["required"] = required
    return {**schema, "additionalProperties": False}


STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        pytest.param(
            {"type": "object", "properties": {"a": STRING}, "required": ["a", "gone"]},
            closed(["a"], a=STRING),
            id="objects-are-closed",
        ),
        pytest.param(
            {"type": "string", "description": "d", "minLength": 1, "pattern": "^a"},
            {"type": "string", "description": 'd\n\n{minLength: 1, pattern: "^a"}'},
            id="constraints-become-words",
        ),
        pytest.param(
            {"type": "string", "format": "email", "title": "t"},
            {"type": "string", "format": "email", "title": "t"},
            id="known-format",
        ),
        pytest.param(
            {"type": "string", "format": "iban"},
            {"type": "string", "description": '{format: "iban"}'},
            id="unknown-format",
        ),
        pytest.param(
            {"type": "array", "items": STRING, "minItems": 1, "maxItems": 3},
            {"type": "array", "items": STRING, "minItems": 1, "description": "{maxItems: 3}"},
            id="array",
        ),
        pytest.param(
            {"type": "array", "items": STRING, "minItems": 2},
            {"type": "array", "items": STRING, "description": "{minItems: 2}"},
            id="min-items-above-one",
        ),
        pytest.param(
            {"oneOf": [STRING, {"type": "null"}]},
            {"anyOf": [STRING, {"type": "null"}]},
            id="one-of",
        ),
        pytest.param({"type": ["string", "null"]}, {"type": ["string", "null"]}, id="type-list"),
        pytest.param({"enum": ["a", 1, None]}, {"enum": ["a", 1, None]}, id="enum"),
        pytest.param(
            {"const": "a", "type": "string"}, {"const": "a", "type": "string"}, id="const"
        ),
        pytest.param(
            {"$schema": "x", "$ref": "#/$defs/A", "$defs": {"A": STRING}},
            {"$defs": {"A": STRING}, "$ref": "#/$defs/A"},
            id="reference",
        ),
        pytest.param(
            {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": STRING}},
            {"definitions": {"A": STRING}, **closed(a={"$ref": "#/definitions/A"})},
            id="old-reference-and-no-type",
        ),
    ],
)
def test_what_can_be_enforced(schema: JsonObject, expected: JsonObject) -> None:
    assert expected == enforceable(schema)


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({}, id="anything"),
        pytest.param({"type": "object"}, id="open-object"),
        pytest.param({"type": "object", "additionalProperties": STRING}, id="map"),
        pytest.param(
            {"type": "object", "properties": {"a": STRING}, "additionalProperties": True}, id="open"
        ),
        pytest.param(
            {"type": "object", "properties": {"a": STRING}, "patternProperties": {"^x": STRING}},
            id="patterns",
        ),
        pytest.param({"type": "object", "properties": {"a": True}}, id="boolean-schema"),
        pytest.param({"type": "object", "properties": []}, id="no-map-of-properties"),
        pytest.param({"type": "array"}, id="array-of-anything"),
        pytest.param({"$ref": "https://a.example/schema"}, id="foreign-reference"),
        pytest.param({"$ref": "#/$defs/A"}, id="dangling-reference"),
        pytest.param(
            {
                "$ref": "#/$defs/A",
                "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
            },
            id="recursion",
        ),
        pytest.param({"type": "string", "default": 2**70}, id="not-serialisable"),
    ],
)
def test_what_cannot_be_enforced(schema: JsonObject) -> None:
    with pytest.raises(NotExpressible):
        enforceable(schema)


def test_many_references_to_one_definition_are_read_once() -> None:
    # Each level refers to the next twice: read without memory, that is 2 ** 60 visits.
    levels = {
        f"L{n}": closed(a={"$ref": f"#/$defs/L{n + 1}"}, b={"$ref": f"#/$defs/L{n + 1}"})
        for n in range(20)
    }
    schema = {"$ref": "#/$defs/L0", "$defs": {**levels, "L20": STRING}}
    assert enforceable(schema)["$ref"] == "#/$defs/L0"


def test_depth_is_bounded() -> None:
    schema: JsonObject = STRING
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    with pytest.raises(NotExpressible):
        enforceable(schema)


def test_the_schema_given_is_not_changed() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}
    enforceable(schema)
    assert schema["properties"] == {"a": {"type": "integer", "minimum": 1}}


def test_the_result_is_what_anthropics_sdk_would_send() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "d"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "n": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "day": {"type": "string", "format": "date", "title": "Day"},
        },
        "required": ["name"],
    }
    assert transform_schema(schema) == enforceable(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (closed(a=STRING), True),
        (closed(a=closed()), True),
        (closed(a={"type": "object"}), False),
        ({"type": "object", "properties": {}}, False),
        ({"properties": {}}, False),
        ({"anyOf": [closed(), {"type": "object"}]}, False),
        (STRING, True),
    ],
)
def test_closed_means_everywhere(schema: JsonObject, expected: bool) -> None:
    assert expected == is_closed(schema)


@pytest.mark.parametrize(
    ("schema", "count", "fits"),
    [
        pytest.param(closed(), 20, True, id="twenty-tools"),
        pytest.param(closed(), 21, False, id="one-tool-too-many"),
        pytest.param(closed([], a=STRING, b=STRING), 12, True, id="optional"),
        pytest.param(closed([], a=STRING, b=STRING), 13, False, id="too-many-optional"),
        pytest.param(closed(["a"], a={"anyOf": [STRING]}), 16, True, id="unions"),
        pytest.param(closed(["a"], a={"type": ["string", "null"]}), 17, False, id="many-unions"),
    ],
)
def test_the_schemas_of_a_request_share_a_budget(
    schema: JsonObject, count: int, fits: bool
) -> None:
    budget = SchemaBudget()
    taken = [budget.take(schema, is_tool=True) for _ in range(count)]
    assert [True] * (count - 1) + [fits] == taken


def test_a_schema_that_does_not_fit_takes_nothing() -> None:
    budget = SchemaBudget(optional=1)
    assert not budget.take(closed([], a=STRING, b=STRING), is_tool=True)
    assert budget.take(closed([], a=STRING), is_tool=True)
