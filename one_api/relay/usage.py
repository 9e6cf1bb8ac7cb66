"""The usage that a reply tells which is passed on as it is: found, without reading the rest.

Only the usage of the reply itself counts: a model can be brought to say anything, also in the
arguments of a call, and a provider quotes the tools of the request.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from one_api.events import Usage
from one_api.schemas import JsonObject

#: The longest JSON value that is read from its beginning, and how much is kept of the end of a
#: longer one: whoever sends so much (vectors, pictures) tells the usage last.
_WHOLE_BYTES, _TAIL_BYTES = 65_536, 16_384
#: The beginning of a usage. In the text of a string the quotes would be escaped.
_USAGE = re.compile(rb'"usage"(?<!\\"usage")\s*:\s*(?=\{)')
#: A bracket, or a string, of which the last may be cut: it would be looked through quote by quote.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]]', re.DOTALL)
#: The events of streams that hold a message or a response, and with it its usage.
_ENVELOPES = ("message", "response")


class UsageScan:
    """Reads a reply as it passes, and keeps of it one event, or the end of what is longer."""

    def __init__(self) -> None:
        self._part = bytearray()
        self._is_cut = False
        self._is_stream: bool | None = None
        self._told: JsonObject = {}

    def feed(self, data: bytes) -> None:
        """More of the reply."""
        part = self._part
        part += data
        if self._is_stream is None:
            begun = bytes(part.lstrip()[:1])
            if not begun:
                return
            self._is_stream = begun not in (b"{", b"[")
        if self._is_stream and (b"\n" in data or b"\r" in data):
            end = max(part.rfind(b"\n"), part.rfind(b"\r")) + 1
            lines = bytes(part[:end])
            del part[:end]
            self._read(lines)
        if len(part) > _WHOLE_BYTES:
            del part[:-_TAIL_BYTES]
            self._is_cut = True

    def usage(self) -> Usage | None:
        """What the reply told so far, None when it told nothing that is understood.

        A stream of Anthropic's tells its input at the beginning and its output at the end.
        """
        part = bytes(self._part)
        self._part.clear()
        self._read(part)
        return _usage(self._told) if self._told else None

    def _read(self, data: bytes) -> None:
        """Read complete lines, or a whole body."""
        is_cut, self._is_cut = self._is_cut, False
        if _USAGE.search(data) is None:
            return
        parts = data.splitlines() if self._is_stream else [data]
        for number, part in enumerate(parts):
            if _USAGE.search(part) is None:
                continue
            cut = is_cut and not number
            found = _of_end(part, 2 if self._is_stream else 1) if cut else _of_whole(part)
            if isinstance(found, dict):
                # Only Anthropic tells in parts; null is what it has not counted yet.
                self._told.update({k: v for k, v in found.items() if v is not None})


def _of_whole(part: bytes) -> Any:
    """The usage in a body, or in a line of a stream; an unfinished one tells nothing."""
    value = _decoded(part.removeprefix(b"data:"))
    if not isinstance(value, dict):
        return None
    holders = [value, *(value.get(name) for name in _ENVELOPES)]
    told = [holder.get("usage") for holder in holders if isinstance(holder, dict)]
    return next((usage for usage in told if isinstance(usage, dict)), None)


def _of_end(part: bytes, most_levels: int) -> Any:
    """The usage in the end of a body or line, if it stands at most `most_levels` deep there.

    How deep is told by what is closed after it: whatever comes before may be deeper.
    """
    starts = {match.end() for match in _USAGE.finditer(part)}
    open_at: dict[int, int] = {}
    found: list[tuple[int, slice]] = []
    depth = 0
    # The first one is outside of strings, so that all that follows is told apart from texts.
    for token in _TOKEN.finditer(part, min(starts)):
        match token[0]:
            case b"{" | b"[":
                if token.start() in starts:
                    open_at[depth] = token.start()
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if depth in open_at:
                    found.append((depth, slice(open_at.pop(depth), token.end())))
    for level, place in reversed(found):
        if 1 <= level - depth <= most_levels:
            return _decoded(part[place])
    return None


def _decoded(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _usage(told: JsonObject) -> Usage | None:
    completion = _count(told, "completion_tokens", "output_tokens")
    cached = _count(told, "cache_read_input_tokens")
    written = _count(told, "cache_creation_input_tokens")
    prompt = _count(told, "prompt_tokens")
    if not prompt:
        # Where the cache is counted apart, it is not part of the input.
        prompt = _count(told, "input_tokens") + cached + written
    if not prompt and not completion:
        return None
    input_details = _details(told, "prompt_tokens_details", "input_tokens_details")
    output_details = _details(told, "completion_tokens_details", "output_tokens_details")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=(
            cached
            or _count(input_details, "cached_tokens")
            or _count(told, "prompt_cache_hit_tokens")
        ),
        cache_write_tokens=written or _count(input_details, "cache_write_tokens"),
        cache_write_1h_tokens=_count(_details(told, "cache_creation"), "ephemeral_1h_input_tokens"),
        reasoning_tokens=_count(output_details, "reasoning_tokens", "thinking_tokens"),
    )


def _details(told: JsonObject, *names: str) -> JsonObject:
    found: Any = next((told[name] for name in names if isinstance(told.get(name), dict)), {})
    return dict(found)


def _count(told: JsonObject, *names: str) -> int:
    for name in names:
        value = told.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
