"""Turns the tokens of one answer into events: characters, stop sequences, markup, usage."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from one_api.adapter import (
    Event,
    Finish,
    FinishReason,
    StopScanner,
    TextDelta,
    Usage,
    UsageReport,
)
from one_api_llamacpp.logprobs import TokenLedger, chat_logprobs, completion_logprobs
from one_api_llamacpp.markup import Found, MarkupParser
from one_api_llamacpp.prompt import Prompt
from one_api_llamacpp.sampling import TokenLogprobs
from one_api_llamacpp.written import Written


class Reply:
    """One answer as it grows. Every token sampled counts, the one that ends the turn included."""

    def __init__(self, prompt: Prompt, *, cached_tokens: int) -> None:
        self._prompt = prompt
        self._cached_tokens = cached_tokens
        # A character may be spread over several tokens: only whole ones come out of a decoder.
        # Bytes that are no character are left out.
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._stops = StopScanner(prompt.stops)
        self._markup = MarkupParser(prompt.tools, opens_reasoning=prompt.opens_reasoning)
        self._ledger = TokenLedger()
        self._tokens = 0
        self._reasoning_tokens = 0
        self._decoded = 0
        self._passed = 0
        self._owed: list[Event] = [TextDelta(prompt.echo)] if prompt.echo else []
        #: Whether the events returned last were the final ones.
        self.finished = False

    def take(self, piece: bytes, logprobs: TokenLogprobs | None = None) -> list[Event]:
        """The events that one more token, adding `piece`, makes certain."""
        self._tokens += 1
        was_reasoning = self._markup.in_reasoning
        events, self._owed = self._owed, []
        events += self._read(self._stops.feed(self._decode(piece, logprobs)))
        if was_reasoning or self._markup.in_reasoning:
            self._reasoning_tokens += 1
        if self._stops.matched is not None or self._markup.is_done:
            return events + self._finish("stop")
        if self._tokens >= self._prompt.limit:
            # A character that the limit cut in two is left out.
            return events + self._finish("length", self._stops.close())
        return events

    def end_turn(self) -> list[Event]:
        """The last events, after the token that says the answer is complete."""
        self._tokens += 1
        return self._finish("stop", self._stops.close())

    def _decode(self, piece: bytes, logprobs: TokenLogprobs | None) -> str:
        text = self._decoder.decode(piece)
        start, self._decoded = self._decoded, self._decoded + len(text)
        if logprobs is not None:
            waiting, _ = self._decoder.getstate()
            self._ledger.add(logprobs, start, self._decoded, is_fragment=bool(waiting))
        return text

    def _read(self, text: str) -> list[Event]:
        if not self._prompt.is_raw:
            return self._told(self._markup.feed(text))
        start, self._passed = self._passed, self._passed + len(text)
        return self._told([Written(text, start)] if text else [])

    def _told(self, found: Sequence[Found]) -> list[Event]:
        return [self._delta(item) if isinstance(item, Written) else item for item in found]

    def _delta(self, written: Written) -> TextDelta:
        if self._prompt.sampling.logprobs is None:
            return TextDelta(written.text)
        tokens = self._ledger.take(written.start, written.start + len(written.text))
        told = (
            completion_logprobs(tokens, len(self._prompt.echo) + written.start)
            if self._prompt.is_raw
            else chat_logprobs(tokens)
        )
        return TextDelta(written.text, logprobs=told)

    def _finish(self, reason: FinishReason, rest: str = "") -> list[Event]:
        self.finished = True
        events = self._owed + self._read(rest) + self._told(self._markup.close())
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
