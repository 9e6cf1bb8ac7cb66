"""Turns pydantic's report about a body into the one error a caller sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from one_api.errors import InvalidRequest

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

#: A path may hold keys that the caller made up, of any length.
MAX_PARAM_CHARS = 200
_JSON_TYPES = {
    "NoneType": "null",
    "bool": "boolean",
    "dict": "object",
    "float": "number",
    "int": "integer",
    "list": "array",
    "str": "string",
}
_BOUNDS = {
    "greater_than": "below_min_value",
    "greater_than_equal": "below_min_value",
    "less_than": "above_max_value",
    "less_than_equal": "above_max_value",
}
_CODES = {
    "missing": "missing_required_parameter",
    "string_too_long": "string_above_max_length",
    "string_too_short": "invalid_value",
    "too_long": "array_above_max_length",
    "too_short": "empty_array",
    "literal_error": "unsupported_value",
}


def field_path(location: tuple[int | str, ...]) -> str | None:
    """`("messages", 0, "<user>", "content")` as `messages[0].content`; None for the body itself.

    Tags of unions (`<user>`) and pydantic's own marks (`[key]`) are not part of the path.
    """
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step[:1] not in ("<", "["):
            path += f".{step}" if path else step
    return path[:MAX_PARAM_CHARS] or None


def invalid_request(exc: ValidationError) -> InvalidRequest:
    """The first finding of `exc` as a 400 that names the field and what would be right."""
    error = exc.errors(include_url=False)[0]
    kind = error["type"]
    param = field_path(error["loc"])
    if kind == "missing":
        return InvalidRequest(
            f"Missing required parameter: '{param}'.", param=param, code=_CODES[kind]
        )
    where = f"'{param}'" if param else "the request body"
    return InvalidRequest(
        f"Invalid value for {where}: {_sentence(error)}", param=param, code=_code(error)
    )


def _code(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind in _BOUNDS:
        bound = next(iter(error["ctx"].values()))
        return f"{'integer' if isinstance(bound, int) else 'decimal'}_{_BOUNDS[kind]}"
    if kind.endswith(("_type", "_parsing")):
        return "invalid_type"
    return _CODES.get(kind, "invalid_value")


def _sentence(error: ErrorDetails) -> str:
    text = error["msg"].rstrip(".")
    if error["type"] == "model_type":
        text = "input should be an object"
    text = f"{text[:1].lower()}{text[1:]}"
    if error["type"].endswith("_type"):
        return f"{text}, got {_json_type(error['input'])}."
    return f"{text}."


def _json_type(value: object) -> str:
    name = type(value).__name__
    return _JSON_TYPES.get(name, name)


def disagree(field: str, problem: str) -> InvalidRequest:
    """What is raised about `field` when it does not go with the others."""
    return InvalidRequest(
        f"Invalid request: '{field}' {problem}.", param=field, code="invalid_value"
    )
