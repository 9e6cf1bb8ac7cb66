"""Anthropic's event stream as the gateway's events.

Source: platform.claude.com, "Streaming messages", stored copies of 2026-08 to 2026-10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from typing_extensions import override

from one_api.adapter import (
    Annotation,
    Event,
    Finish,
    FinishReason,
    JsonObject,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    ReplyParser,
    SSEDecoder,
    Start,
    StopScanner,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UsageReport,
)
from one_api_claude.errors import error_from_event
from one_api_claude.fences import FenceStripper
from one_api_claude.reply_blocks import ReplyBlock
from one_api_claude.usage import UsageCount, service_tier_from_wire

REFUSAL: Final = "The model declined to answer."

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the request says about how its reply is to be read.

    `names` are the client's tool names by wire name, where they differ. `local_stops` are the stop
    sequences that Anthropic does not take.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    local_stops: tuple[str, ...] = ()
    #: The request used the functions of old.
    is_legacy: bool = False
    #: The reply's thinking may be sent back in later turns.
    keeps_thinking: bool = True
    #: The answer is to be JSON without a code fence around it.
    is_json: bool = False


class MessageParser(ReplyParser):
    """Parses one reply, which may take several messages when the model pauses its turn.

    `is_paused`: the message that ended is to be sent back (`content`) for the model to go on; call
    `resume` before feeding the next one. `is_done`: the reply is complete, whatever still comes.
    `is_stopped`: it is complete because of a stop sequence, and more would come.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._decoder = SSEDecoder()
        self._text = _AnswerText(reading)
        self._usage = UsageCount()
        self._blocks: dict[int, ReplyBlock] = {}
        self._content: list[JsonObject] = []
        self._tool_calls = 0
        self._thinking_blocks = 0
        self._thinking_with_text = -1
        self._stop_reason = ""
        self._stop_sequence: str | None = None
        self._refusal = REFUSAL
        self._has_bytes = False
        self._has_started = False
        self.is_paused = False
        self.is_done = False

    @property
    def is_stopped(self) -> bool:
        """Whether a stop sequence of `Reading.local_stops` ended the reply."""
        return self._text.stop_sequence is not None

    @property
    def content(self) -> list[JsonObject]:
        """The content blocks of all messages so far, as Anthropic takes them back."""
        blocks = [block.to_wire() for block in self._blocks.values()]
        return self._content + [block for block in blocks if block is not None]

    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        self._has_bytes = self._has_bytes or bool(data)
        for event in self._decoder.feed(data):
            if self.is_done or self.is_paused:
                break
            if event.event == ":":
                yield KeepAlive()
            elif event.data != b"[DONE]":
                # Given one by one: what comes with an error in one read is told before it.
                yield from self._take(event.data)

    @override
    def close(self) -> Iterable[Event]:
        if self.is_done:
            return ()
        if self.is_paused:
            return self._finish()
        if self._has_bytes and not self._has_started:
            raise UpstreamInvalidResponse("The provider's reply is not an event stream.")
        raise UpstreamDisconnected("The provider's reply ended before it was complete.")

    def resume(self) -> None:
        """Get ready for the message with which the model goes on."""
        self._content = self.content
        self._blocks = {}
        self._decoder = SSEDecoder()
        self._usage.begin_message()
        self._stop_reason = ""
        self.is_paused = False

    def _take(self, data: bytes) -> Iterable[Event]:
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("The provider's stream has an invalid event.") from exc
        try:
            handler = _HANDLERS[event["type"]]
        except (KeyError, TypeError):
            # Anthropic adds types of events; those not known are to be ignored.
            return ()
        return handler(self, event)

    def _take_ping(self, event: Mapping[str, Any]) -> Iterable[Event]:
        return (KeepAlive(),)

    def _take_error(self, event: Mapping[str, Any]) -> Iterable[Event]:
        raise error_from_event(event)

    def _begin_message(self, event: Mapping[str, Any]) -> Iterable[Event]:
        message = _object(event, "message")
        self._usage.take(message.get("usage"))
        if self._has_started:
            return ()
        self._has_started = True
        given = message.get("id")
        tail = given.removeprefix("msg_") if isinstance(given, str) else ""
        start = Start(
            id=f"chatcmpl-{tail}" if tail else None,
            service_tier=service_tier_from_wire(message.get("usage")),
        )
        return (start,)

    def _begin_block(self, event: Mapping[str, Any]) -> Iterable[Event]:
        block = ReplyBlock(_object(event, "content_block"))
        self._blocks[_index(event)] = block
        if block.kind == "text":
            return self._add_text(block.begin_text("text"))
        if block.kind == "tool_use":
            block.number = self._tool_calls
            self._tool_calls += 1
            name = block.begin_text("name")
            call = ToolCallDelta(
                index=block.number,
                id=block.begin_text("id") or None,
                name=self._reading.names.get(name, name),
            )
            return (call,)
        if block.kind in ("thinking", "redacted_thinking"):
            block.number = self._thinking_blocks
            self._thinking_blocks += 1
            fields = {"type": block.kind}
            for name in ("data",) if block.kind == "redacted_thinking" else ("thinking",):
                fields[name] = block.begin_text(name)
            if block.begin_text("signature"):
                fields["signature"] = block.begin_text("signature")
            return self._add_thinking(block, fields)
        return ()

    def _take_delta(self, event: Mapping[str, Any]) -> Iterable[Event]:
        block = self._blocks.get(_index(event))
        if block is None:
            raise UpstreamInvalidResponse("The provider's stream adds to a block not begun.")
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return ()
        if delta.get("type") == "text_delta":
            return self._add_text(block.add("text", delta))
        return self._take_rarer_delta(block, delta)

    def _take_rarer_delta(self, block: ReplyBlock, delta: Mapping[str, Any]) -> Iterable[Event]:
        match delta.get("type"):
            case "thinking_delta":
                text = block.add("thinking", delta)
                return self._add_thinking(block, {"thinking": text}) if text else ()
            case "signature_delta":
                text = block.add("signature", delta)
                return self._add_thinking(block, {"signature": text}) if text else ()
            case "input_json_delta":
                text = block.add("partial_json", delta)
                is_call = block.kind == "tool_use"
                return (ToolCallDelta(block.number, arguments=text),) if text and is_call else ()
            case "citations_delta":
                block.cite(_object(delta, "citation"))
        return ()

    def _end_block(self, event: Mapping[str, Any]) -> Iterable[Event]:
        block = self._blocks.get(_index(event))
        if block is None:
            return ()
        if block.kind == "tool_use" and not block.has_streamed_input:
            given = block.begin.get("input")
            arguments = orjson.dumps(given if isinstance(given, dict) else {}).decode()
            return (ToolCallDelta(index=block.number, arguments=arguments),)
        return self._text.annotations(block) if block.kind == "text" else ()

    def _take_message_delta(self, event: Mapping[str, Any]) -> Iterable[Event]:
        delta = _object(event, "delta")
        reason = delta.get("stop_reason")
        if isinstance(reason, str):
            self._stop_reason = reason
        sequence = delta.get("stop_sequence")
        if isinstance(sequence, str):
            self._stop_sequence = sequence
        explanation = _object(delta, "stop_details").get("explanation")
        if isinstance(explanation, str) and explanation:
            self._refusal = explanation
        self._usage.take(event.get("usage"))
        return ()

    def _end_message(self, event: Mapping[str, Any]) -> Iterable[Event]:
        if self._stop_reason == "pause_turn" and self.content:
            self.is_paused = True
            return ()
        return self._finish()

    def _add_text(self, text: str) -> Iterable[Event]:
        passed = self._text.feed(text)
        delta = (TextDelta(passed),) if passed else ()
        if self._text.stop_sequence is None:
            return delta
        # The rest is not waited for: it would be paid for and thrown away.
        self.is_done = True
        usage = self._usage.total(unreported_chars=self._text.seen_chars)
        return (*delta, UsageReport(usage), Finish("stop", stop_sequence=self._text.stop_sequence))

    def _add_thinking(self, block: ReplyBlock, fields: Mapping[str, str]) -> Iterable[Event]:
        events: list[Event] = []
        text = fields.get("thinking")
        if text:
            if self._thinking_with_text not in (-1, block.number):
                text = f"\n\n{text}"
            self._thinking_with_text = block.number
            events.append(ReasoningDelta(text))
        if self._reading.keeps_thinking:
            events.append(ThinkingBlockDelta(index=block.number, fields=fields))
        return events

    def _finish(self) -> Iterable[Event]:
        self.is_done = True
        rest = self._text.close()
        events: list[Event] = [TextDelta(rest)] if rest else []
        events.append(UsageReport(self._usage.total()))
        reason = _FINISH_REASONS.get(self._stop_reason, "stop")
        if reason == "content_filter":
            events.append(RefusalDelta(self._refusal))
        if reason == "tool_calls":
            # Calls of the provider's own tools are none of the client's.
            called: FinishReason = "function_call" if self._reading.is_legacy else "tool_calls"
            reason = called if self._tool_calls else "stop"
        sequence = self._stop_sequence if self._stop_reason == "stop_sequence" else None
        events.append(Finish(reason, stop_sequence=sequence))
        return events


