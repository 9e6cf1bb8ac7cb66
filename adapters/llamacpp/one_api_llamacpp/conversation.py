"""OpenAI messages as chat templates expect them.

Templates were written against transformers' message format, which differs from OpenAI's: content
is a string, arguments of tool calls are an object, and there is no `developer` role. Everything
returned is a copy: templates may change what they are given (Kimi K2's does).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from one_api.adapter import JsonObject, UnsupportedParameter


def to_template(messages: Sequence[Any]) -> list[JsonObject]:
    """The messages with plain text content, known roles and arguments as objects.

    Raises: UnsupportedParameter for images, audio, files and calls of custom tools.
    """
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def with_arguments_as_text(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same messages for a template that joins a call's arguments to other text."""

    def convert(message: JsonObject) -> JsonObject:
        calls = [
            {**call, "function": {**call["function"], "arguments": _as_text(call["function"])}}
            for call in message["tool_calls"]
        ]
        return {**message, "tool_calls": calls}

    return [convert(message) if "tool_calls" in message else message for message in messages]


def with_system_folded(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same messages for a template without a system role: its text opens the first user turn.

    A conversation without a user turn gets one.
    """
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [m for m in messages if m["role"] != "system"]
    first = next((index for index, m in enumerate(rest) if m["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": system}, *rest]
    user = rest[first]
    folded = {**user, "content": f"{system}\n\n{user['content']}"}
    return [*rest[:first], folded, *rest[first + 1 :]]


def map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """`value`, JSON-like, with `change` applied to every string in it, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_strings(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): map_strings(item, change) for key, item in value.items()}
    return value


def _message(message: Any, where: str) -> JsonObject:
    role = message["role"]
    content = _text(message.get("content"), f"{where}.content")
    if role == "function":
        return {"role": "tool", "name": message["name"], "content": content}
    turned: JsonObject = {"role": "system" if role == "developer" else role, "content": content}
    for key in ("name", "tool_call_id", "reasoning_content"):
        if message.get(key) is not None:
            turned[key] = message[key]
    if role == "assistant":
        calls = [_call(call, f"{where}.tool_calls") for call in message.get("tool_calls") or ()]
        legacy = message.get("function_call")
        if legacy:
            calls.append(_call({"type": "function", "function": legacy}, where))
        if calls:
            turned["tool_calls"] = calls
    return turned


def _text(content: Any, where: str) -> str:
    """All text of a message's content in one string."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part["type"] not in ("text", "refusal"):
            raise UnsupportedParameter(
                f"Local models read text only; content of type '{part['type']}' is not supported.",
                param=f"{where}[{index}]",
            )
    return "".join(part[part["type"]] for part in content)


def _call(call: Any, where: str) -> JsonObject:
    if call["type"] != "function":
        raise UnsupportedParameter("Local models only know calls of functions.", param=where)
    function = call["function"]
    turned: JsonObject = {
        "type": "function",
        "function": {"name": function["name"], "arguments": _as_object(function["arguments"])},
    }
    if "id" in call:
        turned["id"] = call["id"]
    return turned


def _as_object(arguments: str) -> Any:
    """The arguments as an object; text that holds none stays as the model once wrote it."""
    try:
        decoded = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return decoded if isinstance(decoded, dict) else arguments


def _as_text(function: JsonObject) -> str:
    arguments = function["arguments"]
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
