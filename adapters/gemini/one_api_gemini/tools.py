"""OpenAI's tools and tool choice as Google's function declarations and calling mode.

JSON schemas go as they are, under `parametersJsonSchema`: the older `parameters` takes a small
part of them and refuses the rest. A function without parameters has none on the wire.
Source: `FunctionDeclaration` and `FunctionCallingConfig` of google-genai 3.4.0 (2026-11);
googleapis/python-genai issue 1122 (2025-08).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from one_api.adapter import ChatCompletionRequest, InvalidRequest, JsonObject, UnsupportedParameter
from one_api_gemini.names import name_to_wire

#: `VALIDATED` lets the model choose between text and calls, holds calls to their schemas, and
#: like `ANY` takes a list of the functions allowed.
Mode = Literal["AUTO", "ANY", "NONE", "VALIDATED"]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the client wants of the tools; None allows all of them."""

    mode: Mode
    names: Sequence[str] | None = None


def tools_to_wire(request: ChatCompletionRequest) -> JsonObject:
    """The fields `tools` and `toolConfig`; empty without tools.

    Raises: InvalidRequest, UnsupportedParameter.
    """
    functions = _functions(request)
    wish = _wish(request)
    if not functions:
        if wish.mode == "ANY":
            raise InvalidRequest(
                "'tool_choice' names a tool but none is given.",
                param="tool_choice",
                code="invalid_value",
            )
        return {}
    _check(wish, {function["name"] for function in functions})
    wire: JsonObject = {
        "tools": [{"functionDeclarations": [_declaration(function) for function in functions]}]
    }
    mode = wish.mode
    if mode == "AUTO" and any(function.get("strict") for function in functions):
        mode = "VALIDATED"
    if mode != "AUTO":
        config: JsonObject = {"mode": mode}
        if wish.names is not None:
            config["allowedFunctionNames"] = [name_to_wire(name) for name in wish.names]
        wire["toolConfig"] = {"functionCallingConfig": config}
    return wire


def _functions(request: ChatCompletionRequest) -> list[Mapping[str, Any]]:
    functions: list[Mapping[str, Any]] = []
    for index, tool in enumerate(request.tools or ()):
        if tool["type"] != "function":
            raise UnsupportedParameter(
                "Custom tools are not supported with this model; use a function tool.",
                param=f"tools[{index}].type",
            )
        functions.append(tool["function"])
    return functions


def _declaration(function: Mapping[str, Any]) -> JsonObject:
    wire: JsonObject = {"name": name_to_wire(function["name"])}
    if function.get("description"):
        wire["description"] = function["description"]
    schema = function.get("parameters") or {}
    if schema.keys() - {"type", "properties", "required", "additionalProperties", "$schema"} or (
        schema.get("properties")
    ):
        wire["parametersJsonSchema"] = schema_to_wire({"type": "object", **schema})
    return wire


def schema_to_wire(schema: Mapping[str, Any]) -> JsonObject:
    """`schema` without the name of its dialect, which is none of the documented keywords."""
    return {key: value for key, value in schema.items() if key != "$schema"}


def _wish(request: ChatCompletionRequest) -> _Wish:
    choice: Any = request.tool_choice
    if choice is None:
        return _Wish("AUTO")
    if isinstance(choice, str):
        modes: Mapping[str, Mode] = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
        return _Wish(modes[choice])
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        return _Wish(
            "ANY" if allowed["mode"] == "required" else "VALIDATED",
            [_allowed_name(tool, index) for index, tool in enumerate(allowed["tools"])],
        )
    return _Wish("ANY", [choice[choice["type"]]["name"]])


def _allowed_name(tool: Mapping[str, Any], index: int) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, Mapping) else tool.get("name")
    if not isinstance(name, str):
        raise InvalidRequest(
            "An allowed tool needs the name of a function.",
            param=f"tool_choice.allowed_tools.tools[{index}]",
            code="invalid_value",
        )
    return name


def _check(wish: _Wish, known: set[str]) -> None:
    unknown = sorted(set(wish.names or ()) - known)
    if unknown or (wish.names is not None and not wish.names):
        raise InvalidRequest(
            f"'tool_choice' names '{unknown[0]}', which is not in 'tools'."
            if unknown
            else "'tool_choice' allows no tool.",
            param="tool_choice",
            code="invalid_value",
        )
