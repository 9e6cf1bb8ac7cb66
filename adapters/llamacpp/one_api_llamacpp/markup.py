"""Finds reasoning and tool calls in the text a model writes, while it writes it.

`<think>…</think>` at the beginning is reasoning; `<tool_call>{"name", "arguments"}</tool_call>`
(Hermes and Qwen) is a call. Text that may turn out to be a marker is held back until it is clear.
"""

from __future__ import annotations

import json
import secrets
from enum import Enum, auto
from typing import Any, Final

from one_api.adapter import Event, ReasoningDelta, TextDelta, ToolCallDelta

THINK_BEGIN: Final = "<think>"
THINK_END: Final = "</think>"
CALL_BEGIN: Final = "<tool_call>"
CALL_END: Final = "</tool_call>"
#: Some vocabularies make these control tokens; their text is needed all the same.
MARKERS: Final = (THINK_BEGIN, THINK_END, CALL_BEGIN, CALL_END)


class _Place(Enum):
    BEGINNING = auto()
    REASONING = auto()
    TEXT = auto()
    CALL = auto()


class MarkupParser:
    """Turns one answer's text, in pieces of any size, into deltas.

    What looks like a call but holds no JSON of that shape is passed on as the text it is. White
    space around reasoning and calls is layout and is left out.
    """

    def __init__(self, *, parses_tools: bool, opens_reasoning: bool) -> None:
        self._parses_tools = parses_tools
        self._place = _Place.REASONING if opens_reasoning else _Place.BEGINNING
        self._skips_space = opens_reasoning
        self._buffer = ""
        self._gap = ""
        #: Calls found so far.
        self.calls = 0

    @property
    def in_reasoning(self) -> bool:
        """Whether the next text is reasoning."""
        return self._place is _Place.REASONING

    def feed(self, text: str) -> list[Event]:
        """The deltas that `text` makes certain."""
        self._buffer += text
        return self._advance(ended=False)

    def close(self) -> list[Event]:
        """The deltas of what was held back when the answer ended."""
        return self._advance(ended=True)

    def _advance(self, *, ended: bool) -> list[Event]:
        events: list[Event] = []
        step = {
            _Place.BEGINNING: self._begin,
            _Place.REASONING: self._reason,
            _Place.TEXT: self._write,
            _Place.CALL: self._call,
        }
        while step[self._place](events, ended):
            pass
        return events

    # Each step works on the buffer and says whether it came to another place.

    def _begin(self, events: list[Event], ended: bool) -> bool:
        text = self._buffer.lstrip()
        if text.startswith(THINK_BEGIN):
            self._buffer = text[len(THINK_BEGIN) :]
            self._place, self._skips_space = _Place.REASONING, True
            return True
        if THINK_BEGIN.startswith(text) and not ended:
            return False
        self._place = _Place.TEXT
        return True

    def _reason(self, events: list[Event], ended: bool) -> bool:
        before, found, self._buffer = _cut(self._buffer, THINK_END, ended)
        if before := self._without_layout(before):
            events.append(ReasoningDelta(before))
        if found:
            self._place, self._skips_space = _Place.TEXT, True
        return found

    def _write(self, events: list[Event], ended: bool) -> bool:
        if not self._parses_tools:
            self._emit(events, self._buffer)
            self._buffer = ""
            return False
        before, found, rest = _cut(self._buffer, CALL_BEGIN, ended)
        text = before if ended and not found else before.rstrip()
        self._emit(events, text)
        gap = before[len(text) :]
        if found:
            self._gap, self._buffer, self._place = gap, rest, _Place.CALL
        else:
            self._buffer = gap + rest
        return found

    def _call(self, events: list[Event], ended: bool) -> bool:
        body, closed, rest = self._buffer.partition(CALL_END)
        if not closed and not ended:
            return False
        self._buffer, self._place = rest, _Place.TEXT
        function = _function_in(body)
        if function is None:
            self._emit(events, f"{self._gap}{CALL_BEGIN}{body}{closed}")
            return True
        name, arguments = function
        events.append(
            ToolCallDelta(
                index=self.calls, id=f"call_{secrets.token_hex(12)}", name=name, arguments=arguments
            )
        )
        self.calls += 1
        self._skips_space = True
        return True

    def _emit(self, events: list[Event], text: str) -> None:
        if text := self._without_layout(text):
            events.append(TextDelta(text))

    def _without_layout(self, text: str) -> str:
        if self._skips_space:
            text = text.lstrip()
            self._skips_space = not text
        return text


def _cut(text: str, marker: str, ended: bool) -> tuple[str, bool, str]:
    """`text` before `marker`, whether it is there, and what must wait or comes after it."""
    before, found, after = text.partition(marker)
    if found:
        return before, True, after
    held = 0 if ended else _overlap(text, marker)
    at = len(text) - held
    return text[:at], False, text[at:]


def _overlap(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `marker`."""
    sizes = range(min(len(text), len(marker) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(marker[:size])), 0)


def _function_in(body: str) -> tuple[str, str] | None:
    """Name and arguments (JSON text) of the call written in `body`, None when there is none."""
    try:
        call: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        return None
    arguments = call.get("arguments", call.get("parameters"))
    if isinstance(arguments, str):
        return name, arguments
    return name, json.dumps({} if arguments is None else arguments, ensure_ascii=False)
