"""Turns the tokens of one answer into events: characters, stop sequences, markup, usage."""

from __future__ import annotations

import codecs

from one_api.adapter import (
    Event,
    Finish,
    FinishReason,
    StopScanner,
    TextDelta,
    Usage,
    UsageReport,
)
from one_api_llamacpp.markup import MarkupParser
from one_api_llamacpp.prompt import Prompt


class Reply:
    """One answer as it grows. Every token sampled counts, the one that ends the turn included."""

    def __init__(self, prompt: Prompt, *, cached_tokens: int) -> None:
        self._prompt = prompt
        self._cached_tokens = cached_tokens
        # A character may be spread over several tokens: only whole ones come out of a decoder.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = StopScanner(prompt.stops)
        self._markup = MarkupParser(
            parses_tools=prompt.parses_tools, opens_reasoning=prompt.opens_reasoning
        )
        self._tokens = 0
        self._reasoning_tokens = 0
        #: Whether the events returned last were the final ones.
        self.finished = False

    def take(self, piece: bytes) -> list[Event]:
        """The events that one more token, adding `piece`, makes certain."""
        self._tokens += 1
        was_reasoning = self._markup.in_reasoning
        events = self._read(self._stops.feed(self._decoder.decode(piece)))
        if was_reasoning or self._markup.in_reasoning:
            self._reasoning_tokens += 1
        if self._stops.matched is not None:
            return events + self._finish("stop")
        if self._tokens >= self._prompt.limit:
            # A character that the limit cut in two is left out, not shown as U+FFFD.
            return events + self._finish("length", self._stops.close())
        return events

    def end_turn(self) -> list[Event]:
        """The last events, after the token that says the answer is complete."""
        self._tokens += 1
        rest = self._stops.feed(self._decoder.decode(b"", final=True)) + self._stops.close()
        return self._finish("stop", rest)

    def _read(self, text: str) -> list[Event]:
        if self._prompt.is_raw:
            return [TextDelta(text)] if text else []
        return self._markup.feed(text)

    def _finish(self, reason: FinishReason, rest: str = "") -> list[Event]:
        self.finished = True
        events = self._read(rest) + self._markup.close()
        if reason == "stop" and self._markup.calls:
            reason = "tool_calls"
        usage = Usage(
            prompt_tokens=len(self._prompt.tokens),
            completion_tokens=self._tokens,
            cached_tokens=self._cached_tokens,
            reasoning_tokens=self._reasoning_tokens,
        )
        # After calls it is they that matter.
        sequence = self._stops.matched if reason == "stop" else None
        return [*events, Finish(reason, stop_sequence=sequence), UsageReport(usage)]
