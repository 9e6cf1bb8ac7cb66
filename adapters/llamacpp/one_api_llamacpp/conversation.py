"""OpenAI messages as chat templates expect them.

Templates were written against transformers' message format, which differs from OpenAI's: content
is a string, arguments of tool calls are an object, and there is no `developer` role. Everything
returned is a copy: templates may change what they are given (Kimi K2's does).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from one_api.adapter import JsonObject, UnsupportedParameter

#: How Hermes and Qwen models are told of tools.
_TOOLS: Final = """\
# Tools

You may call one or more functions to help with what the user asks.

The functions are described inside <tools></tools>:
<tools>
{}
</tools>

For each call answer with a JSON object of name and arguments inside <tool_call></tool_call>:
<tool_call>
{{"name": <name of the function>, "arguments": <arguments as a JSON object>}}
</tool_call>"""


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


def with_short_ids(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same messages for a template that only takes call ids of nine letters and digits."""

    def short(call_id: str) -> str:
        if len(call_id) == 9 and call_id.isascii() and call_id.isalnum():
            return call_id
        return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:9]

    def convert(message: JsonObject) -> JsonObject:
        message = dict(message)
        if "tool_calls" in message:
            message["tool_calls"] = [
                {**call, "id": short(call.get("id", ""))} for call in message["tool_calls"]
            ]
        if "tool_call_id" in message:
            message["tool_call_id"] = short(message["tool_call_id"])
        return message

    return [convert(message) for message in messages]


def with_tools_as_text(
    messages: Sequence[JsonObject], tools: Sequence[JsonObject]
) -> list[JsonObject]:
    """The same messages for a template that knows no tools: all about them is text, as in Hermes.

    Calls and results follow the notation that the system text tells.
    """
    told = [_without_tools(message) for message in messages]
    if not tools:
        return told
    text = _TOOLS.format("\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if told and told[0]["role"] == "system":
        return [{**told[0], "content": f"{told[0]['content']}\n\n{text}"}, *told[1:]]
    return [{"role": "system", "content": text}, *told]


def with_turns_merged(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """The same messages for a template in which roles must alternate: one turn for each run."""
    merged: list[JsonObject] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last is None or last["role"] != message["role"] or message["role"] == "tool":
            merged.append(message)
            continue
        texts = [text for text in (last["content"], message["content"]) if text]
        calls = [*last.get("tool_calls", ()), *message.get("tool_calls", ())]
        merged[-1] = {**last, "content": "\n\n".join(texts)}
        if calls:
            merged[-1]["tool_calls"] = calls
    return merged


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


def _without_tools(message: JsonObject) -> JsonObject:
    """`message` with its calls, or the result that it is, as text."""
    if message["role"] == "tool":
        content = f"<tool_response>\n{message['content']}\n</tool_response>"
        return {"role": "user", "content": content}
    if "tool_calls" not in message:
        return message
    calls = [
        f"<tool_call>\n{json.dumps(call['function'], ensure_ascii=False)}\n</tool_call>"
        for call in message["tool_calls"]
    ]
    rest = {key: value for key, value in message.items() if key != "tool_calls"}
    return {**rest, "content": "\n".join(filter(None, (message["content"], *calls)))}


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
