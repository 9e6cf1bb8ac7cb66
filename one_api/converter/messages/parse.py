"""A Messages request as the chat request that asks the same of any other provider.

What has no counterpart and leaves a right answer when it is missing is left out and listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from one_api.converter.messages.blocks import parts_of, tool_result, user_message
from one_api.converter.messages.identifiers import (
    call_id_to_wire,
    name_to_wire,
    names_from_wire,
)
from one_api.converter.messages.thinking import effort_to_wire
from one_api.errors import InvalidRequest, UnsupportedParameter
from one_api.schemas import JsonObject
from one_api.schemas.anthropic import MessagesRequest
from one_api.schemas.chat import ChatCompletionRequest

if TYPE_CHECKING:
    from one_api.schemas.anthropic import PromptRequest

#: How a block begins that tells Anthropic which program asks: nobody else's business.
_ATTRIBUTION = "x-anthropic-billing-header:"
_MAX_USER_CHARS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A chat request, and what is needed to answer it in Anthropic's format.

    `names` gives the client's names of tools by the names that were sent for them, `dropped` the
    fields that have no effect.
    """

    request: ChatCompletionRequest
    names: Mapping[str, str]
    dropped: tuple[str, ...]


def chat_request(prompt: PromptRequest, *, honoured: Collection[str] = ()) -> Translation:
    """The chat request that asks for what `prompt` does.

    `honoured` names what the model takes besides OpenAI's fields: `top_k`, and `reasoning_content`
    of earlier turns.
    Raises: InvalidRequest, UnsupportedParameter.
    """
    tools, dropped = _tools(prompt)
    body: JsonObject = {
        "model": prompt.model,
        "messages": [*_messages(prompt, keeps_thinking="reasoning_content" in honoured)],
    }
    if tools:
        body["tools"] = tools
        body.update(_tool_choice(prompt))
    effort = effort_to_wire(prompt.thinking, prompt.output_config)
    if effort is not None:
        body["reasoning_effort"] = effort
    answer_format = (prompt.output_config or {}).get("format")
    if answer_format is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "response", "schema": answer_format["schema"]},
        }
    if isinstance(prompt, MessagesRequest):
        body.update(_sampling(prompt))
        if prompt.top_k is not None and "top_k" in honoured:
            body["top_k"] = prompt.top_k
        elif prompt.top_k is not None:
            dropped.append("top_k")
    request = ChatCompletionRequest.from_wire(body)
    if isinstance(prompt, MessagesRequest):
        # Not part of what is checked: OpenAI's limit is that of its own clients.
        stops = [stop for stop in prompt.stop_sequences or () if stop]
        request = request.with_stops(stops) if stops else request
    return Translation(
        request=request,
        names=names_from_wire(tool.get("name") or "" for tool in prompt.tools or ()),
        dropped=tuple(dropped),
    )


def _sampling(request: MessagesRequest) -> JsonObject:
    """The fields that say how long, how and for whom to answer."""
    fields: JsonObject = {
        "max_completion_tokens": request.max_tokens or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": request.stream or None,
    }
    user = (request.metadata or {}).get("user_id")
    if user:
        is_long = len(user) > _MAX_USER_CHARS
        fields["safety_identifier"] = _digest(user) if is_long else user
    return {name: value for name, value in fields.items() if value is not None}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- tools


def _tools(prompt: PromptRequest) -> tuple[list[JsonObject], list[str]]:
    """The client's tools, and the places of those that only Anthropic can run."""
    tools: list[JsonObject] = []
    dropped: list[str] = []
    for index, tool in enumerate(prompt.tools or ()):
        if tool.get("type") not in (None, "custom"):
            dropped.append(f"tools[{index}]")
            continue
        fields: Mapping[str, Any] = tool
        function: JsonObject = {"name": name_to_wire(fields["name"])}
        if fields.get("description") is not None:
            function["description"] = fields["description"]
        function["parameters"] = fields["input_schema"]
        if fields.get("strict") is not None:
            function["strict"] = fields["strict"]
        tools.append({"type": "function", "function": function})
    _require_offered(prompt, {tool["function"]["name"] for tool in tools})
    return tools, dropped


