"""JSON schemas as grammars: whatever a grammar lets through, its schema accepts.

The converse does not hold everywhere: properties come in the schema's order, and an object with
named properties has no others. A keyword that a grammar cannot enforce is refused, never ignored,
and so is one that JSON Schema does not know; only annotations have no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import Any, Final

from one_api.adapter import InvalidRequest, JsonObject
from one_api_llamacpp.gbnf import JSON_RULES, json_literal
from one_api_llamacpp.schema_keywords import (
    ALL_KEYWORDS,
    ANNOTATIONS,
    KEYWORDS_OF,
    Place,
    count,
    given_types,
    listing,
    mapping,
)
from one_api_llamacpp.schema_scalars import number_body, string_body

#: Most characters of a grammar: llama.cpp goes through all of it before the first token.
_MAX_SIZE: Final = 200_000
_MAX_DEPTH: Final = 64
_NUMBERS: Final = {"integer", "number"}
_FORMS: Final = ("$ref", "anyOf", "oneOf", "allOf", "enum", "const")


class SchemaGrammar:
    """The rules of any number of schemas for one grammar."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = dict(JSON_RULES)
        self._size = 0

    def add(self, name: str, body: str) -> str:
        """The name of a rule for `body`: `name` with a number."""
        unique = f"{name}-{len(self.rules)}"
        self.rules[unique] = ""
        return self.fill(unique, body)

    def fill(self, name: str, body: str) -> str:
        """Give the rule `name` its body; the name."""
        self._size += len(body)
        if self._size > _MAX_SIZE:
            raise InvalidRequest("The JSON schema is too large for a grammar.")
        self.rules[name] = body
        return name

    def schema(self, schema: Any, where: str) -> str:
        """The name of a rule for JSON values that `schema` accepts.

        Raises: InvalidRequest that names the place, as a path that begins with `where`.
        """
        return _Converter(self, schema, where).rule


