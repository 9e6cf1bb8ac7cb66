"""What a scripted model says, told once; a profile writes it on its provider's wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AnswerEnd = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; `arguments` is JSON text in the pieces a stream sends it in."""

    name: str
    arguments: tuple[str, ...] = ()
    id: str = "call_0"


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens, counted as OpenAI does: `cached` ones are part of `prompt`.

    A provider that knows no cache leaves `cached` untold.
    """

    prompt: int = 11
    completion: int = 7
    cached: int = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer; `words` and `reasoning` are the pieces a stream sends them in."""

    words: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    end: AnswerEnd = "stop"
    usage: TokenCount = TokenCount()

    @property
    def text(self) -> str:
        """All words."""
        return "".join(self.words)

    @property
    def reasoning_text(self) -> str:
        """All reasoning."""
        return "".join(self.reasoning)


HELLO = Answer(("Hello", ", ", "world"))
CUT_SHORT = Answer(("Once upon", " a time"), end="length")
UNICODE = Answer(("Grüße, ", "世界 \u2028", "👋🏽 é\u0301", ' \\"\t"'))
REASONED = Answer(("Forty-", "two"), reasoning=("Let me ", "think."))
ONE_TOOL_CALL = Answer(
    tool_calls=(ToolCall("get_weather", ('{"ci', 'ty":"Pa', 'ris"}'), "call_paris"),),
    end="tool_calls",
)
PARALLEL_TOOL_CALLS = Answer(
    ("Let me look.",),
    tool_calls=(
        ToolCall("get_weather", ('{"city":', '"Oslo"}'), "call_oslo"),
        ToolCall("get_weather", ('{"city":"Rome"}',), "call_rome"),
        ToolCall("get_time", ('{"zone"', ':"CET"}'), "call_time"),
    ),
    end="tool_calls",
)
TOOL_CALL_WITHOUT_ARGUMENTS = Answer(
    tool_calls=(ToolCall("get_news", (), "call_news"),), end="tool_calls"
)
NO_TOOL_CALL = Answer(("No ", "need", " to look."))
TEXT_AND_TOOL_CALL = Answer(
    ("I", " look."),
    tool_calls=(ToolCall("get_time", ('{"zone":"UTC"}',), "call_utc"),),
    end="tool_calls",
)
