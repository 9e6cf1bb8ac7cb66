"""Chat messages as Ollama's: one text and its images each, calls with arguments as objects.

Calls have no ids there: a result names its function, and results follow in the order of the calls.
Source: docs.ollama.com/capabilities/tool-calling and /capabilities/vision, read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import Any, Final

import orjson

from one_api.adapter import Call, InvalidRequest, JsonObject
from one_api_ollama.losses import drop, unsupported

_BASE64_URL: Final = re.compile(r"data:[^,]*;base64,", re.I)


class Conversation:
    """Collects messages; the same ones give the same ones."""

    def __init__(self, call: Call) -> None:
        self.messages: list[JsonObject] = []
        self._call = call
        #: Names of the functions that were called, by the ids of the calls.
        self._called: dict[str, str] = {}

    def read(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Read `messages` to their end.

        Raises: InvalidRequest, UnsupportedParameter that name what cannot be said.
        """
        for at, message in _in_order_of_calls(messages):
            self._read_message(message, f"messages[{at}]")

    def _read_message(self, message: Mapping[str, Any], path: str) -> None:
        if message.get("name") and message["role"] != "function":
            drop(self._call, "messages.name")
        match message["role"]:
            case "assistant":
                self._read_turn(message, path)
            case "tool":
                name = self._called.get(message["tool_call_id"])
                if name is None:
                    raise InvalidRequest(
                        "This result belongs to no tool call of an earlier message.",
                        param=f"{path}.tool_call_id",
                    )
                said = _content_to_wire(message["content"], f"{path}.content")
                self.messages.append({"role": "tool", "tool_name": name, **said})
            case "function":
                self.messages.append(
                    {
                        "role": "tool",
                        "tool_name": message["name"],
                        "content": message["content"] or "",
                    }
                )
            case role:
                said = _content_to_wire(message["content"], f"{path}.content")
                self.messages.append({"role": "user" if role == "user" else "system", **said})

    def _read_turn(self, message: Mapping[str, Any], path: str) -> None:
        if message.get("audio"):
            raise unsupported(f"{path}.audio")
        turn: JsonObject = {"role": "assistant", "content": _said(message)}
        thinking = message.get("reasoning_content") or message.get("reasoning")
        if thinking:
            turn["thinking"] = thinking
        functions = []
        for at, call in enumerate(message.get("tool_calls") or ()):
            where = f"{path}.tool_calls[{at}]"
            if call["type"] != "function":
                raise unsupported(where)
            self._called[call["id"]] = call["function"]["name"]
            functions.append(_function_to_wire(call["function"], f"{where}.function"))
        if message.get("function_call"):
            functions.append(_function_to_wire(message["function_call"], f"{path}.function_call"))
        if functions:
            turn["tool_calls"] = [
                {"type": "function", "function": {"index": at, **function}}
                for at, function in enumerate(functions)
            ]
        self.messages.append(turn)


def _in_order_of_calls(
    messages: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """`messages` and their places, results in the order of their calls.

    Nothing else tells apart the results of two calls of one function: github.com/ollama/ollama
    issue 11417 (2025-07-14).
    """
    places: dict[str, int] = {}
    number = count()
    for is_result, group in groupby(enumerate(messages), lambda each: each[1]["role"] == "tool"):
        run = list(group)
        if is_result:
            run.sort(key=lambda each: places.get(each[1]["tool_call_id"], -1))
        for _, message in run:
            for call in message.get("tool_calls") or ():
                places[call["id"]] = next(number)
        yield from run


def _function_to_wire(function: Mapping[str, Any], path: str) -> JsonObject:
    try:
        arguments = orjson.loads(function["arguments"].strip() or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(
            "The arguments of a call must be a JSON object for this model.",
            param=f"{path}.arguments",
        )
    return {"name": function["name"], "arguments": arguments}


def _said(message: Mapping[str, Any]) -> str:
    """The words of a message of the model, its refusal last."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] if part["type"] == "text" else part["refusal"] for part in content]
    else:
        parts = [content]
    return "\n".join(part for part in (*parts, message.get("refusal")) if part)


def _content_to_wire(content: str | Sequence[Mapping[str, Any]], path: str) -> JsonObject:
    """What a user, an instruction or a tool says; where images stood in the text is lost."""
    if isinstance(content, str):
        return {"content": content}
    texts: list[str] = []
    images: list[str] = []
    for at, part in enumerate(content):
        match part["type"]:
            case "text":
                texts.append(part["text"])
            case "image_url":
                images.append(_image_to_wire(part["image_url"]["url"], f"{path}[{at}].image_url"))
            case kind:
                raise unsupported(f"{path}[{at}].{kind}")
    said: JsonObject = {"content": "\n".join(texts)}
    if images:
        said["images"] = images
    return said


def _image_to_wire(url: str, path: str) -> str:
    """The base64 of a data URL: Ollama fetches nothing.

    Source: docs.ollama.com/capabilities/vision, "Usage with Ollama's API", read 2026-11-21.
    """
    url = url.strip()
    head = _BASE64_URL.match(url)
    if head is None:
        raise InvalidRequest(
            "This model takes images as base64 data URLs only: it fetches none.",
            param=f"{path}.url",
            code="invalid_image_url",
        )
    return url[head.end() :]
