"""Finds reasoning and tool calls in the text a model writes, while it writes it.

`<think>…</think>` at the beginning is reasoning; what a call looks like depends on the model.
Text that may turn out to be a marker is held back until it is clear.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from one_api.adapter import ReasoningDelta, ToolCallDelta
from one_api_llamacpp import tool_formats
from one_api_llamacpp.call_finders import finder_for
from one_api_llamacpp.tool_formats import ToolFormat, ToolUse
from one_api_llamacpp.written import FunctionCall, TextBuffer, Written

THINK_BEGIN: Final = "<think>"
THINK_END: Final = "</think>"
#: Some vocabularies make these control tokens; their text is needed all the same.
MARKERS: Final = (THINK_BEGIN, THINK_END, *tool_formats.MARKERS)

Found = Written | ReasoningDelta | ToolCallDelta


class _Place(Enum):
    BEGINNING = auto()
    REASONING = auto()
    ANSWER = auto()


class MarkupParser:
    """Turns one answer's text, in pieces of any size, into reasoning, calls, and the text between.

    What looks like a call but is none is passed on as the text it is. White space around reasoning
    and calls is layout and is left out.
    """

    def __init__(self, tools: ToolUse | None, *, opens_reasoning: bool) -> None:
        self._tools = tools
        self._finder = finder_for(tools)
        self._format = tools.format if tools is not None else ToolFormat.HERMES
        self._place = _Place.REASONING if opens_reasoning else _Place.BEGINNING
        self._buffer = TextBuffer()
        if opens_reasoning:
            self._buffer.skip_space()
        #: Calls found so far.
        self.calls = 0

    @property
    def in_reasoning(self) -> bool:
        """Whether the next text is reasoning."""
        return self._place is _Place.REASONING

    @property
    def is_done(self) -> bool:
        """Whether the answer has the one call that it may have."""
        return self._tools is not None and self._tools.is_single and self.calls > 0

    def feed(self, text: str) -> list[Found]:
        """What `text` makes certain."""
        self._buffer.add(text)
        return self._advance(ended=False)

    def close(self) -> list[Found]:
        """What was held back when the answer ended."""
        return self._advance(ended=True)

    def _advance(self, *, ended: bool) -> list[Found]:
        found: list[Found] = []
        if self._place is _Place.BEGINNING:
            self._begin(ended)
        if self._place is _Place.REASONING:
            found += self._reason(ended)
        if self._place is _Place.ANSWER:
            for item in self._finder.find(self._buffer, ended):
                if self.is_done:
                    break
                found.append(self._call(item) if isinstance(item, FunctionCall) else item)
        return found

    def _begin(self, ended: bool) -> None:
        text = self._buffer.text.lstrip()
        if text.startswith(THINK_BEGIN):
            self._buffer.drop(len(self._buffer.text) - len(text) + len(THINK_BEGIN))
            self._buffer.skip_space()
            self._place = _Place.REASONING
        elif ended or not THINK_BEGIN.startswith(text):
            self._place = _Place.ANSWER

    def _reason(self, ended: bool) -> list[ReasoningDelta]:
        at = self._buffer.text.find(THINK_END)
        written = self._buffer.take(at if at >= 0 else self._buffer.certain(THINK_END, ended))
        if at >= 0:
            self._buffer.drop(len(THINK_END))
            self._buffer.skip_space()
            self._place = _Place.ANSWER
        return [ReasoningDelta(item.text) for item in written]

    def _call(self, call: FunctionCall) -> ToolCallDelta:
        index, self.calls = self.calls, self.calls + 1
        return ToolCallDelta(
            index=index, id=self._format.new_id(), name=call.name, arguments=call.arguments
        )
