"""Mended chunks of a relayed stream, read as events: for clients of another format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import orjson

from one_api.converter import ReplyForm
from one_api.events import (
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReport,
)
from one_api.relay.body import relay_body
from one_api.relay.stream import StreamRelay
from one_api.schemas import JsonObject

_DATA = b"data: {"


class ChunkReader:
    """Reads a provider's stream of chunks as events, mended like a relayed one.

    Call `feed` for each read, then `close` once.
    """

    def __init__(self, form: ReplyForm) -> None:
        self._relay = StreamRelay(form)
        self._has_started = False

    @property
    def usage(self) -> Usage | None:
        """The usage told so far."""
        return self._relay.usage

    @property
    def is_done(self) -> bool:
        """Whether the provider said that nothing more will come."""
        return self._relay.is_done

    @property
    def is_ending(self) -> bool:
        """Whether a choice has finished, or all is said."""
        return self._relay.is_ending

    @property
    def malformed(self) -> int:
        """How many frames were no chunks, and were left out."""
        return self._relay.malformed

    def has_finished(self, choices: int) -> bool:
        """Whether `choices` choices, and all that began, have a finish reason."""
        return self._relay.has_finished(choices)

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes.

        Raises: the provider's error when it tells one; UpstreamInvalidResponse.
        """
        yield from self._read(self._relay.feed(data))

    def close(self) -> Iterator[Event]:
        """The events still owed, the usage last.

        Raises: UpstreamDisconnected when the stream was cut, UpstreamInvalidResponse when it held
        nothing.
        """
        yield from self._read(self._relay.close())
        if self._relay.usage is not None:
            yield UsageReport(self._relay.usage)

    def _read(self, frames: bytes) -> Iterator[Event]:
        for line in frames.split(b"\n"):
            if line.startswith(_DATA):
                chunk = orjson.loads(line[len(_DATA) - 1 :])
                if not self._has_started:
                    self._has_started = True
                    yield _start(chunk)
                for choice in chunk["choices"]:
                    yield from _choice_events(choice)


def read_body(data: bytes, form: ReplyForm) -> Iterator[Event]:
    """A complete reply in OpenAI's format as events.

    Raises: the provider's error when the body tells one; UpstreamInvalidResponse.
    """
    body, usage = relay_body(data, form)
    reply = orjson.loads(body)
    yield _start(reply)
    for choice in reply["choices"]:
        calls = choice["message"].get("tool_calls") or ()
        numbered = [{**call, "index": index} for index, call in enumerate(calls)]
        yield from _choice_events(
            {**choice, "delta": {**choice["message"], "tool_calls": numbered}}
        )
    if usage is not None:
        yield UsageReport(usage)


def _start(chunk: JsonObject) -> Start:
    tier, fingerprint = chunk.get("service_tier"), chunk.get("system_fingerprint")
    return Start(
        id=chunk["id"],
        service_tier=tier if isinstance(tier, str) else None,
        system_fingerprint=fingerprint if isinstance(fingerprint, str) else None,
    )


def _choice_events(choice: JsonObject) -> Iterator[Event]:
    index: int = choice["index"]
    delta = choice["delta"]
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield ReasoningDelta(reasoning, index)
    if isinstance(delta.get("content"), str) and delta["content"]:
        logprobs = choice.get("logprobs")
        is_told = isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list)
        yield TextDelta(delta["content"], index, logprobs if is_told else None)
    if isinstance(delta.get("refusal"), str) and delta["refusal"]:
        yield RefusalDelta(delta["refusal"], index)
    for call in delta.get("tool_calls") or ():
        yield _tool_call(call, index)
    if choice["finish_reason"] is not None:
        yield Finish(_reason(choice["finish_reason"]), index)


def _tool_call(call: JsonObject, choice: int) -> ToolCallDelta:
    function: Any = call.get("function") or {}
    return ToolCallDelta(
        index=call["index"],
        id=call.get("id"),
        name=function.get("name"),
        arguments=function.get("arguments") or "",
        choice=choice,
    )


def _reason(told: str) -> FinishReason:
    known = ("stop", "length", "tool_calls", "content_filter", "function_call")
    return cast("FinishReason", told) if told in known else "stop"