class _Converter:
    """Converts one schema; references within it become rules that may refer to one another."""

    def __init__(self, grammar: SchemaGrammar, root: Any, where: str) -> None:
        self._grammar = grammar
        self._root = root
        self._where = where
        self._references: dict[str, str] = {}
        #: Which references begin with which, before a character of theirs was written.
        self._beginnings: dict[str, set[str]] = {}
        self.rule = self._reference("#", Place(where), "")
        try:
            TopologicalSorter(self._beginnings).prepare()
        except CycleError as exc:
            raise Place(where).wrong("a '$ref' leads back to itself") from exc

    def _visit(self, schema: Any, place: Place, owner: str) -> str:
        """The name of a rule for `schema`.

        `owner` is the reference whose value begins with this one, empty if something precedes it.
        """
        if place.depth > _MAX_DEPTH:
            raise place.wrong("the schema is nested too deeply")
        if schema is True:
            return "value"
        if not isinstance(schema, dict):
            raise place.wrong("a schema is needed here that some value satisfies")
        _check_keywords(schema, place)
        form = next((name for name in _FORMS if name in schema), None)
        if form is None:
            return self._typed(schema, place)
        allowed = {"type", "enum", "const"} if form in ("enum", "const") else set()
        _only(schema, {form, *allowed}, place)
        if form == "$ref":
            return self._reference(schema["$ref"], place / "$ref", owner)
        if form in ("enum", "const"):
            return self._constants(schema, place)
        return self._combined(schema[form], form, place / form, owner)

    def _reference(self, pointer: Any, place: Place, owner: str) -> str:
        target = self._resolve(pointer, place)
        if owner:
            self._beginnings.setdefault(owner, set()).add(pointer)
        if pointer not in self._references:
            name = self._references[pointer] = self._grammar.add("ref", "")
            at = Place(self._where) if pointer == "#" else place
            self._grammar.fill(name, self._visit(target, at, pointer))
        return self._references[pointer]

    def _resolve(self, pointer: Any, place: Place) -> Any:
        if not isinstance(pointer, str) or not re.fullmatch(r"#(/.*)?", pointer, re.S):
            raise place.wrong("only references into the same schema ('#/$defs/…') are known")
        target = self._root
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, dict) or key not in target:
                raise place.wrong("it refers to nothing")
            target = target[key]
        return target

    def _constants(self, schema: JsonObject, place: Place) -> str:
        values = listing(schema["enum"], place / "enum") if "enum" in schema else [schema["const"]]
        if "const" in schema:
            values = [value for value in values if _same(value, schema["const"])]
        if "type" in schema:
            types = given_types(schema, place)
            values = [value for value in values if any(_is_of(value, name) for name in types)]
        if not values:
            raise place.wrong("no value satisfies it")
        return self._grammar.add("const", " | ".join(map(json_literal, values)))

    def _combined(self, schemas: Any, form: str, place: Place, owner: str) -> str:
        parts = listing(schemas, place)
        if form == "allOf" and len(parts) > 1:
            raise place.wrong("only one schema can be enforced")
        rules = [self._visit(part, place[index], owner) for index, part in enumerate(parts)]
        if form == "oneOf":
            targets = [self._target(part, place) for part in parts]
            if not all(_are_disjoint(*pair, place) for pair in combinations(targets, 2)):
                raise place.wrong("only alternatives that exclude one another can be enforced")
        return self._grammar.add("any", " | ".join(rules))

    def _target(self, schema: Any, place: Place) -> Any:
        """What `schema` refers to, if it does so directly."""
        if isinstance(schema, dict) and "$ref" in schema:
            return self._resolve(schema["$ref"], place)
        return schema

    def _typed(self, schema: JsonObject, place: Place) -> str:
        rules = [self._of_type(name, schema, place) for name in given_types(schema, place)]
        if not rules:
            return "value"
        return rules[0] if len(rules) == 1 else self._grammar.add("any", " | ".join(rules))

    def _of_type(self, name: str, schema: JsonObject, place: Place) -> str:
        if not schema.keys() & KEYWORDS_OF[name]:
            return name
        if name == "object":
            return self._object(schema, place)
        if name == "array":
            return self._array(schema, place)
        make = string_body if name == "string" else number_body
        return self._grammar.add(name, make(schema, name, place))

    # Objects and arrays

    def _object(self, schema: JsonObject, place: Place) -> str:
        properties = mapping(schema.get("properties", {}), place / "properties")
        required = listing(schema.get("required", []), place / "required", may_be_empty=True)
        if not all(isinstance(key, str) for key in required):
            raise (place / "required").wrong("names are needed here")
        others = schema.get("additionalProperties", True)
        unknown = [key for key in required if key not in properties]
        if unknown and others is False:
            raise (place / "required").wrong(f"'{unknown[0][:64]}' is no property")
        members: list[tuple[str, bool]] = []
        for key, part in (*properties.items(), *((key, others) for key in unknown)):
            if part is False and key not in required:
                continue  # it must not be there
            value = self._visit(part, place / "properties" / key, "")
            members.append((f'{json_literal(key)} ":" ws {value}', key in required))
        if members:
            return self._grammar.add("object", self._members(members))
        if properties or others is False:
            return self._grammar.add("object", '"{" ws "}"')
        value = self._visit(others, place / "additionalProperties", "")
        member = f'string ":" ws {value}'
        return self._grammar.add("object", f'"{{" ws ({member} ("," ws {member})* ws)? "}}"')

    def _members(self, members: list[tuple[str, bool]]) -> str:
        """An expression for an object of members in this order, each with whether it must be."""
        # From the last to the first: what may follow a member, and how the members may begin.
        after, beginnings = '""', list[str]()
        for member, is_required in reversed(members):
            rule = self._grammar.add("member", member)
            if is_required:
                beginnings.clear()
            beginnings.append(f"{rule} {after}")
            comma = f'"," ws {rule}' if is_required else f'("," ws {rule})?'
            after = self._grammar.add("rest", f"{comma} {after}")
        body = f"({' | '.join(reversed(beginnings))}) ws"
        is_empty_right = not any(is_required for _, is_required in members)
        return f'"{{" ws {f"({body})?" if is_empty_right else body} "}}"'

    def _array(self, schema: JsonObject, place: Place) -> str:
        low = count(schema, "minItems", place) or 0
        high = count(schema, "maxItems", place)
        if schema.get("uniqueItems"):
            raise (place / "uniqueItems").wrong("it cannot be enforced")
        if "prefixItems" in schema:
            return self._tuple(schema, low, high, place)
        items = schema.get("items", True)
        if items is False or high == 0:
            low, high, items = low, 0, True
        if high is not None and low > high:
            raise place.wrong("no array satisfies it")
        if not high and high is not None:
            return self._grammar.add("array", '"[" ws "]"')
        item = self._visit(items, place / "items", "")
        more = f'("," ws {item}){{{max(low - 1, 0)},{"" if high is None else high - 1}}}'
        # A rule of its own: llama.cpp multiplies the repetitions that stand in one another.
        body = self._grammar.add("items", f"{item} {more} ws")
        return self._grammar.add("array", f'"[" ws {body if low else f"{body}?"} "]"')

    def _tuple(self, schema: JsonObject, low: int, high: int | None, place: Place) -> str:
        parts = listing(schema["prefixItems"], place / "prefixItems")
        if low > len(parts) or (high is not None and high < len(parts)):
            raise place.wrong("only arrays of as many items as 'prefixItems' has can be enforced")
        items = [
            self._visit(part, (place / "prefixItems")[index], "")
            for index, part in enumerate(parts)
        ]
        separator = ' "," ws '
        return self._grammar.add("array", f'"[" ws {separator.join(items)} ws "]"')


def _check_keywords(schema: Mapping[str, Any], place: Place) -> None:
    for key in schema:
        if key not in ALL_KEYWORDS and not key.startswith("x-"):
            raise (place / key).wrong("this keyword cannot be enforced")


def _only(schema: JsonObject, allowed: set[str], place: Place) -> None:
    for key in schema:
        if key not in allowed | ANNOTATIONS and not key.startswith("x-"):
            raise (place / key).wrong("beside this, it cannot be enforced")


def _are_disjoint(left: Any, right: Any, place: Place, *, is_member: bool = False) -> bool:
    """Whether no value satisfies both schemas, as far as types and constants tell."""
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    constants = _constants_of(left), _constants_of(right)
    if constants[0] is not None and constants[1] is not None:
        return not any(_same(a, b) for a in constants[0] for b in constants[1])
    types = [set(given_types(side, place)) for side in (left, right)]
    if types == [{"object"}, {"object"}] and not is_member:
        ours, theirs = left.get("properties", {}), right.get("properties", {})
        keys = set(left.get("required", ())) & set(right.get("required", ()))
        return any(
            _are_disjoint(ours.get(key), theirs.get(key), place, is_member=True) for key in keys
        )
    if {"integer", "number"} <= types[0] | types[1]:
        types = [side | {"integer", "number"} if side & _NUMBERS else side for side in types]
    return all(types) and not types[0] & types[1]


def _constants_of(schema: JsonObject) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON values, in which `true` is not 1."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _is_of(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    kinds: dict[str, Any] = {
        "array": list,
        "null": type(None),
        "number": int | float,
        "object": dict,
        "string": str,
    }
    return isinstance(value, kinds.get(name, ()))
