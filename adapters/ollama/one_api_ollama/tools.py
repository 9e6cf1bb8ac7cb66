"""OpenAI's tools, and the functions of old, as Ollama's tools.

A call can be neither forced nor forbidden there: a tool that must not be called is not told.
Source: docs.ollama.com/api/chat, whose request has no `tool_choice`, crawled October 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from one_api.adapter import ChatCompletionRequest, JsonObject
from one_api_ollama.losses import unsupported


def tools_to_wire(request: ChatCompletionRequest) -> list[JsonObject]:
    """The tools that the model may call.

    Raises: UnsupportedParameter for custom tools, and for a choice that forces a call.
    """
    tools = list(_definitions(request))
    legacy, choice = request.function_call, request.tool_choice
    if "none" in (legacy, choice):
        return []
    if legacy not in (None, "auto"):
        raise unsupported("function_call")
    if choice in (None, "auto"):
        return tools
    allowed = choice.get("allowed_tools") if isinstance(choice, Mapping) else None
    if not isinstance(allowed, Mapping) or allowed["mode"] != "auto":
        raise unsupported("tool_choice")
    named = [tool.get("function") for tool in allowed["tools"]]
    names = [function.get("name") for function in named if isinstance(function, Mapping)]
    return [tool for tool in tools if tool["function"]["name"] in names]


def _definitions(request: ChatCompletionRequest) -> Iterator[JsonObject]:
    for at, tool in enumerate(request.tools or ()):
        if tool["type"] != "function":
            raise unsupported(f"tools[{at}]")
        yield _definition_to_wire(tool["function"])
    for function in request.functions or ():
        yield _definition_to_wire(function)


def _definition_to_wire(function: Mapping[str, Any]) -> JsonObject:
    """A tool; its parameters are required there and are not in OpenAI's format."""
    definition: JsonObject = {"name": function["name"]}
    if function.get("description"):
        definition["description"] = function["description"]
    definition["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
    return {"type": "function", "function": definition}
