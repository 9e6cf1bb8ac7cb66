"""Chat messages as the input items of a response.

A message of the model is split into items, one for its words and one for each call. Items carry no
ids of their own: nothing is stored, so that an id would name what the provider cannot find.
Source: openai (Python SDK) 3.52.0, types/responses, read 2026-11-21; what a model said may come
without an id: github.com/openai/openai-python pull request 3722 (2026-08-23).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from one_api.adapter import Call, JsonObject
from one_api_openai.losses import drop, unsupported


class Conversation:
    """Collects items; the same messages give the same items."""

    def __init__(self, call: Call) -> None:
        self.items: list[JsonObject] = []
        self._call = call
        self._functions = 0
        #: Ids of the legacy calls without a result so far, by the function's name.
        self._unanswered: dict[str, deque[str]] = defaultdict(deque)

    def read(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Read `messages` to their end.

        Raises: UnsupportedParameter that names what an item cannot hold.
        """
        for at, message in enumerate(messages):
            self._read_message(message, f"messages[{at}]")

    def _read_message(self, message: Mapping[str, Any], path: str) -> None:
        if message.get("name") and message["role"] != "function":
            drop(self._call, "messages.name")
        match message["role"]:
            case "assistant":
                self._read_turn(message, path)
            case "tool":
                output = content_to_wire(message["content"], f"{path}.content")
                self._add_output(message["tool_call_id"], output)
            case "function":
                self._add_output(self._answered(message["name"]), message["content"] or "")
            case role:
                content = content_to_wire(message["content"], f"{path}.content")
                self.items.append({"type": "message", "role": role, "content": content})

    def _read_turn(self, message: Mapping[str, Any], path: str) -> None:
        if message.get("audio"):
            raise unsupported(f"{path}.audio")
        calls, legacy = message.get("tool_calls") or (), message.get("function_call")
        said = _said(message)
        if said or not (calls or legacy):
            content = said or [{"type": "output_text", "text": ""}]
            self.items.append({"type": "message", "role": "assistant", "content": content})
        for at, call in enumerate(calls):
            if call["type"] != "function":
                raise unsupported(f"{path}.tool_calls[{at}]")
            self._add_call(call["id"], call["function"])
        if legacy:
            self._add_call(self._unnamed(legacy["name"]), legacy)

    def _add_call(self, call_id: str, function: Mapping[str, Any]) -> None:
        name, arguments = function["name"], function["arguments"]
        self.items.append(
            {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
        )

    def _add_output(self, call_id: str, output: str | list[JsonObject]) -> None:
        self.items.append({"type": "function_call_output", "call_id": call_id, "output": output})

    def _unnamed(self, function: str) -> str:
        """An id for the next call of the legacy kind, which has none."""
        call_id = f"call_fn_{self._functions}"
        self._functions += 1
        self._unanswered[function].append(call_id)
        return call_id

    def _answered(self, function: str) -> str:
        """The id of the call that a legacy result belongs to; a new one where there is none."""
        if not self._unanswered[function]:
            self._unnamed(function)
        return self._unanswered[function].popleft()


def content_to_wire(content: str | Sequence[Mapping[str, Any]], path: str) -> Any:
    """What a user, an instruction or a tool says.

    Raises: UnsupportedParameter for audio.
    """
    if isinstance(content, str):
        return content
    return [_part_to_wire(part, f"{path}[{at}]") for at, part in enumerate(content)]


def _part_to_wire(part: Mapping[str, Any], path: str) -> JsonObject:
    # Anthropic's mark of a cached prefix has no effect on OpenAI's models.
    others = {
        key: value
        for key, value in part.items()
        if key not in ("type", part["type"], "cache_control") and value is not None
    }
    match part["type"]:
        case "text":
            return {"type": "input_text", "text": part["text"], **others}
        case "image_url":
            image = part["image_url"]
            detail = image.get("detail") or "auto"
            return {"type": "input_image", "image_url": image["url"], "detail": detail, **others}
        case "file":
            file = {key: value for key, value in part["file"].items() if value is not None}
            return {"type": "input_file", **file, **others}
        case _:
            raise unsupported(path)


def _said(message: Mapping[str, Any]) -> list[JsonObject]:
    """The words of a message of the model, its refusal last."""
    content = message.get("content")
    given = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    parts = [
        {"type": "output_text", "text": part["text"]}
        if part["type"] == "text"
        else {"type": "refusal", "refusal": part["refusal"]}
        for part in given
    ]
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    return [part for part in parts if part.get("text") or part.get("refusal")]
