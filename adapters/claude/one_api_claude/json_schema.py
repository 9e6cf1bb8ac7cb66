"""JSON schemas in the subset that Anthropic enforces by grammar.

Constraints that cannot be enforced move into the description, where the model at least reads
them; schemas that cannot be said at all (open maps, recursion, anything goes) are reported, and the
caller falls back to asking in words.
Source: platform.claude.com, "Structured outputs", section "JSON Schema limitations", and
`anthropic.lib._parse._transform` of anthropic 2.11.0, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from one_api.adapter import JsonObject

FORMATS: Final = frozenset(
    {
        "date",
        "date-time",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "time",
        "uri",
        "uuid",
    }
)
#: Limits over all schemas of one request.
MAX_STRICT_TOOLS: Final = 20
MAX_OPTIONAL: Final = 24
MAX_UNIONS: Final = 16
_MAX_DEPTH: Final = 64

_DEFINITIONS: Final = ("$defs", "definitions")
_IGNORED: Final = frozenset({"$schema", "$id", "$comment", "$anchor", "nullable"})


class NotExpressible(Exception):
    """The schema asks for something that cannot be enforced."""


@dataclass(slots=True)
class SchemaBudget:
    """What the strict schemas of one request may still hold."""

    tools: int = MAX_STRICT_TOOLS
    optional: int = MAX_OPTIONAL
    unions: int = MAX_UNIONS

    def take(self, schema: JsonObject, *, is_tool: bool) -> bool:
        """Whether `schema` still fits; if so it is accounted for."""
        optional, unions = _count(schema)
        tools = int(is_tool)
        if tools > self.tools or optional > self.optional or unions > self.unions:
            return False
        self.tools -= tools
        self.optional -= optional
        self.unions -= unions
        return True


def enforceable(schema: Mapping[str, Any]) -> JsonObject:
    """`schema` as far as it can be enforced: every object closed, the rest in descriptions.

    Raises: NotExpressible.
    """
    return _Transformation(schema).run()


def is_closed(schema: object) -> bool:
    """Whether every object in `schema` says that it has no other properties."""
    return all(
        part.get("additionalProperties") is False
        for part in _parts(schema)
        if part.get("type") == "object" or isinstance(part.get("properties"), Mapping)
    )


@dataclass(slots=True)
class _Transformation:
    root: Mapping[str, Any]
    #: References being resolved: meeting one again is recursion.
    open_references: list[str] = field(default_factory=list)
    #: References known to be free of it.
    sound_references: set[str] = field(default_factory=set)

    def run(self) -> JsonObject:
        self._refuse_recursion(self.root, 0)
        return self._schema(self.root, 0)

    def _refuse_recursion(self, node: object, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise NotExpressible("nested too deep")
        if isinstance(node, list):
            for item in node:
                self._refuse_recursion(item, depth + 1)
        if not isinstance(node, Mapping):
            return
        reference = node.get("$ref")
        if isinstance(reference, str) and reference not in self.sound_references:
            if reference in self.open_references:
                raise NotExpressible("recursive")
            self.open_references.append(reference)
            self._refuse_recursion(self._resolve(reference), depth + 1)
            self.open_references.pop()
            self.sound_references.add(reference)
        for key, value in node.items():
            if key not in _DEFINITIONS:
                self._refuse_recursion(value, depth + 1)

    def _resolve(self, reference: str) -> object:
        start, _, name = reference.rpartition("/")
        for key in _DEFINITIONS:
            definitions = self.root.get(key)
            if start == f"#/{key}" and isinstance(definitions, Mapping) and name in definitions:
                return definitions[name]
        raise NotExpressible(f"reference {reference}")

    def _schema(self, node: object, depth: int) -> JsonObject:
        if not isinstance(node, Mapping) or depth > _MAX_DEPTH:
            raise NotExpressible("not a schema object")
        rest = {key: value for key, value in node.items() if key not in _IGNORED}
        out: JsonObject = {}
        self._move_definitions(rest, out, depth)
        if "$ref" in rest:
            out["$ref"] = rest["$ref"]
            return out
        self._move_values(rest, out)
        self._move_unions(rest, out, depth)
        is_told = bool(out.keys() - set(_DEFINITIONS))
        types = _types(rest.pop("type", None), rest)
        if types:
            out["type"] = types[0] if len(types) == 1 else types
        elif not is_told:
            raise NotExpressible("no type")
        if "object" in types:
            self._move_object(rest, out, depth)
        if "array" in types:
            self._move_array(rest, out, depth)
        _move_words(rest, out)
        return out

    def _move_definitions(self, rest: JsonObject, out: JsonObject, depth: int) -> None:
        for key in _DEFINITIONS:
            definitions = rest.pop(key, None)
            if isinstance(definitions, Mapping) and definitions:
                out[key] = {
                    name: self._schema(value, depth + 1) for name, value in definitions.items()
                }

    def _move_values(self, rest: JsonObject, out: JsonObject) -> None:
        values = rest.get("enum")
        if isinstance(values, list) and values and all(_is_scalar(value) for value in values):
            out["enum"] = rest.pop("enum")
        if "const" in rest and _is_scalar(rest["const"]):
            out["const"] = rest.pop("const")

    def _move_unions(self, rest: JsonObject, out: JsonObject, depth: int) -> None:
        for key, name in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
            variants = rest.get(key)
            if isinstance(variants, list) and variants and name not in out:
                del rest[key]
                out[name] = [self._schema(variant, depth + 1) for variant in variants]

    def _move_object(self, rest: JsonObject, out: JsonObject, depth: int) -> None:
        properties = rest.pop("properties", None) or {}
        extra = rest.pop("additionalProperties", None)
        is_open = isinstance(extra, Mapping) or extra is True or "patternProperties" in rest
        if is_open or not isinstance(properties, Mapping) or (not properties and extra is None):
            raise NotExpressible("an object with other properties than those named")
        out["properties"] = {
            name: self._schema(value, depth + 1) for name, value in properties.items()
        }
        required = rest.pop("required", None)
        if isinstance(required, list):
            out["required"] = [name for name in required if name in properties]
        out["additionalProperties"] = False

    def _move_array(self, rest: JsonObject, out: JsonObject, depth: int) -> None:
        if "items" not in rest:
            raise NotExpressible("an array of anything")
        out["items"] = self._schema(rest.pop("items"), depth + 1)
        if rest.get("minItems") in (0, 1):
            out["minItems"] = rest.pop("minItems")


def _types(declared: object, rest: Mapping[str, Any]) -> list[str]:
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, list) and all(isinstance(name, str) for name in declared):
        return declared
    if isinstance(rest.get("properties"), Mapping):
        return ["object"]
    return []


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _move_words(rest: JsonObject, out: JsonObject) -> None:
    """Move what describes, and say in the description what cannot be enforced."""
    for key in ("title", "description"):
        if isinstance(rest.get(key), str):
            out[key] = rest.pop(key)
    if rest.get("format") in FORMATS:
        out["format"] = rest.pop("format")
    if not rest:
        return
    told = ", ".join(f"{key}: {_as_text(value)}" for key, value in rest.items())
    description = out.get("description")
    out["description"] = f"{description}\n\n{{{told}}}" if description else f"{{{told}}}"


def _as_text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as exc:
        raise NotExpressible("a value that cannot be serialised") from exc


def _parts(schema: object) -> Iterator[Mapping[str, Any]]:
    """`schema` and every object below it."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _count(schema: JsonObject) -> tuple[int, int]:
    """How many optional and how many union-typed parameters `schema` has."""
    optional = unions = 0
    for part in _parts(schema):
        properties = part.get("properties")
        if part.get("additionalProperties") is False and isinstance(properties, Mapping):
            optional += len(properties) - len(set(part.get("required", ())) & set(properties))
        if "anyOf" in part or isinstance(part.get("type"), list):
            unions += 1
    return optional, unions
