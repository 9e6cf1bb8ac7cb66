"""What an adapter yields while a model answers: small typed values, in the order they happen.

A reply is `Start`, then deltas in any number and order, then one `Finish` per choice, and at most
one `UsageReport` (the last one counts). An adapter whose provider already speaks OpenAI's format
yields `Relay` events instead, and nothing else.

`choice` is the index of the choice a delta belongs to, counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply, counted as OpenAI does: details are subsets of the totals.

    `cached_tokens` and `cache_write_tokens` are part of `prompt_tokens`, and of the latter those
    that stay for an hour are `cache_write_1h_tokens`; `reasoning_tokens` is part of
    `completion_tokens`. `estimated` says that the numbers are ours, not the provider's.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    prompt_audio_tokens: int = 0
    completion_audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    estimated: bool = False
    cache_write_1h_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Start:
    """The model accepted the request and begins to answer; not yet content."""

    id: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer's text; `logprobs` in OpenAI's shape when they were asked for."""

    text: str
    choice: int = 0
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of the text the model thinks aloud before it answers."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ThinkingBlockDelta:
    """Part of a provider's signed reasoning block, kept so that a client can send it back.

    `index` counts the blocks of a choice from 0. String fields of later parts are appended to
    those of earlier ones, except `type`, which comes once.
    """

    index: int
    fields: Mapping[str, str]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More of the text with which the model declines."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """Part of one tool call.

    `index` counts a choice's calls from 0 in order of first appearance. The first part of a call
    carries `id` and `name`; later parts carry only more of `arguments` (JSON text).
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Annotation:
    """One citation of the answer's text, in OpenAI's `annotations` shape."""

    annotation: Mapping[str, Any]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice is complete; `stop_sequence` ended it, where that is known."""

    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The provider's count of tokens so far; the last report of a reply is the truth."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The provider said it is still there; never content."""


@dataclass(frozen=True, slots=True)
class Relay:
    """Bytes that arrived in OpenAI's own format and may leave as they are.

    Of the SSE stream when the request asked for one, cut anywhere; else of the JSON body.
    """

    data: bytes


Event = (
    Start
    | TextDelta
    | ReasoningDelta
    | ThinkingBlockDelta
    | RefusalDelta
    | ToolCallDelta
    | Annotation
    | Finish
    | UsageReport
    | KeepAlive
    | Relay
)

#: Events that commit a stream: once one was sent on, no other deployment may be asked.
CONTENT_EVENTS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta, Finish)
