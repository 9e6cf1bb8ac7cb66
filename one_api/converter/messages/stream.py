"""Events in, the bytes of a stream of Anthropic's events out.

What the accumulator of anthropic-python 2.11.0 and Claude Code need: every event named; one
`message_start` with usage; blocks numbered from 0 without gaps, each opened, filled and closed
before the next; always a `message_delta` with usage and a `message_stop`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from typing_extensions import override

from one_api.converter.dialect import StreamWriter
from one_api.converter.messages.content import Block, MessageContent, raw_input
from one_api.converter.messages.form import (
    PING,
    event_frame,
    message_to_wire,
    stop_to_wire,
    usage_to_wire,
)
from one_api.converter.messages.thinking import signature_of
from one_api.events import Event, KeepAlive, Usage, UsageReport
from one_api.tokens import estimate

if TYPE_CHECKING:
    from one_api.converter.form import ReplyForm
    from one_api.schemas import JsonObject


class MessageWriter(StreamWriter):
    """Maps events to the bytes of a stream; `write` each, then `close` once.

    `prompt_tokens` is what the stream says of the prompt before the provider counts it.
    """

    def __init__(self, form: ReplyForm, names: Mapping[str, str], prompt_tokens: int) -> None:
        self._form = form
        self._content = MessageContent(names)
        self._prompt_tokens = prompt_tokens
        self._has_started = False
        #: The block that is shown: its number, whether it was opened, the parts that were sent.
        self._index = 0
        self._is_open = False
        self._sent_parts = 0
        self.usage: Usage | None = None

    @property
    @override
    def texts(self) -> list[str]:
        return self._content.texts

    @override
    def write(self, event: Event) -> bytes:
        if isinstance(event, KeepAlive):
            return PING
        out = self._begin()
        if isinstance(event, UsageReport):
            self.usage = event.usage
            return out
        self._content.take(event)
        return out + self._show(is_last=False)

    @override
    def close(self) -> bytes:
        ending = self._content.ending()
        out = self._begin()
        if not self._content.blocks:
            # Clients expect at least one block.
            self._content.blocks.append(Block("text"))
        out += self._show(is_last=True)
        usage = self.usage or Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=sum(map(estimate, self.texts)),
            estimated=True,
        )
        return out + _end_frames(ending, usage)

    def _begin(self) -> bytes:
        if self._has_started:
            return b""
        self._has_started = True
        usage = Usage(prompt_tokens=self._prompt_tokens, completion_tokens=0)
        return _start_frame(self._form, usage)

    def _show(self, *, is_last: bool) -> bytes:
        """What may be shown by now: nothing of a block before all of those it follows."""
        out = b""
        blocks = self._content.blocks
        while self._index < len(blocks):
            block = blocks[self._index]
            out += self._fill(block)
            is_followed = self._index + 1 < len(blocks)
            if not (is_last or (is_followed and (block.kind != "tool_use" or block.is_whole()))):
                break
            out += self._end(block)
        return out

    def _fill(self, block: Block) -> bytes:
        out = b""
        if not self._is_open:
            self._is_open = True
            opening = {"index": self._index, "content_block": block.opening()}
            out = event_frame({"type": "content_block_start", **opening})
        if block.kind == "tool_use" and not self._sent_parts and not block.shows_object:
            return out  # Not an object, or nothing yet: shown as a whole at its end.
        for part in block.parts[self._sent_parts :]:
            out += self._delta(_delta_of(block, part))
        self._sent_parts = len(block.parts)
        return out

    def _end(self, block: Block) -> bytes:
        out = b""
        if block.kind == "thinking":
            signature = signature_of(block.text)
            out = self._delta({"type": "signature_delta", "signature": signature})
        elif block.kind == "tool_use" and not self._sent_parts and block.parts:
            out = self._delta(_delta_of(block, raw_input(block.text)))
        out += event_frame({"type": "content_block_stop", "index": self._index})
        self._index += 1
        self._is_open = False
        self._sent_parts = 0
        return out

    def _delta(self, delta: JsonObject) -> bytes:
        event = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return event_frame(event)


def empty_stream(form: ReplyForm) -> bytes:
    """The stream for who asks for no tokens at all."""
    nothing = Usage(prompt_tokens=0, completion_tokens=0)
    return _start_frame(form, nothing) + _end_frames(stop_to_wire("max_tokens"), nothing)


def _start_frame(form: ReplyForm, usage: Usage) -> bytes:
    return event_frame({"type": "message_start", "message": message_to_wire(form, [], usage)})


def _end_frames(ending: JsonObject, usage: Usage) -> bytes:
    end = {"type": "message_delta", "delta": ending, "usage": usage_to_wire(usage)}
    return event_frame(end) + event_frame({"type": "message_stop"})


def _delta_of(block: Block, part: str) -> JsonObject:
    match block.kind:
        case "text":
            return {"type": "text_delta", "text": part}
        case "thinking":
            return {"type": "thinking_delta", "thinking": part}
        case "tool_use":
            return {"type": "input_json_delta", "partial_json": part}
