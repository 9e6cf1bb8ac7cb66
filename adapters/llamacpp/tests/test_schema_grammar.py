from __future__ import annotations

import datetime
import ipaddress
import json
import math
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.llamacpp.tests.grammar_writer import GrammarWriter
from one_api.adapter import InvalidRequest
from one_api_llamacpp.gbnf import to_text
from one_api_llamacpp.schema_grammar import SchemaGrammar


def grammar_of(schema: Any) -> str:
    grammar = SchemaGrammar()
    grammar.rules["root"] = grammar.schema(schema, "schema")
    return to_text(grammar.rules)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrammarWriter]:
    made = GrammarWriter(tmp_path_factory.mktemp("vocabulary") / "noise.gguf")
    yield made
    made.close()


def accepts(schema: Any, value: Any) -> bool:
    """Whether JSON Schema says that `value` is right, for the keywords that are drawn here."""
    if isinstance(schema, bool):
        return schema
    if "enum" in schema:
        return any(json.dumps(value) == json.dumps(other) for other in schema["enum"])
    if "anyOf" in schema:
        return any(accepts(part, value) for part in schema["anyOf"])
    names = schema.get("type", [])
    if names and type_of(value) not in ([names] if isinstance(names, str) else names):
        return type_of(value) == "integer" and "number" in names and in_bounds(schema, value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        return set(schema.get("required", [])) <= value.keys() and all(
            accepts(properties.get(key, others), item) for key, item in value.items()
        )
    if isinstance(value, list):
        lengths = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
        return lengths and all(accepts(schema.get("items", True), item) for item in value)
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9))
    return in_bounds(schema, value)


def type_of(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
    return "null" if value is None else names.get(type(value), "number")


def in_bounds(schema: Any, value: Any) -> bool:
    if type_of(value) not in ("integer", "number"):
        return True
    return bool(
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", -math.inf) < value
        and value < schema.get("exclusiveMaximum", math.inf)
    )


NAMES = st.sampled_from(["a", "b", 'quo"te', "zwei Wörter", "back\\slash", "👋"])
CONSTANTS = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=4))
SPAN = st.tuples(st.integers(0, 3), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))
BOUNDS = st.tuples(st.integers(-1200, 1200), st.integers(2, 2500)).map(
    lambda pair: (pair[0], sum(pair))
)


def _object(parts: dict[str, Any], optional: set[str]) -> dict[str, Any]:
    required = [name for name in parts if name not in optional]
    return {
        "type": "object",
        "properties": parts,
        "required": required,
        "additionalProperties": False,
    }


LEAVES = st.one_of(
    st.sampled_from(["string", "boolean", "null", "integer", "number", "object", "array"]).map(
        lambda name: {"type": name}
    ),
    st.just({"type": ["string", "null"]}),
    SPAN.map(lambda span: {"type": "string", "minLength": span[0], "maxLength": span[1]}),
    BOUNDS.map(lambda span: {"type": "integer", "minimum": span[0], "maximum": span[1]}),
    BOUNDS.map(lambda span: {"type": "number", "minimum": span[0], "exclusiveMaximum": span[1]}),
    BOUNDS.map(lambda span: {"type": "number", "exclusiveMinimum": span[0]}),
    st.lists(CONSTANTS, min_size=1, max_size=3).map(lambda values: {"enum": values}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        st.tuples(inner, SPAN).map(
            lambda drawn: {
                "type": "array",
                "items": drawn[0],
                "minItems": drawn[1][0],
                "maxItems": drawn[1][1],
            }
        ),
        inner.map(lambda part: {"type": "object", "additionalProperties": part}),
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=4), st.sets(NAMES, max_size=3)),
    ),
    max_leaves=6,
)


@pytest.mark.llamacpp
@settings(max_examples=60, deadline=None)
@given(schema=SCHEMAS, seed=st.integers(0, 2**32))
def test_whatever_a_grammar_lets_through_is_json_that_the_schema_accepts(
    writer: GrammarWriter, schema: Any, seed: int
) -> None:
    text = writer.write(grammar_of(schema), seed)
    if text is not None:
        assert accepts(schema, json.loads(text)), text


ADDRESS = {
    "type": "object",
    "properties": {"street": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["street"],
    "additionalProperties": False,
}
LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
        }
    },
    "$ref": "#/$defs/node",
}
SHAPES = {
    "oneOf": [
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}
        for kind in ("circle", "square")
    ]
}


@pytest.mark.llamacpp
@pytest.mark.parametrize(
    ("schema", "text", "is_right"),
    [
        (ADDRESS, '{"street": "a", "number": 3}', True),
        (ADDRESS, '{\n  "street": "a"\n}', True),
        (ADDRESS, '{"number": 3}', False),
        (ADDRESS, '{"street": "a", "town": "b"}', False),
        (ADDRESS, '{"street": "a\nb"}', False),
        (ADDRESS, '{"street": "\\ud800"}', False),
        (ADDRESS, '{"street": "\\n\\u00e9"}', True),
        (LIST, '{"value": 1, "next": {"value": 2, "next": null}}', True),
        (LIST, '{"value": 1, "next": {"value": 2}}', False),
        (SHAPES, '{"kind": "square"}', True),
        (SHAPES, '{"kind": "line"}', False),
        ({"allOf": [{"type": "boolean"}]}, "true", True),
        ({"type": "array", "prefixItems": [{"type": "null"}, {"const": 1}]}, "[null, 1]", True),
        ({"type": "array", "prefixItems": [{"type": "null"}, {"const": 1}]}, "[null]", False),
        ({"type": "array", "maxItems": 0}, "[]", True),
        ({"type": "array", "items": False}, "[1]", False),
        ({"enum": [1, "a", None], "type": ["string", "null"]}, '"a"', True),
        ({"enum": [1, "a", None], "type": ["string", "null"]}, "1", False),
        ({"properties": {"a": False, "b": True}}, '{"b": [{}]}', True),
        ({"required": ["x"], "additionalProperties": {"type": "null"}}, '{"x": null}', True),
        ({"type": "string", "maxLength": 5000}, '"' + "x" * 2000 + '"', True),
        (
            {"type": "array", "items": {"type": "string", "maxLength": 2000}, "maxItems": 2000},
            '["a", "b"]',
            True,
        ),
        ({}, '{"a": [1.5e3, true]}', True),
        (True, "null", True),
    ],
)
def test_a_grammar_lets_through_what_the_schema_means(
    writer: GrammarWriter, schema: Any, text: str, is_right: bool
) -> None:
    assert is_right == writer.accepts(grammar_of(schema), text)


