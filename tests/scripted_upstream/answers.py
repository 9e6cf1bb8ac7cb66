"""What a scripted model says, told once and rendered on every wire.

The truth that tests compare with: independent of the gateway's own types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; `arguments` is JSON text in the pieces a stream sends it in."""

    name: str
    arguments: tuple[str, ...] = ()
    id: str = "call_0"


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens, counted as OpenAI does: details are part of the totals."""

    prompt: int = 11
    completion: int = 7
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    #: Of those of `cache_write`; only Anthropic tells them.
    cache_write_1h: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer; `words` and `reasoning` are the pieces a stream sends them in.

    `usage` None means that the provider does not tell. `finish_reason` None means "tool_calls"
    when there are calls, else "stop".
    """

    words: tuple[str, ...] = ("Hello", ", ", "world")
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    usage: TokenCount | None = TokenCount()
    model: str = "scripted-model"

    @property
    def text(self) -> str:
        """All words."""
        return "".join(self.words)

    @property
    def reasoning_text(self) -> str:
        """All reasoning."""
        return "".join(self.reasoning)

    @property
    def reason(self) -> FinishReason:
        """Why the answer ends."""
        if self.finish_reason is not None:
            return self.finish_reason
        return "tool_calls" if self.tool_calls else "stop"


HELLO = Answer()
ONE_TOOL_CALL = Answer(
    words=(),
    tool_calls=(ToolCall("get_weather", ('{"ci', 'ty":"Paris"}'), "call_paris"),),
)
PARALLEL_TOOL_CALLS = Answer(
    words=("Let me look.",),
    tool_calls=(
        ToolCall("get_weather", ('{"city":', '"Paris"}'), "call_paris"),
        ToolCall("get_time", ('{"zone":"CET"}',), "call_time"),
    ),
)
TOOL_CALL_WITHOUT_ARGUMENTS = Answer(words=(), tool_calls=(ToolCall("ping", (), "call_ping"),))
REASONED = Answer(reasoning=("Let me ", "think."), usage=TokenCount(reasoning=3))
