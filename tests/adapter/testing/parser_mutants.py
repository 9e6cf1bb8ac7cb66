"""Adapters whose reading of replies breaks one law each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import ClassVar, Final

from typing_extensions import override

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Event,
    Finish,
    JsonObject,
    ReasoningDelta,
    ReplyParser,
    Start,
    TextDelta,
    ToolCallDelta,
    UpstreamInvalidResponse,
    Usage,
    UsageReport,
)
from tests.adapter.testing.plain_adapter import PlainAdapter, PlainParser


class Reading(PlainParser):
    """A parser that knows the request it reads the reply to, and bends each event."""

    def __init__(self, request: ChatCompletionRequest, media_type: str) -> None:
        super().__init__()
        self.request = request
        self.media_type = media_type

    @override
    def read(self, told: JsonObject) -> Iterator[Event]:
        for event in super().read(told):
            yield from self.bend(event)

    def bend(self, event: Event) -> Iterator[Event]:
        yield event


class WithoutStart(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if not isinstance(event, Start):
            yield event


class WithStrangers(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        yield event
        yield "a string"  # type: ignore[misc]  # what no adapter may yield


class FinishingTwice(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        yield event
        if isinstance(event, Finish):
            yield event


class BendingText(Reading):
    """Replaces `before` by `after` in the answer's text."""

    before: ClassVar[str]
    after: ClassVar[str]

    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if isinstance(event, TextDelta):
            event = replace(event, text=event.text.replace(self.before, self.after))
        yield event


class Misspelling(BendingText):
    before, after = "world", "World"


class ChangingLineEnds(BendingText):
    before, after = "\u2028", "\n"


class Buffering(Reading):
    _held = ""

    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if isinstance(event, TextDelta):
            self._held += event.text
            return
        if isinstance(event, UsageReport) and self._held:
            yield TextDelta(self._held)
        yield event


class TalkativeWhenWhole(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if isinstance(event, UsageReport) and not self.request.wants_stream:
            yield TextDelta(" (in one piece)")
        yield event


class NeverCutShort(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        is_short = isinstance(event, Finish) and event.reason == "length"
        yield Finish("stop") if is_short else event


class ThinkingInTheAnswer(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        yield TextDelta(event.text) if isinstance(event, ReasoningDelta) else event


class CountingTwice(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        yield event
        if isinstance(event, UsageReport):
            yield event


class Miscounting(Reading):
    @override
    def usage(self, told: JsonObject) -> Usage:
        return replace(super().usage(told), cached_tokens=told["in"] + 1)


class KeepingMoreThanIsWritten(Reading):
    @override
    def usage(self, told: JsonObject) -> Usage:
        return replace(super().usage(told), cache_write_tokens=1, cache_write_1h_tokens=2)


class KeepingLessThanNothing(Reading):
    @override
    def usage(self, told: JsonObject) -> Usage:
        return replace(super().usage(told), cache_write_1h_tokens=-1)


class CallingWithoutCall(Reading):
    @override
    def bend(self, event: Event) -> Iterator[Event]:
        is_plain = isinstance(event, Finish) and event.reason == "stop"
        yield Finish("tool_calls") if is_plain and self.request.tools else event


class LosingThirdPieces(Reading):
    _pieces = 0

    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if isinstance(event, ToolCallDelta):
            self._pieces = 0 if event.name else self._pieces + 1
        if self._pieces < 3:
            yield event


class CountingToTwo(Reading):
    """Knows two calls at most."""

    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if isinstance(event, ToolCallDelta):
            event = replace(event, index=min(event.index, 1))
        yield event


class ArgumentsOutOfNothing(Reading):
    _has_arguments = True

    @override
    def bend(self, event: Event) -> Iterator[Event]:
        if isinstance(event, ToolCallDelta):
            self._has_arguments = bool(event.arguments)
        elif isinstance(event, UsageReport) and not self._has_arguments:
            yield ToolCallDelta(self.calls - 1, arguments='{"a": null}')
        yield event


class DecodingTooEarly(Reading):
    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        return super().feed(data.decode("utf-8", "replace").encode())


class ContentWithAnEarlyEnd(Reading):
    @override
    def close(self) -> Iterable[Event]:
        return () if self.has_ended else (Finish("stop"),)


class ReadingHTML(Reading):
    @override
    def feed(self, data: bytes) -> Iterable[Event]:
        if self.media_type.startswith("text/html"):
            self.has_ended = True
            return (Start(), TextDelta(data.decode()), Finish("stop"))
        return super().feed(data)


class SkippingBrokenLines(Reading):
    @override
    def decode(self, line: bytes) -> JsonObject:
        try:
            return super().decode(line)
        except UpstreamInvalidResponse:
            if not line.startswith(b"{"):
                raise
            return {}


#: The law that each of them breaks.
PARSERS: Final[Mapping[str, type[Reading]]] = {
    "events-typed": WithStrangers,
    "start-first": WithoutStart,
    "finish-once": FinishingTwice,
    "text-whole": Misspelling,
    "streams": Buffering,
    "fold-equals-stream": TalkativeWhenWhole,
    "length-told": NeverCutShort,
    "reasoning-apart": ThinkingInTheAnswer,
    "usage-once": CountingTwice,
    "usage-sane": Miscounting,
    "tools-none": CallingWithoutCall,
    "tools-one": LosingThirdPieces,
    "tools-parallel": CountingToTwo,
    "tools-no-arguments": ArgumentsOutOfNothing,
    "unicode-splits": DecodingTooEarly,
    "unicode-text": ChangingLineEnds,
    "stream-short": ContentWithAnEarlyEnd,
    "html-reply": ReadingHTML,
    "broken-reply": SkippingBrokenLines,
}


def reading_with(parser: type[Reading]) -> type[PlainAdapter]:
    """An adapter that reads replies so."""

    class Reader(PlainAdapter):
        @override
        def from_wire(
            self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
        ) -> ReplyParser:
            return parser(request, headers.get("content-type", ""))

    return Reader