def _is_time(text: str) -> bool:
    return datetime.time.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None


def _is_moment(text: str) -> bool:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None


@pytest.mark.llamacpp
@pytest.mark.parametrize(
    ("form", "is_right"),
    [
        ("date", lambda text: bool(datetime.date.fromisoformat(text))),
        ("time", _is_time),
        ("date-time", _is_moment),
        ("uuid", lambda text: str(uuid.UUID(text)) == text.lower()),
        ("ipv4", lambda text: bool(ipaddress.IPv4Address(text))),
        ("hostname", lambda text: re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*", text)),
        ("email", lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text)),
    ],
)
def test_strings_have_the_format_that_is_asked_for(
    writer: GrammarWriter, form: str, is_right: Any
) -> None:
    grammar = grammar_of({"type": "string", "format": form})
    texts = [text for seed in range(30) if (text := writer.write(grammar, seed)) is not None]
    assert texts
    assert all(is_right(json.loads(text)) for text in texts)


DEEP: Any = {"type": "string"}
for _ in range(100):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        (False, "schema"),
        (5, "schema"),
        ({"type": "text"}, "schema.type"),
        ({"type": []}, "schema.type"),
        ({"type": {}}, "schema.type"),
        ({"type": "string", "pattern": "^a"}, "schema.pattern"),
        ({"type": "string", "maxLenght": 3}, "schema.maxLenght"),
        ({"type": "string", "format": "iri"}, "schema.format"),
        ({"type": "string", "format": "date", "minLength": 3}, "schema.format"),
        ({"type": "string", "minLength": -1}, "schema.minLength"),
        ({"type": "string", "minLength": True}, "schema.minLength"),
        ({"type": "string", "minLength": 2001}, "schema.minLength"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "schema"),
        ({"type": "integer", "multipleOf": 3}, "schema.multipleOf"),
        ({"type": "integer", "minimum": "1"}, "schema.minimum"),
        ({"type": "number", "maximum": 0.5}, "schema.maximum"),
        ({"type": "integer", "minimum": 3, "exclusiveMaximum": 3}, "schema"),
        ({"type": "integer", "exclusiveMinimum": True}, "schema.exclusiveMinimum"),
        ({"type": "integer", "minimum": 1e300}, "schema.minimum"),
        ({"type": "array", "uniqueItems": True}, "schema.uniqueItems"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "schema"),
        ({"type": "array", "prefixItems": [{}], "minItems": 2}, "schema"),
        ({"type": "array", "items": {"not": {}}}, "schema.items.not"),
        ({"type": "object", "properties": []}, "schema.properties"),
        ({"type": "object", "required": "a"}, "schema.required"),
        ({"type": "object", "required": [1]}, "schema.required"),
        ({"required": ["a"], "additionalProperties": False}, "schema.required"),
        ({"properties": {"a": {"properties": {"b": 1}}}}, "schema.properties.a.properties.b"),
        ({"patternProperties": {}}, "schema.patternProperties"),
        ({"enum": []}, "schema.enum"),
        ({"enum": [1], "minLength": 1}, "schema.minLength"),
        ({"enum": [1], "type": "string"}, "schema"),
        ({"anyOf": []}, "schema.anyOf"),
        ({"anyOf": [{}], "type": "string"}, "schema.type"),
        ({"anyOf": [{}, {"if": {}}]}, "schema.anyOf[1].if"),
        ({"allOf": [{}, {}]}, "schema.allOf"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "schema.oneOf"),
        ({"oneOf": [{}, {"type": "number"}]}, "schema.oneOf"),
        ({"oneOf": [{"const": 1}, {"enum": [2, 1]}]}, "schema.oneOf"),
        ({"$ref": "other.json"}, "schema.$ref"),
        ({"$ref": "#/$defs/none"}, "schema.$ref"),
        ({"$ref": "#"}, "schema"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "schema"),
        ({"enum": ["x" * 300_000]}, None),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, str) else None,
)
def test_what_cannot_be_enforced_is_refused_by_place(schema: Any, where: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        grammar_of(schema)
    assert (caught.value.status, caught.value.param) == (400, where)


def test_a_schema_too_deep_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply") as caught:
        grammar_of(DEEP)
    assert caught.value.param is not None
    assert len(caught.value.param) <= 200


def test_annotations_have_no_effect() -> None:
    told = {"title": "T", "description": "D", "default": 1, "examples": [1], "x-order": 3}
    assert grammar_of({"type": "integer"}) == grammar_of({"type": "integer", **told})
