"""A complete reply that is kept: made of a reply's events, and told as events again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from one_api.converter import CompletionFold, ReplyForm, usage_from_wire
from one_api.counters import MAX_VALUE_BYTES
from one_api.errors import GatewayError
from one_api.events import (
    Annotation,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    Relay,
    Start,
    TextDelta,
    ThinkingBlockDelta,
    ToolCallDelta,
    UsageReport,
)
from one_api.relay import ChunkReader, relay_body
from one_api.schemas import JsonObject

#: Changes whenever an entry would be read differently.
_VERSION: Final = 1
_GOOD_ENDS: Final = ("stop", "tool_calls", "function_call")
#: The parts of a message that can be told again as events.
_MESSAGE_PARTS: Final = frozenset({
    "role", "content", "refusal", "annotations", "reasoning", "reasoning_content",
    "thinking_blocks", "tool_calls", "function_call",
})  # fmt: skip

_TEXTS: Final = ("content", "refusal", "reasoning", "reasoning_content")
_NO_FUNCTION: Final = {"name": "", "arguments": ""}
#: About how many bytes of JSON stand around a part of a reply, and around one token's logprobs.
_PART_BYTES, _LOGPROBS_BYTES = 64, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedReply:
    """A complete chat completion, as JSON in `body`, and who gave it when (epoch milliseconds)."""

    body: bytes
    deployment: str
    upstream_model: str
    created_ms: int

    def form(self, form: ReplyForm) -> ReplyForm:
        """`form` with the identity that the reply had when it was given."""
        reply = orjson.loads(self.body)
        return replace(form, given_id=reply["id"], created=reply["created"])

    def events(self) -> Iterator[Event]:
        """The reply as an adapter would have told it, for any dialect's writer or fold."""
        return _events(orjson.loads(self.body))

    def to_bytes(self) -> bytes:
        """The reply as it is kept."""
        head = [_VERSION, self.deployment, self.upstream_model, self.created_ms]
        return orjson.dumps(head) + b"\n" + self.body

    @classmethod
    def from_bytes(cls, value: bytes) -> CachedReply | None:
        """The reply that was kept as `value`; None where another version wrote it."""
        head, _, body = value.partition(b"\n")
        match orjson.loads(head):
            case [version, str(deployment), str(upstream_model), int(created_ms)] if (
                version == _VERSION
            ):
                return cls(
                    body=body,
                    deployment=deployment,
                    upstream_model=upstream_model,
                    created_ms=created_ms,
                )
        return None


class ReplyRecording:
    """Makes one complete chat completion of the events of a reply that goes out in another form.

    `is_stream` says that relayed bytes are a stream of chunks. Call `take` for each event, `close`
    once after the last. Never fails: what cannot be recorded is not.
    """

    def __init__(
        self, form: ReplyForm, *, is_stream: bool, max_bytes: int = MAX_VALUE_BYTES
    ) -> None:
        # In today's form of calls: `events` tells them in the one that a reader asked for.
        self._form = replace(form, functions=False)
        self._fold = CompletionFold(self._form)
        self._reader = ChunkReader(self._form) if is_stream else None
        self._relayed = bytearray()
        #: How much more may come. A stream's chunks are many times what they hold.
        self._left = max_bytes
        self._is_lost = False

    def take(self, event: Event) -> None:
        """Take one more event in."""
        if self._is_lost:
            return
        try:
            self._take(event)
        except GatewayError:
            self._is_lost = True
        if self._left < 0 or self._is_lost:
            self._is_lost = True
            self._relayed.clear()
            self._fold = CompletionFold(self._form)

    def _take(self, event: Event) -> None:
        if not isinstance(event, Relay):
            self._fold_in(event)
        elif self._reader is None:
            self._left -= len(event.data)
            self._relayed += event.data
        else:
            for told in self._reader.feed(event.data):
                self._fold_in(told)

    def _fold_in(self, event: Event) -> None:
        self._left -= _size(event)
        self._fold.write(event)

    def close(self) -> bytes | None:
        """The complete reply; None when it is not complete or its provider told no usage."""
        if self._is_lost:
            return None
        try:
            if self._relayed:
                body, usage = relay_body(bytes(self._relayed), self._form)
                return body if usage else None
            if self._reader is not None and self._reader.has_finished(1):
                for event in self._reader.close():
                    self._fold.write(event)
            return orjson.dumps(self._fold.close()) if self._fold.usage else None
        except GatewayError:
            return None


