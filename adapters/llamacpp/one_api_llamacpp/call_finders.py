"""Finds calls in the text of an answer, each notation in its own way.

A call is passed on when it is complete, so that what turns out to be none can still be told as the
text it is.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Final, NoReturn, Protocol

from typing_extensions import override

from one_api_llamacpp.tool_formats import (
    HERMES_BEGIN,
    HERMES_END,
    LLAMA_BEGIN,
    MISTRAL_ARGUMENTS,
    MISTRAL_BEGIN,
    MISTRAL_ID,
    ToolFormat,
    ToolUse,
)
from one_api_llamacpp.written import FunctionCall, TextBuffer, Written

Item = Written | FunctionCall


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


#: Python's also reads `NaN` and `Infinity`, which nobody else does.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
_MISTRAL_HEAD: Final = re.compile(
    rf"\s*([^\[\]{{}}\s]+)(?:{re.escape(MISTRAL_ID)}\w*)?{re.escape(MISTRAL_ARGUMENTS)}\s*"
)
#: How a Llama begins a call, white space left out.
_LLAMA_OPENINGS: Final = ('{"name":', '{"type":"function",', '{"function":')


class CallFinder(Protocol):
    """Takes out of a buffer what is certain: text and calls, in their order."""

    def find(self, buffer: TextBuffer, ended: bool) -> Iterator[Item]:
        """What `buffer` begins with; all of it once the answer has `ended`."""


def finder_for(tools: ToolUse | None) -> CallFinder:
    """A finder for one answer; without tools all is text."""
    if tools is None:
        return _NoCalls()
    if tools.format is ToolFormat.LLAMA:
        return _LlamaCalls(tools.names)
    return _HermesCalls() if tools.format is ToolFormat.HERMES else _MistralCalls()


class _NoCalls(CallFinder):
    @override
    def find(self, buffer: TextBuffer, ended: bool) -> Iterator[Item]:
        yield from buffer.take(len(buffer.text))


class _MarkedCalls(CallFinder):
    """Calls that begin with a marker, wherever in the text that stands."""

    marker: str

    @override
    def find(self, buffer: TextBuffer, ended: bool) -> Iterator[Item]:
        while True:
            at = buffer.text.find(self.marker)
            certain = at if at >= 0 else buffer.certain(self.marker, ended)
            # The space before a call is layout; before anything else it is text.
            before = certain if at < 0 and ended else len(buffer.text[:certain].rstrip())
            read = self._read(buffer.text, at + len(self.marker), ended) if at >= 0 else None
            if read is None:
                yield from buffer.take(before)
                return
            calls, end = read
            yield from buffer.take(before if calls else end)
            if calls:
                buffer.drop(end - before)
                buffer.skip_space()
                yield from calls

    @abstractmethod
    def _read(self, text: str, at: int, ended: bool) -> tuple[list[FunctionCall], int] | None:
        """The calls whose marker ends at `at`, and where they end; None when more must come.

        No calls when there are none: then the text up to there is only text.
        """


class _HermesCalls(_MarkedCalls):
    marker = HERMES_BEGIN

    @override
    def _read(self, text: str, at: int, ended: bool) -> tuple[list[FunctionCall], int] | None:
        end = text.find(HERMES_END, at)
        if end < 0 and not ended:
            return None
        body, after = (text[at:end], end + len(HERMES_END)) if end >= 0 else (text[at:], len(text))
        try:
            call = _call_in(_DECODER.decode(body))
        except (ValueError, RecursionError):
            call = None
        return ([call] if call else []), after


class _MistralCalls(_MarkedCalls):
    marker = MISTRAL_BEGIN

    @override
    def _read(self, text: str, at: int, ended: bool) -> tuple[list[FunctionCall], int] | None:
        head = _MISTRAL_HEAD.match(text, at)
        start = head.end() if head else at
        value, end = _value_in(text, start, ended)
        if value is None and not ended:
            return None
        if head:
            calls = [_named(head[1], value)] if isinstance(value, dict) else []
        else:
            found = [_call_in(item) for item in (value if isinstance(value, list) else [value])]
            calls = [call for call in found if call]
            calls = calls if len(calls) == len(found) else []
        return calls, end if calls else len(text)


class _LlamaCalls(CallFinder):
    """Calls are the whole answer: what begins otherwise is text to its end."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._is_text = False

    @override
    def find(self, buffer: TextBuffer, ended: bool) -> Iterator[Item]:
        while not self._is_text:
            text = buffer.text
            start = len(text) - len(text.lstrip("; \n\t"))
            is_marked = text.startswith(LLAMA_BEGIN, start)
            start += len(LLAMA_BEGIN) if is_marked else 0
            if not (ended or is_marked or _may_be_call(text[start:])):
                break
            value, end = _value_in(text, start, ended)
            if value is None and not ended:
                return
            call = _call_in(value)
            if call is None or not (is_marked or call.name in self._names):
                break
            buffer.drop(end)
            buffer.skip_space()
            yield call
        self._is_text = bool(buffer.text)
        yield from buffer.take(len(buffer.text))


def _may_be_call(text: str) -> bool:
    """Whether `text`, at the beginning of an answer, is how a Llama begins a call, if not all."""
    if LLAMA_BEGIN.startswith(text):
        return True
    squeezed = "".join(text.split())
    return any(
        opening.startswith(squeezed) or squeezed.startswith(opening) for opening in _LLAMA_OPENINGS
    )


def _value_in(text: str, at: int, ended: bool) -> tuple[Any, int]:
    """The JSON value at `at` and where it ends; None while there is no whole one."""
    # To decode at every token would take time that grows with the square of the length.
    if not ended and not text.rstrip().endswith(("]", "}")):
        return None, at
    try:
        return _DECODER.raw_decode(text, len(text) - len(text[at:].lstrip()))
    except (ValueError, RecursionError):
        return None, at


def _call_in(value: Any) -> FunctionCall | None:
    """The call that `value` stands for, None when it is something else."""
    if not isinstance(value, dict):
        return None
    function = value.get("function")
    if isinstance(function, dict):
        value = function
    name = value.get("name", function)
    if not isinstance(name, str) or not name:
        return None
    return _named(name, value.get("arguments", value.get("parameters")))


def _named(name: str, arguments: Any) -> FunctionCall:
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    return FunctionCall(_encodable(name), _encodable(arguments))


def _encodable(text: str) -> str:
    """`text` without halves of surrogate pairs, which a model may have written as escapes."""
    return text.encode("utf-8", "replace").decode()
