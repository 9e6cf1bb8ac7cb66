"""OpenAI's tools and tool choice, and the functions of old, as Anthropic's tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest, UnsupportedParameter
from one_api_claude.cache_control import cache_control_of
from one_api_claude.capabilities import ModelCapabilities
from one_api_claude.identifiers import name_to_wire
from one_api_claude.json_schema import NotExpressible, SchemaBudget, enforceable, is_closed
from one_api_claude.losses import degrade

if TYPE_CHECKING:
    from anthropic.types import (
        ToolChoiceAnyParam,
        ToolChoiceAutoParam,
        ToolChoiceParam,
        ToolChoiceToolParam,
        ToolParam,
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What the client wants of the tools: which are offered, and which must be called.

    `names` limits the tools on offer, in the client's names; None offers all.
    """

    mode: Literal["auto", "none", "required"]
    names: frozenset[str] | None = None
    #: The one tool that must be called.
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Tooling:
    """The tools of one request on the wire.

    `nudge` is what to say at the end of the conversation in place of a forced call that the model
    does not take.
    """

    tools: Sequence[ToolParam] = ()
    choice: ToolChoiceParam | None = None
    nudge: str | None = None

    @property
    def is_forced(self) -> bool:
        """Whether the model must call a tool."""
        return self.choice is not None and self.choice["type"] in ("any", "tool")


def tools_to_wire(
    request: ChatCompletionRequest,
    call: Call,
    capabilities: ModelCapabilities,
    budget: SchemaBudget,
) -> Tooling:
    """The tools of `request` as `capabilities` allow; `budget` is what strict schemas may hold.

    Raises: InvalidRequest, UnsupportedParameter.
    """
    definitions = _definitions(request)
    wish = _wish(request)
    if not definitions:
        if wish.mode == "required":
            param = "tool_choice" if request.function_call is None else "function_call"
            raise InvalidRequest(
                f"'{param}' names a tool but none is given.", param=param, code="invalid_value"
            )
        return Tooling()
    wish = _checked(wish, {function["name"] for _, function in definitions})
    nudge = None
    if wish.mode == "required" and not capabilities.forced_tools:
        degrade(call, "tool_choice", "This model cannot be forced to call a tool.")
        nudge = _nudge(wish)
        names = frozenset({wish.named}) if wish.named is not None else wish.names
        wish = Wish("auto", names)
    writer = _DefinitionWriter(capabilities, budget, call)
    tools = [
        writer.write(tool, function)
        for tool, function in definitions
        if wish.names is None or function["name"] in wish.names
    ]
    # A legacy reply has room for one call only.
    single = request.parallel_tool_calls is False or request.functions is not None
    return Tooling(tools, _choice(wish, single=single), nudge)


def _definitions(
    request: ChatCompletionRequest,
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every tool with the function inside; a legacy function is its own tool."""
    if request.functions and request.tools:
        raise InvalidRequest(
            "'functions' cannot be combined with 'tools'.", param="functions", code="invalid_value"
        )
    if request.functions:
        return [(function, function) for function in request.functions]
    definitions: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for index, tool in enumerate(request.tools or ()):
        if tool["type"] != "function":
            raise UnsupportedParameter(
                "Custom tools are not supported with this model; use a function tool.",
                param=f"tools[{index}].type",
            )
        definitions.append((tool, tool["function"]))
    return definitions


def _wish(request: ChatCompletionRequest) -> Wish:
    choice: Any = request.tool_choice
    if request.function_call is not None:
        choice = request.function_call
        if isinstance(choice, Mapping):
            return Wish("required", named=choice["name"])
    if choice is None:
        return Wish("auto")
    if isinstance(choice, str):
        return Wish(cast("Literal['auto', 'none', 'required']", choice))
    if choice["type"] == "allowed_tools":
        allowed = choice["allowed_tools"]
        return Wish(allowed["mode"], frozenset(_allowed_names(allowed["tools"])))
    return Wish("required", named=choice[choice["type"]]["name"])


def _allowed_names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    names = []
    for index, tool in enumerate(tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else tool.get("name")
        if not isinstance(name, str):
            raise InvalidRequest(
                "An allowed tool needs the name of a function.",
                param=f"tool_choice.allowed_tools.tools[{index}]",
                code="invalid_value",
            )
        names.append(name)
    return names


def _checked(wish: Wish, known: set[str]) -> Wish:
    wanted = {wish.named} if wish.named is not None else (wish.names or set())
    unknown = sorted(wanted - known)
    if unknown or wish.names == frozenset():
        raise InvalidRequest(
            f"'tool_choice' names '{unknown[0]}', which is not in 'tools'."
            if unknown
            else "'tool_choice' allows no tool.",
            param="tool_choice",
            code="invalid_value",
        )
    return wish


def _choice(wish: Wish, *, single: bool) -> ToolChoiceParam | None:
    if wish.mode == "none":
        return {"type": "none"}
    choice: ToolChoiceToolParam | ToolChoiceAnyParam | ToolChoiceAutoParam
    if wish.named is not None:
        choice = {"type": "tool", "name": name_to_wire(wish.named)}
    elif wish.mode == "required":
        choice = {"type": "any"}
    else:
        choice = {"type": "auto"}
    if single:
        choice["disable_parallel_tool_use"] = True
    return choice


def _nudge(wish: Wish) -> str:
    if wish.named is not None:
        return f'Answer by calling the tool "{name_to_wire(wish.named)}".'
    return "Answer by calling one of the tools."


@dataclass(frozen=True, slots=True)
class _DefinitionWriter:
    capabilities: ModelCapabilities
    budget: SchemaBudget
    call: Call

    def write(self, tool: Mapping[str, Any], function: Mapping[str, Any]) -> ToolParam:
        wire: ToolParam = {"name": name_to_wire(function["name"]), "input_schema": {}}
        if function.get("description"):
            wire["description"] = function["description"]
        schema = function.get("parameters") or {"type": "object", "properties": {}}
        strict = self._strict_schema(schema) if function.get("strict") else None
        if strict is not None:
            wire["strict"] = True
            wire["input_schema"] = strict
        else:
            if function.get("strict"):
                degrade(
                    self.call,
                    "tools.strict",
                    f"The schema of '{function['name']}' cannot be enforced with this model.",
                )
            wire["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
        cache_control = cache_control_of(tool) or cache_control_of(function)
        if cache_control is not None:
            wire["cache_control"] = cache_control
        return wire

    def _strict_schema(self, schema: Mapping[str, Any]) -> dict[str, object] | None:
        """`schema` in the form that is enforced, None when it cannot be."""
        if not self.capabilities.structured_outputs or not is_closed(schema):
            return None
        try:
            strict = enforceable(schema)
        except NotExpressible:
            return None
        return strict if self.budget.take(strict, is_tool=True) else None