#: Of the class: a parser that had its own methods in a table would be garbage for a collector.
_HANDLERS: Final[Mapping[str, Callable[[MessageParser, Mapping[str, Any]], Iterable[Event]]]] = {
    "content_block_delta": MessageParser._take_delta,
    "content_block_start": MessageParser._begin_block,
    "content_block_stop": MessageParser._end_block,
    "error": MessageParser._take_error,
    "message_delta": MessageParser._take_message_delta,
    "message_start": MessageParser._begin_message,
    "message_stop": MessageParser._end_message,
    "ping": MessageParser._take_ping,
}


class _AnswerText:
    """The answer's text on its way to the client: without its fence, up to a stop sequence."""

    def __init__(self, reading: Reading) -> None:
        self._fence = FenceStripper() if reading.is_json else None
        self._scanner = StopScanner(reading.local_stops)
        self._passes_all = self._fence is None and not reading.local_stops
        #: The stop sequence that ended the text, None so far.
        self.stop_sequence: str | None = None
        self.seen_chars = 0
        self._annotated_chars = 0

    def feed(self, text: str) -> str:
        """The text that may be sent on."""
        self.seen_chars += len(text)
        if self._passes_all:
            return text
        passed = self._scanner.feed(self._fence.feed(text) if self._fence else text)
        self.stop_sequence = self._scanner.matched
        return passed

    def close(self) -> str:
        """The text held back to the end."""
        rest = self._scanner.feed(self._fence.close()) if self._fence else ""
        self.stop_sequence = self._scanner.matched
        return rest + self._scanner.close()

    def annotations(self, block: ReplyBlock) -> list[Annotation]:
        """The citations of web pages in a text block that just ended, as annotations of it."""
        start, self._annotated_chars = self._annotated_chars, self.seen_chars
        return [
            Annotation(
                {
                    "type": "url_citation",
                    "url_citation": {
                        "start_index": start,
                        "end_index": self.seen_chars,
                        "title": citation.get("title") or "",
                        "url": citation["url"],
                    },
                }
            )
            for citation in block.citations
            if citation.get("type") == "web_search_result_location" and "url" in citation
        ]


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    # Decoded JSON: asking for a Mapping would take ten times as long, for each event.
    return value if isinstance(value, dict) else {}


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else -1
