"""Input items as chat messages.

The API splits a turn of the model into items: reasoning, messages, calls. A chat message holds all
of them, so that items of the model that follow each other become one message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from one_api.converter.responses.parts import (
    answer_to_chat,
    content_to_chat,
    instructions_to_chat,
)
from one_api.converter.responses.sealed import unseal
from one_api.errors import InvalidRequest, UnsupportedParameter
from one_api.schemas import JsonObject


@dataclass(slots=True)
class _Turn:
    """One turn of the model, as far as it was read; `path` is where it began."""

    path: str
    texts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    thinking_blocks: list[JsonObject] = field(default_factory=list)
    tool_calls: list[JsonObject] = field(default_factory=list)

    def to_chat(self) -> JsonObject | None:
        """The message; None for a turn in which nothing was said or called."""
        if not (self.texts or self.refusals or self.tool_calls):
            return None
        message: JsonObject = {
            "role": "assistant",
            "content": "\n\n".join(self.texts) if self.texts else None,
        }
        if self.refusals:
            message["refusal"] = "\n\n".join(self.refusals)
        if self.reasoning:
            message["reasoning_content"] = "\n\n".join(self.reasoning)
        if self.thinking_blocks:
            message["thinking_blocks"] = self.thinking_blocks
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        return message


class Conversation:
    """Collects messages; `paths` tells for each of them where in the request it began."""

    def __init__(self) -> None:
        self.messages: list[JsonObject] = []
        self.paths: list[str] = []
        self._turn: _Turn | None = None

    def instruct(self, text: str) -> None:
        """Begin with instructions to the model."""
        self._add({"role": "system", "content": text}, "instructions")

    def read(self, given: str | Sequence[Mapping[str, Any]] | None) -> None:
        """Read the request's `input`, to its end.

        Raises: InvalidRequest, UnsupportedParameter that name the item.
        """
        if given is None:
            raise InvalidRequest(
                "Missing required parameter: 'input'.",
                param="input",
                code="missing_required_parameter",
            )
        if isinstance(given, str):
            self._add({"role": "user", "content": given}, "input")
        else:
            for at, item in enumerate(given):
                self._read_item(item, f"input[{at}]")
        self._end_turn()
        if not self.messages:
            raise InvalidRequest(
                "Invalid value for 'input': it holds nothing to answer.",
                param="input",
                code="invalid_value",
            )

    def _read_item(self, item: Mapping[str, Any], path: str) -> None:
        match item.get("type", "message"):
            case "message":
                self._read_message(item, path)
            case "function_call":
                function = {"name": item["name"], "arguments": item["arguments"]}
                call = {"id": item["call_id"], "type": "function", "function": function}
                self._turn_at(path).tool_calls.append(call)
            case "function_call_output":
                content = content_to_chat(item["output"], f"{path}.output")
                result = {"role": "tool", "tool_call_id": item["call_id"], "content": content}
                self._add(result, path)
            case "reasoning":
                self._read_reasoning(item, path)
            case kind:
                raise UnsupportedParameter(
                    f"Items of type '{kind}' are not supported with this model.", param=path
                )

    def _read_message(self, item: Mapping[str, Any], path: str) -> None:
        content, role = item["content"], item["role"]
        if role == "assistant":
            text, refusal = answer_to_chat(content, f"{path}.content")
            turn = self._turn_at(path)
            if refusal:
                turn.refusals.append(refusal)
            if text or not refusal:
                turn.texts.append(text)
            return
        read = content_to_chat if role == "user" else instructions_to_chat
        self._add({"role": role, "content": read(content, f"{path}.content")}, path)

    def _read_reasoning(self, item: Mapping[str, Any], path: str) -> None:
        turn = self._turn_at(path)
        pieces = item.get("content") or item.get("summary") or ()
        turn.reasoning += [piece["text"] for piece in pieces if piece["text"]]
        if item.get("encrypted_content"):
            where = f"{path}.encrypted_content"
            turn.thinking_blocks += unseal(item["encrypted_content"], where)

    def _turn_at(self, path: str) -> _Turn:
        if self._turn is None:
            self._turn = _Turn(path)
        return self._turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        message = turn.to_chat() if turn else None
        if turn is not None and message is not None:
            self.messages.append(message)
            self.paths.append(turn.path)

    def _add(self, message: JsonObject, path: str) -> None:
        self._end_turn()
        self.messages.append(message)
        self.paths.append(path)