def is_keepable(body: bytes, *, has_limit: bool) -> bool:
    """Whether `body` is a complete chat completion whose choices can be told again as events.

    `has_limit` says that the client limited its length: only then is a reply that reached a limit
    the whole of what was asked for.
    """
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    match reply:
        case {"id": str(), "created": int(), "choices": [_, *_] as choices, "usage": usage}:
            good = (*_GOOD_ENDS, "length") if has_limit else _GOOD_ENDS
            is_whole = all(_is_whole(choice, good) for choice in choices)
            return is_whole and usage_from_wire(usage) is not None
    return False


def _is_whole(choice: Any, good_ends: tuple[str, ...]) -> bool:
    match choice:
        case {"index": int(), "message": dict() as message, "finish_reason": end}:
            parts = {name: part for name, part in message.items() if part not in (None, [], {})}
            return (
                end in good_ends
                and parts.keys() <= _MESSAGE_PARTS
                and all(isinstance(parts.get(name, ""), str) for name in _TEXTS)
                and all(map(_is_function_call, parts.get("tool_calls", ())))
                and _is_function(parts.get("function_call", _NO_FUNCTION))
                and all(map(_is_flat, parts.get("thinking_blocks", ())))
                and all(isinstance(note, dict) for note in parts.get("annotations", ()))
            )
    return False


def _is_function_call(call: Any) -> bool:
    match call:
        case {"id": str(), "type": "function", "function": function}:
            return _is_function(function)
    return False


def _is_function(function: Any) -> bool:
    match function:
        case {"name": str(), "arguments": str()}:
            return True
    return False


def _is_flat(block: Any) -> bool:
    return isinstance(block, dict) and all(isinstance(part, str) for part in block.values())


def _events(reply: JsonObject) -> Iterator[Event]:
    tier, fingerprint = reply.get("service_tier"), reply.get("system_fingerprint")
    yield Start(
        id=reply["id"],
        service_tier=tier if isinstance(tier, str) else None,
        system_fingerprint=fingerprint if isinstance(fingerprint, str) else None,
    )
    for choice in reply["choices"]:
        yield from _choice_events(choice["message"], choice)
    usage = usage_from_wire(reply["usage"])
    if usage is not None:
        yield UsageReport(usage)


def _choice_events(message: JsonObject, choice: JsonObject) -> Iterator[Event]:
    """In the order in which a model gets there: it thinks, it says, it calls."""
    index: int = choice["index"]
    reasoning = message.get("reasoning_content")
    if reasoning is None:
        reasoning = message.get("reasoning")
    if reasoning is not None:
        yield ReasoningDelta(reasoning, index)
    for number, block in enumerate(message.get("thinking_blocks") or ()):
        yield ThinkingBlockDelta(number, block, index)
    text, logprobs = message.get("content") or "", _logprobs_of(choice)
    if text or logprobs:
        yield TextDelta(text, index, logprobs)
    if message.get("refusal"):
        yield RefusalDelta(message["refusal"], index)
    for annotation in message.get("annotations") or ():
        yield Annotation(annotation, index)
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
    if message.get("function_call"):
        calls.append((None, message["function_call"]))
    for number, (call_id, function) in enumerate(calls):
        yield ToolCallDelta(number, call_id, function["name"], function["arguments"], index)
    yield Finish(choice["finish_reason"], index)


def _logprobs_of(choice: JsonObject) -> JsonObject | None:
    told = choice.get("logprobs")
    return told if isinstance(told, dict) and isinstance(told.get("content"), list) else None


def _size(event: Event) -> int:
    """About how many bytes `event` adds to a reply."""
    match event:
        case TextDelta(text=text, logprobs=logprobs):
            return len(text) + (_LOGPROBS_BYTES if logprobs else 0)
        case ReasoningDelta(text=text) | RefusalDelta(text=text):
            return len(text)
        case ToolCallDelta(arguments=arguments):
            return len(arguments) + _PART_BYTES
        case ThinkingBlockDelta(fields=fields):
            return sum(map(len, fields.values()))
        case _:
            return _PART_BYTES
