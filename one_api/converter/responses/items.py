"""The items of a response's output, and the stream's events that tell how they grow.

Every item is opened, written to and closed once. The accumulator of openai-python 3.52.0 needs
`output_item.added` before anything of an item, and `content_part.added` before the text of a part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from typing_extensions import override

from one_api.converter.choice import ToolCallState
from one_api.converter.responses.sealed import seal
from one_api.schemas import JsonObject

Status = Literal["in_progress", "completed", "incomplete"]
#: Takes an event of the stream, without its number.
Emit = Callable[[JsonObject], None]


class OutputItem(ABC):
    """One item; `id` and `index` never change."""

    def __init__(self, id_: str, index: int, emit: Emit) -> None:
        self.id = id_
        self.index = index
        self.status: Status = "in_progress"
        self._emit = emit

    @abstractmethod
    def to_wire(self) -> JsonObject:
        """The item as far as it was written."""

    @abstractmethod
    def texts(self) -> list[str]:
        """What the model wrote in this item, in pieces."""

    @abstractmethod
    def _finish(self) -> None:
        """End the part that is open, if any."""

    def open(self) -> None:
        """Tell that the item begins."""
        self._emit(
            {
                "type": "response.output_item.added",
                "output_index": self.index,
                "item": self.to_wire(),
            }
        )

    def close(self, status: Status) -> None:
        """Tell that nothing more will come; once only."""
        self._finish()
        self.status = status
        self._emit(
            {
                "type": "response.output_item.done",
                "output_index": self.index,
                "item": self.to_wire(),
            }
        )

    def _tell(self, kind: str, **fields: Any) -> None:
        self._emit({"type": kind, "item_id": self.id, "output_index": self.index, **fields})


@dataclass(slots=True)
class TextPart:
    """A part of a message: text with its citations."""

    pieces: list[str] = field(default_factory=list)
    annotations: list[JsonObject] = field(default_factory=list)
    logprobs: list[JsonObject] = field(default_factory=list)

    def to_wire(self) -> JsonObject:
        """The part as far as it was written."""
        return {
            "type": "output_text",
            "text": "".join(self.pieces),
            "annotations": list(self.annotations),
            "logprobs": list(self.logprobs),
        }


@dataclass(slots=True)
class RefusalPart:
    """A part of a message: words with which the model declines."""

    pieces: list[str] = field(default_factory=list)

    def to_wire(self) -> JsonObject:
        """The part as far as it was written."""
        return {"type": "refusal", "refusal": "".join(self.pieces)}


class MessageItem(OutputItem):
    """What the model says."""

    def __init__(self, id_: str, index: int, emit: Emit) -> None:
        super().__init__(id_, index, emit)
        self._parts: list[TextPart | RefusalPart] = []

    @override
    def to_wire(self) -> JsonObject:
        return {
            "id": self.id,
            "type": "message",
            "status": self.status,
            "role": "assistant",
            "content": [part.to_wire() for part in self._parts],
        }

    @override
    def texts(self) -> list[str]:
        return [piece for part in self._parts for piece in part.pieces]

    def write(self, text: str, logprobs: Mapping[str, Any] | None = None) -> None:
        """More text; `logprobs` in the shape of chat."""
        part = self.text_part()
        tokens = [_token_to_wire(token) for token in (logprobs or {}).get("content") or ()]
        part.pieces.append(text)
        part.logprobs += tokens
        self._tell_part("response.output_text.delta", delta=text, logprobs=tokens)

    def refuse(self, text: str) -> None:
        """More words of a refusal."""
        part = self._last()
        if not isinstance(part, RefusalPart):
            part = RefusalPart()
            self._begin(part)
        part.pieces.append(text)
        self._tell_part("response.refusal.delta", delta=text)

    def cite(self, annotation: Mapping[str, Any]) -> None:
        """A citation of the text, in the shape of chat."""
        part = self.text_part()
        wire = _annotation_to_wire(annotation)
        part.annotations.append(wire)
        self._tell_part(
            "response.output_text.annotation.added",
            annotation_index=len(part.annotations) - 1,
            annotation=wire,
        )

    def text_part(self) -> TextPart:
        """The part that text goes to, begun where there is none."""
        part = self._last()
        if not isinstance(part, TextPart):
            part = TextPart()
            self._begin(part)
        return part

    def _last(self) -> TextPart | RefusalPart | None:
        return self._parts[-1] if self._parts else None

    def _begin(self, part: TextPart | RefusalPart) -> None:
        self._finish()
        self._parts.append(part)
        self._tell_part("response.content_part.added", part=part.to_wire())

    @override
    def _finish(self) -> None:
        part = self._last()
        if part is None:
            return
        wire = part.to_wire()
        if isinstance(part, TextPart):
            self._tell_part(
                "response.output_text.done", text=wire["text"], logprobs=wire["logprobs"]
            )
        else:
            self._tell_part("response.refusal.done", refusal=wire["refusal"])
        self._tell_part("response.content_part.done", part=wire)

    def _tell_part(self, kind: str, **fields: Any) -> None:
        self._tell(kind, content_index=len(self._parts) - 1, **fields)


class ReasoningItem(OutputItem):
    """What the model thinks: as it is, or as a summary where the client asked for one.

    `blocks` are the provider's signed blocks, which the client gets to send back.
    """

    def __init__(self, id_: str, index: int, emit: Emit, *, is_summary: bool) -> None:
        super().__init__(id_, index, emit)
        self.blocks: list[JsonObject] = []
        self._pieces: list[str] = []
        self._is_summary = is_summary

    @override
    def to_wire(self) -> JsonObject:
        parts = [self._part()] if self._pieces else []
        item: JsonObject = {
            "id": self.id,
            "type": "reasoning",
            "status": self.status,
            "summary": parts if self._is_summary else [],
        }
        if not self._is_summary:
            item["content"] = parts
        if self.blocks:
            item["encrypted_content"] = seal(self.blocks)
        return item

    @override
    def texts(self) -> list[str]:
        return list(self._pieces)

    def write(self, text: str) -> None:
        """More reasoning."""
        if not self._pieces:
            self._tell_part("part.added", part=self._part())
        self._pieces.append(text)
        self._tell_part("text.delta", delta=text)

    @override
    def _finish(self) -> None:
        if self._pieces:
            self._tell_part("text.done", text="".join(self._pieces))
            self._tell_part("part.done", part=self._part())

    def _part(self) -> JsonObject:
        kind = "summary_text" if self._is_summary else "reasoning_text"
        return {"type": kind, "text": "".join(self._pieces)}

    def _tell_part(self, what: str, **fields: Any) -> None:
        if self._is_summary:
            self._tell(f"response.reasoning_summary_{what}", summary_index=0, **fields)
        else:
            scope = "content" if what.startswith("part") else "reasoning"
            self._tell(f"response.{scope}_{what}", content_index=0, **fields)


class CallItem(OutputItem):
    """A call of a function."""

    def __init__(self, id_: str, index: int, emit: Emit, call: ToolCallState) -> None:
        super().__init__(id_, index, emit)
        self._call = call
        self._arguments = ""

    @override
    def to_wire(self) -> JsonObject:
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "call_id": self._call.id,
            "name": self._call.name,
            "arguments": self._arguments,
        }

    @override
    def texts(self) -> list[str]:
        return [self._call.name, self._arguments]

    def write(self, arguments: str) -> None:
        """More of the arguments."""
        if arguments:
            self._arguments += arguments
            self._tell("response.function_call_arguments.delta", delta=arguments)

    @property
    def is_bare(self) -> bool:
        """Whether there were no arguments so far."""
        return not self._arguments

    @override
    def _finish(self) -> None:
        self._tell(
            "response.function_call_arguments.done",
            name=self._call.name,
            arguments=self._arguments,
        )


def _token_to_wire(token: Mapping[str, Any]) -> JsonObject:
    """A token's log probability; unlike chat, `bytes` and `top_logprobs` are never null."""
    top: Sequence[Mapping[str, Any]] = token.get("top_logprobs") or ()
    return {
        **token,
        "bytes": token.get("bytes") or [],
        "top_logprobs": [{**other, "bytes": other.get("bytes") or []} for other in top],
    }


def _annotation_to_wire(annotation: Mapping[str, Any]) -> JsonObject:
    """A citation, which chat keeps one level deeper."""
    kind = annotation.get("type")
    inner = annotation.get(kind) if isinstance(kind, str) else None
    return {"type": kind, **inner} if isinstance(inner, Mapping) else dict(annotation)
