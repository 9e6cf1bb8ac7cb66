"""OpenAI's `messages` as Google's `systemInstruction` and `contents`.

Google knows the roles `user` and `model`, wants the results of all calls of a turn right after it,
and each result under the name and id of its call. Whatever lies between two assistant messages is
therefore collected and written as one content: results first, in the order of their calls.
Source: ai.google.dev, "Function calling" and "Thought signatures", stored copies of 2026-09; the
rule on ids from "What's new in Gemini 3.5" (2026-05).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from one_api.adapter import InvalidRequest, JsonObject, UnsupportedParameter
from one_api_gemini.media import media_part
from one_api_gemini.names import name_to_wire
from one_api_gemini.signatures import UNSIGNED_CALL, Signatures, signatures_of

#: What stands for a content the conversation needs but nobody wrote.
NO_CONTENT: Final = "(no content)"
NO_RESULT: Final = "no result provided"


@dataclass(slots=True)
class Conversation:
    """A conversation on the wire; `contents` is never empty and begins and ends with a user."""

    instructions: list[JsonObject] = field(default_factory=list)
    contents: list[JsonObject] = field(default_factory=list)


@dataclass(slots=True)
class _OpenCall:
    """A call that waits for its result."""

    id: str
    name: str
    result: JsonObject | None = None

    def to_wire(self) -> JsonObject:
        response = {"error": NO_RESULT} if self.result is None else self.result
        answer = {"id": self.id, "name": self.name, "response": response}
        return {"functionResponse": answer}


def conversation_to_wire(
    messages: Sequence[Mapping[str, Any]], *, needs_signatures: bool
) -> Conversation:
    """The conversation in `messages`.

    `needs_signatures`: the model refuses calls without one, so those it did not make are marked.
    Raises: InvalidRequest, UnsupportedParameter.
    """
    writer = _Writer(needs_signatures=needs_signatures)
    for index, message in enumerate(messages):
        writer.take(message, f"messages[{index}]")
    return writer.close()


class _Writer:
    def __init__(self, *, needs_signatures: bool) -> None:
        self._needs_signatures = needs_signatures
        self._conversation = Conversation()
        self._calls: list[_OpenCall] = []
        self._user_parts: list[JsonObject] = []

    def take(self, message: Mapping[str, Any], path: str) -> None:
        role = message["role"]
        if role in ("system", "developer"):
            self._conversation.instructions += _text_parts(message)
        elif role == "user":
            self._user_parts += _user_parts(message, path) or [{"text": NO_CONTENT}]
        elif role == "assistant":
            self._take_assistant(message, path)
        elif role == "tool":
            self._take_result(message, path)
        else:
            raise UnsupportedParameter(
                "Messages of role 'function' are not supported with this model; use role 'tool'.",
                param=f"{path}.role",
            )

    def close(self) -> Conversation:
        contents = self._conversation.contents
        if not contents and not self._user_parts:
            self._user_parts.append({"text": NO_CONTENT})
        self._write_user()
        if contents[-1]["role"] != "user":
            # "Requests ending with a model turn are not supported" (Gemini 3.7, 2026-08).
            raise InvalidRequest(
                "This model cannot continue an assistant message: the conversation must end with "
                "a user message.",
                param="messages",
                code="unsupported_value",
            )
        return self._conversation

    def _take_assistant(self, message: Mapping[str, Any], path: str) -> None:
        for name in ("audio", "function_call"):
            if message.get(name):
                raise UnsupportedParameter(
                    f"'{name}' of earlier turns is not supported with this model.",
                    param=f"{path}.{name}",
                )
        signatures = signatures_of(message)
        parts = _said(message, signatures)
        calls = [_read_call(call, path) for call in message.get("tool_calls") or ()]
        if not parts and not calls:
            return
        self._write_user()
        contents = self._conversation.contents
        if not contents:
            contents.append({"role": "user", "parts": [{"text": NO_CONTENT}]})
        if contents[-1]["role"] != "model":
            contents.append({"role": "model", "parts": []})
        contents[-1]["parts"] += parts + self._call_parts(calls, signatures)

    def _call_parts(
        self, calls: Sequence[tuple[str, str, JsonObject]], signatures: Signatures
    ) -> list[JsonObject]:
        parts: list[JsonObject] = []
        for number, (call_id, name, arguments) in enumerate(calls):
            part: JsonObject = {"functionCall": {"id": call_id, "name": name, "args": arguments}}
            if number in signatures.calls:
                part["thoughtSignature"] = signatures.calls[number]
            elif number == 0 and self._needs_signatures:
                part["thoughtSignature"] = UNSIGNED_CALL
            parts.append(part)
            self._calls.append(_OpenCall(call_id, name))
        return parts

    def _take_result(self, message: Mapping[str, Any], path: str) -> None:
        calls = [call for call in self._calls if call.id == message["tool_call_id"]]
        if not calls:
            raise InvalidRequest(
                "The message of role 'tool' does not answer a call of the preceding assistant "
                "message.",
                param=f"{path}.tool_call_id",
                code="invalid_value",
            )
        waiting = [call for call in calls if call.result is None]
        call = waiting[0] if waiting else calls[-1]
        call.result = {"output": _result_text(message, path)}

    def _write_user(self) -> None:
        parts = [call.to_wire() for call in self._calls] + self._user_parts
        self._calls, self._user_parts = [], []
        if parts:
            self._conversation.contents.append({"role": "user", "parts": parts})


def _text_parts(message: Mapping[str, Any]) -> list[JsonObject]:
    """The text, and the refusals, of a message that holds nothing else; empty ones are left out."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return [{"text": content}] if content else []
    texts = (part["text"] if part["type"] == "text" else part["refusal"] for part in content)
    return [{"text": text} for text in texts if text]


