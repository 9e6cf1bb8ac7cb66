"""A chat request as a request for a response.

The response is always streamed and never stored: whoever asked for a chat knows no id to fetch it
by. Functions are strict here unless told otherwise, other than in a chat.
Source: openai (Python SDK) 3.52.0, types/responses/response_create_params, read 2026-11-21;
developers.openai.com, guide "Function calling", section "Strict mode" (a copy of 2026-04-01).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from one_api.adapter import Call, ChatCompletionRequest, JsonObject
from one_api_openai.conversation import Conversation
from one_api_openai.losses import drop, unsupported

#: Fields that mean the same in both formats.
_SHARED: Final = (
    "metadata",
    "moderation",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_p",
    "user",
)
#: Fields that only tune an answer, and that this format lacks.
_TUNING: Final = (
    "frequency_penalty",
    "logit_bias",
    "prediction",
    "presence_penalty",
    "seed",
    "store",
)
#: Fields that change an answer's shape, each with the value that asks for nothing.
_SHAPING: Final = {
    "audio": None,
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "stop": [],
    "top_logprobs": 0,
    "web_search_options": None,
}
#: This format's names, and what a chat calls them.
_NAMES: Final = {
    "input": "messages",
    "reasoning": "reasoning_effort",
    "text.format": "response_format",
    "text.verbosity": "verbosity",
}


def request_to_wire(request: ChatCompletionRequest, call: Call) -> JsonObject:
    """The body for `/responses` that asks for the answer to `request`.

    Fields unknown to us are sent on. Pure but for what `call` collects.
    Raises: UnsupportedParameter for what cannot be said there.
    """
    _tell_losses(request, call)
    conversation = Conversation(call)
    conversation.read(request.messages)
    extras = request.model_extra or {}
    body: JsonObject = {key: value for key, value in extras.items() if key != "include_reasoning"}
    for name in _SHARED:
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    body |= {"model": call.model, "input": conversation.items, "store": False, "stream": True}
    if request.completion_limit is not None:
        body["max_output_tokens"] = request.completion_limit
    _add_stream_options(request, body)
    _add_reasoning(request, body)
    _add_text(request, body)
    _add_tools(request, body)
    return body


def parameter_from_wire(parameter: str, request: ChatCompletionRequest) -> str:
    """What a chat calls `parameter`, which the provider's refusal names."""
    if parameter == "max_output_tokens":
        return "max_tokens" if request.max_tokens is not None else "max_completion_tokens"
    for name, chat in _NAMES.items():
        if parameter == name or parameter.startswith((f"{name}.", f"{name}[")):
            return chat
    return parameter


def _tell_losses(request: ChatCompletionRequest, call: Call) -> None:
    for name, neutral in _SHAPING.items():
        if getattr(request, name) not in (None, neutral) and (
            name != "stop" or request.stop_sequences
        ):
            raise unsupported(name)
    for name in _TUNING:
        value = getattr(request, name)
        if value or (name == "seed" and value is not None):
            drop(call, name)


def _add_stream_options(request: ChatCompletionRequest, body: JsonObject) -> None:
    """Usage is told unasked, and asking is refused."""
    given: Mapping[str, Any] = request.stream_options or {}
    options = {
        key: value for key, value in given.items() if key != "include_usage" and value is not None
    }
    if options:
        body["stream_options"] = options


def _add_reasoning(request: ChatCompletionRequest, body: JsonObject) -> None:
    """A summary comes only to those who ask: chats of OpenAI tell no reasoning, and organisations
    that OpenAI has not verified are refused for asking.

    Source: github.com/home-assistant/core issue 160212 (2026-01-03).
    """
    given = body.get("reasoning")
    reasoning: JsonObject = dict(given) if isinstance(given, Mapping) else {}
    if (request.model_extra or {}).get("include_reasoning") is True:
        reasoning.setdefault("summary", "auto")
    if request.reasoning_effort is not None:
        reasoning["effort"] = request.reasoning_effort
    if reasoning:
        body["reasoning"] = reasoning


def _add_text(request: ChatCompletionRequest, body: JsonObject) -> None:
    given = body.get("text")
    text: JsonObject = dict(given) if isinstance(given, Mapping) else {}
    form: Mapping[str, Any] | None = request.response_format
    if form is not None:
        schema = form.get("json_schema") or {}
        flat = {key: value for key, value in schema.items() if value is not None}
        text["format"] = {**flat, "type": form["type"]}
    if request.verbosity is not None:
        text["verbosity"] = request.verbosity
    if text:
        body["text"] = text


def _add_tools(request: ChatCompletionRequest, body: JsonObject) -> None:
    tools: list[JsonObject] = []
    for at, tool in enumerate(request.tools or ()):
        if tool["type"] != "function":
            raise unsupported(f"tools[{at}]")
        tools.append(_function_to_wire(tool["function"]))
    tools += [_function_to_wire(function) for function in request.functions or ()]
    body["tools"] = tools
    if request.functions is not None:
        # A legacy reply has room for one call only.
        body["parallel_tool_calls"] = False
    choice: Any = request.tool_choice
    if choice is None and isinstance(request.function_call, Mapping):
        choice = {"type": "function", "function": request.function_call}
    elif choice is None:
        choice = request.function_call
    if choice is not None:
        body["tool_choice"] = _choice_to_wire(choice)


def _function_to_wire(function: Mapping[str, Any]) -> JsonObject:
    others = {key: value for key, value in function.items() if value is not None}
    none = {"type": "object", "properties": {}}
    return {"parameters": none, "strict": False, **others, "type": "function"}


def _choice_to_wire(choice: str | Mapping[str, Any]) -> str | JsonObject:
    if isinstance(choice, str):
        return choice
    match choice["type"]:
        case "function":
            return {"type": "function", "name": choice["function"]["name"]}
        case "allowed_tools":
            allowed = choice["allowed_tools"]
            tools = [_allowed_to_wire(tool) for tool in allowed["tools"]]
            return {"type": "allowed_tools", "mode": allowed["mode"], "tools": tools}
        case _:
            raise unsupported("tool_choice")


def _allowed_to_wire(tool: JsonObject) -> JsonObject:
    """One allowed tool; what is not as a chat has it is for the provider to judge."""
    function = tool.get("function")
    if not isinstance(function, Mapping) or "name" not in function:
        return tool
    return {"type": "function", "name": function["name"]}
