"""What events have told of a message so far, as content blocks in their order.

Anthropic's blocks follow one another, while a provider may tell of several tool calls at once.
Every block keeps all it was told; a stream shows a block when those before it are complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic_core import from_json

from one_api.converter.form import random_id
from one_api.converter.messages.form import stop_to_wire
from one_api.converter.messages.identifiers import call_id_from_wire
from one_api.converter.messages.thinking import signature_of
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse
from one_api.events import (
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from one_api.schemas import JsonObject

#: Under which key the arguments of a call stand that are not a JSON object.
_RAW = "_raw"


@dataclass(slots=True)
class Block:
    """One content block; `parts` are its text, its thinking or its arguments as they came."""

    kind: Literal["text", "thinking", "tool_use"]
    parts: list[str] = field(default_factory=list)
    id: str = ""
    name: str = ""
    _checked_parts: int = -1
    _is_object: bool = False

    @property
    def text(self) -> str:
        """All parts together."""
        return "".join(self.parts)

    @property
    def shows_object(self) -> bool:
        """Whether the arguments begin as a JSON object; then they may be shown as they come."""
        return bool(self.parts) and self.parts[0].startswith("{")

    def is_whole(self) -> bool:
        """Whether the arguments of this call are one complete JSON object."""
        if self._checked_parts != len(self.parts):
            self._checked_parts = len(self.parts)
            self._is_object = _is_object(self.text)
        return self._is_object

    def opening(self) -> JsonObject:
        """The block before its first delta."""
        match self.kind:
            case "text":
                return {"type": "text", "text": ""}
            case "thinking":
                return {"type": "thinking", "thinking": "", "signature": ""}
            case "tool_use":
                return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def to_wire(self) -> JsonObject:
        """The whole block."""
        match self.kind:
            case "text":
                return {"type": "text", "text": self.text}
            case "thinking":
                text = self.text
                return {"type": "thinking", "thinking": text, "signature": signature_of(text)}
            case "tool_use":
                return {**self.opening(), "input": self.input()}

    def input(self) -> JsonObject:
        """The arguments of this call, as far as they came: a cut object keeps what is complete."""
        text = self.text
        if not text:
            return {}
        if self.shows_object:
            try:
                value: JsonObject = from_json(text, allow_partial=True)
            except ValueError:
                pass
            else:
                return value
        return {_RAW: text.rstrip()}


class MessageContent:
    """The content blocks of one message, and how it ended.

    `names` gives the client's names of tools by the names the provider knows.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._calls: dict[int, Block] = {}
        self._finish: Finish | None = None
        self._has_refused = False
        self.blocks: list[Block] = []

    def take(self, event: Event) -> None:
        """Add what `event` tells; events of other kinds or choices add nothing.

        Raises: UpstreamInvalidResponse for a tool call without a name.
        """
        match event:
            case TextDelta(text=text, choice=0) if text:
                self._last("text").parts.append(text)
            case RefusalDelta(text=text, choice=0):
                self._has_refused = True
                if text:
                    self._last("text").parts.append(text)
            case ReasoningDelta(text=text, choice=0) if text:
                self._last("thinking").parts.append(text)
            case ToolCallDelta(choice=0):
                self._take_call(event)
            case Finish(choice=0):
                self._finish = event
            case _:
                pass

    @property
    def texts(self) -> list[str]:
        """Everything the model wrote so far, in pieces."""
        return [part for block in self.blocks for part in (block.name, *block.parts) if part]

    def ending(self) -> JsonObject:
        """Why the message ended.

        Raises: UpstreamDisconnected when it did not.
        """
        if self._finish is None:
            raise UpstreamDisconnected("The provider's reply ended before it was complete.")
        reason = self._stop_reason(self._finish)
        return stop_to_wire(
            reason, self._finish.stop_sequence if reason == "stop_sequence" else None
        )

    def _stop_reason(self, finish: Finish) -> str:
        if finish.reason == "length":
            return "max_tokens"
        if finish.reason == "content_filter" or self._has_refused:
            return "refusal"
        if finish.stop_sequence is not None:
            return "stop_sequence"
        return "tool_use" if self._calls else "end_turn"

    def _last(self, kind: Literal["text", "thinking"]) -> Block:
        """The last block if it is of this kind, else a new one."""
        if not self.blocks or self.blocks[-1].kind != kind:
            self.blocks.append(Block(kind))
        return self.blocks[-1]

    def _take_call(self, event: ToolCallDelta) -> None:
        block = self._calls.get(event.index)
        if block is None:
            if not event.name:
                raise UpstreamInvalidResponse("The provider's tool call has no name.")
            name = self._names.get(event.name, event.name)
            call_id = call_id_from_wire(event.id or random_id("toolu_", 24))
            block = self._calls[event.index] = Block("tool_use", id=call_id, name=name)
            self.blocks.append(block)
        elif block is not self.blocks[-1] and block.is_whole():
            return  # It was shown and closed; an object that is complete has no more to it.
        # White space alone is no beginning of an object: the SDK stumbles over it.
        arguments = event.arguments if block.parts else event.arguments.lstrip()
        if arguments:
            block.parts.append(arguments)


def raw_input(text: str) -> str:
    """Arguments that are not a JSON object, as one that holds them."""
    return orjson.dumps({_RAW: text.rstrip()}).decode()


def _is_object(text: str) -> bool:
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict)
