"""Which tools a request lets, or has, the model call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from one_api.adapter import (
    ChatCompletionRequest,
    InvalidRequest,
    JsonObject,
    UnsupportedParameter,
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function's definition, and where in the request it stands."""

    definition: JsonObject
    where: str

    @property
    def name(self) -> str:
        """What it is called by."""
        name: str = self.definition["name"]
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """The functions that the model is told of, those of them that it may call, and whether it must.

    `is_single` says that one call ends the answer.
    """

    told: Sequence[Function] = ()
    callable: Sequence[Function] = ()
    must_call: bool = False
    is_single: bool = False

    @classmethod
    def of(cls, request: ChatCompletionRequest) -> ToolChoice:
        """What `request` says with its tools, or with the functions of old.

        Raises: UnsupportedParameter for custom tools, InvalidRequest for a choice without a tool.
        """
        if request.functions is not None:
            functions = [
                Function(dict(definition), f"functions[{index}]")
                for index, definition in enumerate(request.functions)
            ]
            return _chosen(functions, request.function_call, "function_call", is_single=True)
        functions = [_function(tool, index) for index, tool in enumerate(request.tools or ())]
        is_single = request.parallel_tool_calls is False
        return _chosen(functions, request.tool_choice, "tool_choice", is_single=is_single)


def _function(tool: Any, index: int) -> Function:
    if tool["type"] != "function":
        raise UnsupportedParameter(
            "Local models only know tools of type 'function'.", param=f"tools[{index}]"
        )
    return Function(dict(tool["function"]), f"tools[{index}].function")


def _chosen(
    functions: Sequence[Function], choice: Any, param: str, *, is_single: bool
) -> ToolChoice:
    if choice == "none" or (not functions and choice in (None, "auto")):
        return ToolChoice()
    if choice in (None, "auto", "required"):
        if not functions:
            raise InvalidRequest(f"'{param}' needs 'tools' to choose from.", param=param)
        must_call = choice == "required"
        return ToolChoice(
            told=functions, callable=functions, must_call=must_call, is_single=is_single
        )
    if choice.get("type") == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = [_name_in(tool, param) for tool in allowed["tools"]]
        chosen = _named(functions, names, param)
        must_call = allowed["mode"] == "required"
        return ToolChoice(told=chosen, callable=chosen, must_call=must_call, is_single=is_single)
    chosen = _named(functions, [_name_in(choice, param)], param)
    return ToolChoice(told=functions, callable=chosen, must_call=True, is_single=True)


def _name_in(choice: Any, param: str) -> str:
    """The function that `choice` names: the tool choice of now, or the function call of old."""
    if choice.get("type", "function") != "function":
        raise UnsupportedParameter("Local models only know tools of type 'function'.", param=param)
    named = choice.get("function", choice)
    name = named.get("name") if isinstance(named, dict) else None
    if not isinstance(name, str):
        raise InvalidRequest(f"Invalid value for '{param}': a name is missing.", param=param)
    return name


def _named(functions: Sequence[Function], names: Sequence[str], param: str) -> list[Function]:
    known = {function.name: function for function in functions}
    for name in names:
        if name not in known:
            raise InvalidRequest(
                f"Invalid value for '{param}': there is no function '{name[:64]}' in the request.",
                param=param,
            )
    if not names:
        raise InvalidRequest(f"Invalid value for '{param}': no function is named.", param=param)
    return [known[name] for name in names]
