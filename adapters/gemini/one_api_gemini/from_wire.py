"""Google's replies, streamed or whole, as the gateway's events.

A stream is a row of replies, each with more parts of the answer; nothing marks its end but the
`finishReason` in one of the last. A signature may come on a part of its own with empty text.
Source: `Candidate`, `FinishReason` and `GenerateContentResponsePromptFeedback` of google-genai
3.4.0 (2026-11); ai.google.dev, "Thought signatures", stored copy of 2026-09-04.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from typing_extensions import override

from one_api.adapter import (
    Event,
    Finish,
    FinishReason,
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
    Usage,
    UsageReport,
)
from one_api_gemini.errors import error_from_chunk, told_error
from one_api_gemini.finish import reason_from_wire
from one_api_gemini.signatures import call_signature, text_signature, thought_signature
from one_api_gemini.usage import usage_from_wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the request says about how its reply is to be read.

    `names` are the client's tool names by wire name, where they differ. `local_stops` are the stop
    sequences that Google was not told. `service_tier` is what the reply's headers say of it.
    """

    is_stream: bool
    names: Mapping[str, str] = field(default_factory=dict)
    local_stops: tuple[str, ...] = ()
    service_tier: str | None = None


class GenerateContentParser(ReplyParser):
    """Parses one reply to generateContent or streamGenerateContent."""

    def __init__(self, reading: Reading) -> None:
        self._service_tier = reading.service_tier
        self._decoder = SSEDecoder() if reading.is_stream else None
        self._body = bytearray()
        self._answer = _Answer(reading)
        self._usage: Usage | None = None
        self._reason: FinishReason | None = None
        self._refusal = ""
        self._has_started = False

    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        if self._decoder is None:
            self._body += data
            return
        for event in self._decoder.feed(data):
            if event.event == ":":
                yield KeepAlive()
            else:
                yield from self._take(event.data)

    @override
    def close(self) -> Iterable[Event]:
        if self._decoder is None:
            yield from self._take(bytes(self._body))
        if not self._has_started:
            raise UpstreamInvalidResponse("The provider's reply is not an event stream.")
        if self._reason is None:
            raise UpstreamDisconnected("The provider's reply ended before it was complete.")
        yield from self._answer.close()
        if self._usage is not None:
            yield UsageReport(self._usage)
        if self._reason == "content_filter":
            yield RefusalDelta(self._refusal)
        yield self._finish(self._reason)

    def _finish(self, reason: FinishReason) -> Finish:
        if self._answer.stop_sequence is not None:
            return Finish("stop", stop_sequence=self._answer.stop_sequence)
        if reason == "stop" and self._answer.calls:
            return Finish("tool_calls")
        return Finish(reason)

    def _take(self, data: bytes) -> Iterator[Event]:
        try:
            reply = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
        error = told_error(reply)
        if error is not None:
            raise error_from_chunk(error)
        if not isinstance(reply, dict):
            raise UpstreamInvalidResponse("The provider's reply is not a JSON object.")
        if not self._has_started:
            self._has_started = True
            reply_id = reply.get("responseId")
            is_told = isinstance(reply_id, str) and bool(reply_id)
            yield Start(
                id=f"chatcmpl-{reply_id}" if is_told else None, service_tier=self._service_tier
            )
        self._usage = usage_from_wire(reply.get("usageMetadata")) or self._usage
        blocked = _object(reply, "promptFeedback").get("blockReason")
        if isinstance(blocked, str):
            self._reason = "content_filter"
            self._refusal = f"The provider's filter refused the prompt ({blocked})."
        candidates = reply.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, Mapping):
                yield from self._take_candidate(candidate)

    def _take_candidate(self, candidate: Mapping[str, Any]) -> Iterator[Event]:
        parts = _object(candidate, "content").get("parts")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, Mapping):
                yield from self._answer.take(part)
        told = candidate.get("finishReason")
        if not isinstance(told, str):
            return
        message = candidate.get("finishMessage")
        self._reason = reason_from_wire(told, message if isinstance(message, str) else "")
        self._refusal = (
            message
            if isinstance(message, str) and message
            else f"The provider's filter stopped the answer ({told})."
        )


class _Answer:
    """The parts of one answer, as they come; `calls` counts its tool calls."""

    def __init__(self, reading: Reading) -> None:
        self._names = reading.names
        self._scanner = StopScanner(reading.local_stops)
        self._blocks = 0
        self._is_block_open = False
        self.calls = 0

    @property
    def stop_sequence(self) -> str | None:
        """The stop sequence of `Reading.local_stops` that ended the answer, None so far."""
        return self._scanner.matched

    def take(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events for one part; none after a stop sequence."""
        if self.stop_sequence is not None:
            return
        signature, call, text = (
            part.get("thoughtSignature"),
            part.get("functionCall"),
            part.get("text"),
        )
        signed = signature if isinstance(signature, str) and signature else None
        if isinstance(call, Mapping):
            if signed:
                yield self._sign(call_signature(self.calls, signed))
            yield from self._call(call)
            return
        shown = text if isinstance(text, str) else ""
        if part.get("thought") is True:
            yield from self._thought(shown)
            if signed:
                yield self._sign(thought_signature(signed))
            return
        passed = self._scanner.feed(shown)
        if passed:
            yield TextDelta(passed)
        if signed:
            yield self._sign(text_signature(signed))

    def close(self) -> Iterator[Event]:
        """The text held back to the end."""
        rest = self._scanner.close()
        if rest:
            yield TextDelta(rest)

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        name, call_id, arguments = call.get("name"), call.get("id"), call.get("args")
        if not isinstance(name, str) or not name:
            raise UpstreamInvalidResponse("The provider's tool call has no name.")
        # Models before Gemini 3 give no ids; without one the gateway makes it.
        yield ToolCallDelta(
            index=self.calls,
            id=call_id if isinstance(call_id, str) and call_id else None,
            name=self._names.get(name, name),
            arguments=orjson.dumps(arguments if isinstance(arguments, dict) else {}).decode(),
        )
        self.calls += 1

    def _thought(self, text: str) -> Iterator[Event]:
        if text:
            yield ReasoningDelta(text)
            yield self._block({"thinking": text})

    def _sign(self, signature: str) -> Event:
        """End the open thinking block with `signature`; it belongs to what came of the thought."""
        event = self._block({"signature": signature})
        self._is_block_open = False
        self._blocks += 1
        return event

    def _block(self, fields: Mapping[str, str]) -> Event:
        if not self._is_block_open:
            self._is_block_open = True
            fields = {"type": "thinking", "thinking": "", **fields}
        return ThinkingBlockDelta(index=self._blocks, fields=fields)


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}
