"""A request for a response as a chat request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from one_api.converter.responses.conversation import Conversation
from one_api.errors import GatewayError, UnsupportedParameter
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest
from one_api.schemas.responses import ResponseRequest

#: Fields that mean the same in both formats.
_SHARED: Final = (
    "model",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream",
    "temperature",
    "top_p",
    "user",
)
#: Chat's names of what this format calls otherwise.
_NAMES: Final = {
    "logprobs": "include",
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
#: Known fields that neither chat nor a reply of one choice has, and chat's own that would change
#: the shape of the reply.
_FOREIGN: Final = frozenset(
    {
        "access_programs",
        "audio",
        "context_management",
        "function_call",
        "functions",
        "image",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "n",
        "response_format",
    }
)
_LOGPROBS: Final = "message.output_text.logprobs"
_MESSAGE_PATH: Final = re.compile(r"messages\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTranslation:
    """A chat request, and what is needed to speak of it in the client's terms.

    `ignored` names the fields without effect; `paths` tells where each message began.
    """

    chat: ChatCompletionRequest
    ignored: tuple[str, ...]
    paths: tuple[str, ...]

    def name(self, parameter: str) -> str:
        """What the client calls the chat parameter `parameter`, which may be a path."""
        message = _MESSAGE_PATH.match(parameter)
        if message is not None and int(message[1]) < len(self.paths):
            rest = parameter[message.end() :]
            for chat, ours in ((".image_url.url", ".image_url"), (".file.", ".")):
                rest = rest.replace(chat, ours)
            return self.paths[int(message[1])] + rest
        head = re.split(r"[.\[]", parameter, maxsplit=1)[0]
        rest = parameter[len(head) :]
        if head == "tools":
            rest = rest.replace(".function", "", 1)
        return _NAMES.get(head, head) + rest

    def explain(self, error: GatewayError) -> None:
        """Let `error` speak of the client's parameters."""
        if error.param is not None:
            name = self.name(error.param)
            error.message = error.message.replace(f"'{error.param}'", f"'{name}'")
            error.param = name


def chat_request(request: ResponseRequest) -> ChatTranslation:
    """`request` as a chat request.

    Raises: UnsupportedParameter for what needs storage or tools that a provider runs;
    InvalidRequest.
    """
    _refuse_storage(request)
    conversation = Conversation()
    if request.instructions is not None:
        conversation.instruct(request.instructions)
    conversation.read(request.input)
    body: JsonObject = {
        name: value for name, value in request.extras.items() if name not in _FOREIGN
    }
    for name in _SHARED:
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    body["messages"] = conversation.messages
    if request.max_output_tokens is not None:
        body["max_completion_tokens"] = request.max_output_tokens
    _add_tools(request, body)
    _add_form(request, body)
    return ChatTranslation(
        chat=ChatCompletionRequest.from_wire(body),
        ignored=_ignored(request),
        paths=tuple(conversation.paths),
    )


def _refuse_storage(request: ResponseRequest) -> None:
    for name in ("previous_response_id", "conversation", "background", "prompt"):
        if getattr(request, name) not in (None, False):
            raise UnsupportedParameter(
                f"Unsupported parameter: '{name}' needs stored responses, and nothing is stored "
                "for this model. Send the whole conversation as 'input'.",
                param=name,
            )


def _add_tools(request: ResponseRequest, body: JsonObject) -> None:
    if not request.tools:
        if request.tool_choice not in (None, "none", "auto"):
            body["tool_choice"] = _choice_to_chat(request.tool_choice)
        return  # Chat refuses the other fields without tools.
    body["tools"] = [_tool_to_chat(tool, f"tools[{at}]") for at, tool in enumerate(request.tools)]
    if request.tool_choice is not None:
        body["tool_choice"] = _choice_to_chat(request.tool_choice)
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool_to_chat(tool: Mapping[str, Any], path: str) -> JsonObject:
    if tool["type"] != "function":
        raise UnsupportedParameter(
            f"Tools of type '{tool['type']}' are not supported with this model.", param=path
        )
    function = {key: value for key, value in tool.items() if key != "type" and value is not None}
    return {"type": "function", "function": function}


def _choice_to_chat(choice: str | Mapping[str, Any]) -> str | JsonObject:
    if isinstance(choice, str):
        return choice
    match choice["type"]:
        case "function":
            return {"type": "function", "function": {"name": choice["name"]}}
        case "allowed_tools":
            tools = [
                _tool_to_chat(tool, f"tool_choice.tools[{at}]")
                for at, tool in enumerate(choice["tools"])
            ]
            allowed = {"mode": choice["mode"], "tools": tools}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case kind:
            raise UnsupportedParameter(
                f"Tools of type '{kind}' are not supported with this model.", param="tool_choice"
            )


def _add_form(request: ResponseRequest, body: JsonObject) -> None:
    """How the answer is made: its format, its length, how it is thought out."""
    effort = (request.reasoning or {}).get("effort")
    if effort is not None:
        body["reasoning_effort"] = effort
    text = request.text or {}
    if text.get("verbosity") is not None:
        body["verbosity"] = text.get("verbosity")
    form: Mapping[str, Any] = text.get("format") or {"type": "text"}
    if form["type"] == "json_schema":
        schema = {key: value for key, value in form.items() if key != "type" and value is not None}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif form["type"] == "json_object":
        body["response_format"] = {"type": "json_object"}
    if request.top_logprobs or _LOGPROBS in (request.include or ()):
        body["logprobs"] = True
        if request.top_logprobs is not None:
            body["top_logprobs"] = request.top_logprobs


def _ignored(request: ResponseRequest) -> tuple[str, ...]:
    """The fields that have no effect, sorted."""
    ignored = [name for name in request.extras if name in _FOREIGN]
    if request.truncation == "auto":
        ignored.append("truncation")
    reasoning: Mapping[str, Any] = request.reasoning or {}
    usual = {"context": (None, "auto"), "mode": (None, "standard")}
    ignored += [
        f"reasoning.{name}" for name, values in usual.items() if reasoning.get(name) not in values
    ]
    return tuple(sorted(ignored))
