"""The event stream of a response as the gateway's events.

Items are told apart by their place in the output: some providers change an item's id from event to
event. Events that are unknown, or say again what was told in pieces, are passed over.
Source: openai (Python SDK) 3.52.0, types/responses, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from one_api.adapter import (
    Event,
    Finish,
    FinishReason,
    JsonObject,
    KeepAlive,
    ReasoningDelta,
    RefusalDelta,
    SSEDecoder,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    Usage,
    UsageReport,
)
from one_api_openai.told_errors import error_from_event

#: The last event holds the whole response, and the tools of the request besides.
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

_INCOMPLETE: Final[dict[str, FinishReason]] = {
    "content_filter": "content_filter",
    "max_output_tokens": "length",
}
#: Between paragraphs that the provider tells apart and a chat does not.
_GAP: Final = "\n\n"


@dataclass(slots=True)
class _Call:
    """A call of a function, as far as it was told."""

    index: int
    has_arguments: bool = False


class ResponseParser:
    """Reads one streamed response; nothing after its last event counts."""

    def __init__(self) -> None:
        self._decoder = SSEDecoder(MAX_EVENT_BYTES)
        self._calls: dict[int, _Call] = {}
        self._has_started = False
        #: Whether the response is complete: nothing more has to be read.
        self.is_finished = False
        #: Where the last text and the last reasoning came from.
        self._message: object = None
        self._thought: object = None
        self._readers: dict[str, Callable[[JsonObject], Iterator[Event]]] = {
            "error": self._fail,
            "keepalive": self._keep_alive,
            "response.completed": self._complete,
            "response.failed": self._fail,
            "response.function_call_arguments.delta": self._read_arguments,
            "response.function_call_arguments.done": self._read_arguments,
            "response.incomplete": self._complete,
            "response.output_item.added": self._read_item,
            "response.output_item.done": self._read_item,
            "response.output_text.delta": self._read_text,
            "response.reasoning_summary_text.delta": self._read_reasoning,
            "response.reasoning_text.delta": self._read_reasoning,
            "response.refusal.delta": self._read_refusal,
        }

    def feed(self, data: bytes) -> Iterable[Event]:
        """The events that `data` completes; it may be cut anywhere.

        Raises: the provider's error when it tells one; UpstreamInvalidResponse.
        """
        for event in self._decoder.feed(data):
            if self.is_finished:
                return
            if event.event == ":":
                yield KeepAlive()
            elif event.data and event.data != b"[DONE]":
                yield from self._read(event.data)

    def close(self) -> Iterable[Event]:
        """Nothing: a response ends in an event of its own.

        Raises: UpstreamDisconnected when it has not come.
        """
        if not self.is_finished:
            raise UpstreamDisconnected("The provider's reply ended before it was complete.")
        return ()

    def _read(self, data: bytes) -> Iterator[Event]:
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
        if not isinstance(event, dict):
            raise UpstreamInvalidResponse("The provider's stream holds what is no event.")
        kind = event.get("type")
        if not self._has_started and kind not in ("error", "keepalive", "response.failed"):
            self._has_started = True
            yield _start(event)
        reader = self._readers.get(kind) if isinstance(kind, str) else None
        if reader is not None:
            yield from reader(event)

    def _keep_alive(self, _event: JsonObject) -> Iterator[Event]:
        yield KeepAlive()

    def _read_text(self, event: JsonObject) -> Iterator[Event]:
        text, message = _text(event.get("delta")), _place(event)
        if text:
            gap = _GAP if self._message not in (None, message) else ""
            self._message = message
            yield TextDelta(gap + text)

    def _read_refusal(self, event: JsonObject) -> Iterator[Event]:
        yield RefusalDelta(_text(event.get("delta")))

    def _read_reasoning(self, event: JsonObject) -> Iterator[Event]:
        text = _text(event.get("delta"))
        part = event.get("summary_index", event.get("content_index"))
        thought = (event.get("type"), _place(event), part if isinstance(part, int) else 0)
        if text:
            gap = _GAP if self._thought not in (None, thought) else ""
            self._thought = thought
            yield ReasoningDelta(gap + text)

    def _read_item(self, event: JsonObject) -> Iterator[Event]:
        """A call that begins, or ends: some providers tell it in one piece."""
        item = event.get("item")
        if not isinstance(item, dict) or item.get("type") != "function_call":
            return
        place = _place(event)
        if place not in self._calls:
            self._calls[place] = _Call(len(self._calls))
            index, call_id, name = self._calls[place].index, item.get("call_id"), item.get("name")
            if not (isinstance(call_id, str) and isinstance(name, str)):
                raise UpstreamInvalidResponse("The provider called a function without a name.")
            yield ToolCallDelta(index, id=call_id, name=name)
        yield from self._write_arguments(place, item.get("arguments"), is_whole=True)

    def _read_arguments(self, event: JsonObject) -> Iterator[Event]:
        place = _place(event)
        if place not in self._calls:
            raise UpstreamInvalidResponse("The provider gave arguments for no call.")
        is_whole = "delta" not in event
        arguments = event.get("arguments" if is_whole else "delta")
        yield from self._write_arguments(place, arguments, is_whole=is_whole)

    def _write_arguments(self, place: int, arguments: object, *, is_whole: bool) -> Iterator[Event]:
        """More of a call's arguments; all of them count only where none were told before."""
        call, text = self._calls[place], _text(arguments)
        if text and not (is_whole and call.has_arguments):
            call.has_arguments = True
            yield ToolCallDelta(call.index, arguments=text)

    def _complete(self, event: JsonObject) -> Iterator[Event]:
        response = event.get("response")
        told: Mapping[str, Any] = response if isinstance(response, dict) else {}
        self.is_finished = True
        usage = usage_from_wire(told.get("usage"))
        if usage is not None:
            yield UsageReport(usage)
        yield Finish(self._reason(event, told))

    def _reason(self, event: JsonObject, response: Mapping[str, Any]) -> FinishReason:
        if event["type"] == "response.incomplete":
            details = response.get("incomplete_details")
            reason = details.get("reason") if isinstance(details, dict) else None
            return _INCOMPLETE.get(_text(reason), "length")
        return "tool_calls" if self._calls else "stop"

    def _fail(self, event: JsonObject) -> Iterator[Event]:
        raise error_from_event(event)


def usage_from_wire(wire: object) -> Usage | None:
    """The usage of a response; None when it holds no counts."""
    if not isinstance(wire, Mapping) or "input_tokens" not in wire:
        return None
    prompt, completion = wire.get("input_tokens_details"), wire.get("output_tokens_details")
    return Usage(
        prompt_tokens=_count(wire, "input_tokens"),
        completion_tokens=_count(wire, "output_tokens"),
        cached_tokens=_count(prompt, "cached_tokens"),
        cache_write_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
    )


def _start(event: JsonObject) -> Start:
    """The response's id as a chat's; at its start "auto" is what was asked for, not what serves."""
    response = event.get("response")
    told: Mapping[str, Any] = response if isinstance(response, dict) else {}
    response_id, tier = _text(told.get("id")), _text(told.get("service_tier"))
    return Start(
        id=f"chatcmpl-{response_id.removeprefix('resp_')}" if response_id else None,
        service_tier=tier if tier not in ("", "auto") else None,
    )


def _place(event: JsonObject) -> int:
    """Where in the output the event's item stands; 0 where that is not told."""
    place = event.get("output_index")
    return place if isinstance(place, int) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(wire: object, key: str) -> int:
    value = wire.get(key) if isinstance(wire, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