def _require_offered(prompt: PromptRequest, offered: Collection[str]) -> None:
    """Raises: UnsupportedParameter when a call is demanded that cannot be offered."""
    choice = prompt.tool_choice
    if choice is None:
        return
    if choice["type"] == "tool" and name_to_wire(choice["name"]) not in offered:
        raise UnsupportedParameter(
            f"Invalid value for 'tool_choice.name': '{choice['name']}' is none of the client's "
            "own tools in 'tools', and this model has no other ones.",
            param="tool_choice.name",
        )
    if choice["type"] == "any" and not offered:
        raise UnsupportedParameter(
            "Invalid value for 'tool_choice': there is no tool that this model could call.",
            param="tool_choice",
        )


def _tool_choice(prompt: PromptRequest) -> JsonObject:
    choice = prompt.tool_choice
    if choice is None:
        return {}
    fields: JsonObject = {}
    match choice["type"]:
        case "any":
            fields["tool_choice"] = "required"
        case "tool":
            name = name_to_wire(choice["name"])
            fields["tool_choice"] = {"type": "function", "function": {"name": name}}
        case kind:
            fields["tool_choice"] = kind
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    return fields


# -- messages


def _messages(prompt: PromptRequest, *, keeps_thinking: bool) -> Iterator[JsonObject]:
    system = _system_text(prompt.system)
    if system:
        yield {"role": "system", "content": system}
    for index, message in enumerate(prompt.messages):
        path = f"messages[{index}].content"
        if message["role"] == "user":
            yield from _user_messages(message["content"], path)
        elif message["role"] == "assistant":
            yield _assistant_message(message["content"], path, keeps_thinking=keeps_thinking)
        else:
            yield {"role": "system", "content": _joined(message["content"])}


def _system_text(system: Any) -> str:
    if not isinstance(system, list):
        return system or ""
    is_attributed = bool(system) and system[0]["text"].startswith(_ATTRIBUTION)
    return _joined(system[1:] if is_attributed else system)


def _joined(content: Any) -> str:
    """The text of instructions; other blocks are left out."""
    if isinstance(content, str):
        return content
    return "\n\n".join(block["text"] for block in content if block["type"] == "text")


def _user_messages(content: Any, path: str) -> Iterator[JsonObject]:
    """Results of tools first, as each must follow the call; then what the user says."""
    if isinstance(content, str):
        yield {"role": "user", "content": content}
        return
    attached: list[JsonObject] = []
    parts: list[JsonObject] = []
    for index, block in enumerate(content):
        where = f"{path}[{index}]"
        if block["type"] == "tool_result":
            text, more = tool_result(block, where)
            attached += more
            call_id = call_id_to_wire(block["tool_use_id"])
            yield {"role": "tool", "tool_call_id": call_id, "content": text}
        else:
            parts += parts_of(block, where)
    if attached or parts:
        yield user_message([*attached, *parts])


def _assistant_message(content: Any, path: str, *, keeps_thinking: bool) -> JsonObject:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    text = "".join(block["text"] for block in content if block["type"] == "text")
    calls = [
        _tool_call(block, f"{path}[{index}]")
        for index, block in enumerate(content)
        if block["type"] == "tool_use"
    ]
    message: JsonObject = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = calls
    if keeps_thinking:
        # Also when empty: providers that want it refuse turns with calls and without the field.
        thoughts = [block["thinking"] for block in content if block["type"] == "thinking"]
        message["reasoning_content"] = "\n\n".join(thoughts)
    return message


def _tool_call(block: Mapping[str, Any], path: str) -> JsonObject:
    try:
        arguments = orjson.dumps(block["input"]).decode()
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest(
            f"Invalid value for '{path}.input': it is nested too deeply.",
            param=f"{path}.input",
            code="invalid_value",
        ) from exc
    return {
        "id": call_id_to_wire(block["id"]),
        "type": "function",
        "function": {"name": name_to_wire(block["name"]), "arguments": arguments},
    }
