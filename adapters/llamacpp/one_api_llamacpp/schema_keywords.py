"""What JSON Schema's keywords are about, and reading their values with care."""

from __future__ import annotations

from typing import Any, Final

from one_api.adapter import InvalidRequest, JsonObject
from one_api_llamacpp.gbnf import MAX_REPETITIONS

#: What says nothing about which values are right.
ANNOTATIONS: Final = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
_NUMERIC: Final = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"})
#: The keywords of each type that a grammar enforces.
KEYWORDS_OF: Final[dict[str, frozenset[str]]] = {
    "array": frozenset({"items", "maxItems", "minItems", "prefixItems", "uniqueItems"}),
    "boolean": frozenset(),
    "integer": _NUMERIC,
    "null": frozenset(),
    "number": _NUMERIC,
    "object": frozenset({"additionalProperties", "properties", "required"}),
    "string": frozenset({"format", "maxLength", "minLength"}),
}
ALL_KEYWORDS: Final = ANNOTATIONS.union(
    {"$ref", "allOf", "anyOf", "const", "enum", "oneOf", "type"}, *KEYWORDS_OF.values()
)
#: How much of a path, made of the client's own names, is told back.
_MAX_PATH: Final = 200


class Place:
    """Where in a request a schema stands."""

    def __init__(self, path: str, depth: int = 0) -> None:
        self._path = path
        self.depth = depth

    def __truediv__(self, key: str) -> Place:
        return Place(f"{self._path}.{key}", self.depth + 1)

    def __getitem__(self, index: int) -> Place:
        return Place(f"{self._path}[{index}]", self.depth + 1)

    def wrong(self, problem: str) -> InvalidRequest:
        """The error to raise about this place."""
        path = self._path[:_MAX_PATH]
        return InvalidRequest(
            f"Invalid JSON schema at '{path}': {problem}.", param=path, code="invalid_json_schema"
        )


def given_types(schema: JsonObject, place: Place) -> list[str]:
    """The types of values that `schema` is about; told by its keywords where it does not say.

    None when nothing tells.

    Raises: InvalidRequest for a type that JSON has not.
    """
    given = schema.get("type")
    if given is None:
        implied = [name for name, keys in KEYWORDS_OF.items() if schema.keys() & keys]
        if "integer" in implied:
            implied.remove("integer")
        return implied
    names = listing(given, place / "type") if isinstance(given, list) else [given]
    for name in names:
        if not isinstance(name, str) or name not in KEYWORDS_OF:
            raise (place / "type").wrong(f"{str(name)[:64]!r} is no type of JSON")
    return list(dict.fromkeys(names))


def listing(value: Any, place: Place, *, may_be_empty: bool = False) -> list[Any]:
    """`value`, which must be an array with something in it."""
    if not isinstance(value, list) or not (value or may_be_empty):
        raise place.wrong("an array with items is needed here")
    return value


def mapping(value: Any, place: Place) -> JsonObject:
    """`value`, which must be an object."""
    if not isinstance(value, dict):
        raise place.wrong("an object is needed here")
    return value


def count(schema: JsonObject, key: str, place: Place) -> int | None:
    """The number at `key`: not negative, and no larger than a grammar can count to."""
    value = schema.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise (place / key).wrong("an integer of at least 0 is needed here")
    if value <= MAX_REPETITIONS:
        return value
    if key.startswith("max"):
        return MAX_REPETITIONS  # what satisfies it satisfies the larger one too
    raise (place / key).wrong(f"more than {MAX_REPETITIONS} cannot be enforced")