def _user_parts(message: Mapping[str, Any], path: str) -> list[JsonObject]:
    content = message["content"]
    if isinstance(content, str):
        return [{"text": content}] if content else []
    parts: list[JsonObject] = []
    for index, part in enumerate(content):
        if part["type"] != "text":
            parts.append(media_part(part, f"{path}.content[{index}]"))
        elif part["text"]:
            parts.append({"text": part["text"]})
    return parts


def _said(message: Mapping[str, Any], signatures: Signatures) -> list[JsonObject]:
    """Signed thoughts and the text of an assistant message."""
    parts: list[JsonObject] = [
        {"text": text, "thought": True, "thoughtSignature": signature}
        for text, signature in signatures.thoughts
    ]
    texts = _text_parts(message)
    if message.get("refusal"):
        texts.append({"text": message["refusal"]})
    if signatures.text is not None:
        if not texts:
            texts.append({"text": ""})
        texts[-1]["thoughtSignature"] = signatures.text
    return parts + texts


def _read_call(call: Mapping[str, Any], path: str) -> tuple[str, str, JsonObject]:
    """Id, name on the wire and arguments of a tool call."""
    if call["type"] != "function":
        raise UnsupportedParameter(
            "Calls of custom tools are not supported with this model.", param=f"{path}.tool_calls"
        )
    function = call["function"]
    return call["id"], name_to_wire(function["name"]), _arguments(function["arguments"])


def _arguments(text: str) -> JsonObject:
    """The arguments of a call; those that are no JSON object are kept under `_raw`."""
    if not text.strip():
        return {}
    try:
        decoded = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"_raw": text}
    return decoded if isinstance(decoded, dict) else {"_raw": text}


def _result_text(message: Mapping[str, Any], path: str) -> str:
    content = message["content"]
    if isinstance(content, str):
        return content
    for index, part in enumerate(content):
        if part["type"] != "text":
            raise UnsupportedParameter(
                "Results of tools must be text with this model.",
                param=f"{path}.content[{index}].type",
            )
    return "".join(part["text"] for part in content)
