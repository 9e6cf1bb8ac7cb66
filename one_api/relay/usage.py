"""The usage that a reply tells which is passed on as it is: found, without reading the rest."""

from __future__ import annotations

import re
from typing import Any

import orjson

from one_api.events import Usage
from one_api.schemas import JsonObject

#: How much of a reply's beginning and end is looked at.
_HEAD_BYTES, _TAIL_BYTES = 8_192, 16_384
_USAGE = re.compile(rb'"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')


class UsageScan:
    """Keeps the two ends of a reply's bytes, where providers tell its usage."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()

    def feed(self, data: bytes) -> None:
        """More of the reply."""
        room = _HEAD_BYTES - len(self._head)
        if room > 0:
            self._head += data[:room]
        self._tail += data[-_TAIL_BYTES:]
        if len(self._tail) > 2 * _TAIL_BYTES:
            del self._tail[:-_TAIL_BYTES]

    def usage(self) -> Usage | None:
        """What the reply told, None when it told nothing that is understood.

        A stream of Anthropic's tells its input at the beginning and its output at the end.
        """
        told: JsonObject = {}
        for part in (bytes(self._head), bytes(self._tail[-_TAIL_BYTES:])):
            for match in _USAGE.finditer(part):
                told.update(_counts(match[1]))
        return _usage(told) if told else None


def _counts(data: bytes) -> JsonObject:
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return {key: value for key, value in decoded.items() if value is not None}


def _usage(told: JsonObject) -> Usage | None:
    completion = _count(told, "completion_tokens", "output_tokens")
    cached = _count(told, "cache_read_input_tokens")
    written = _count(told, "cache_creation_input_tokens")
    # Where the cache is counted apart, it is not part of the input.
    prompt = _count(told, "prompt_tokens", "input_tokens") + cached + written
    if not prompt and not completion:
        return None
    input_details = _details(told, "prompt_tokens_details", "input_tokens_details")
    output_details = _details(told, "completion_tokens_details", "output_tokens_details")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached or _count(input_details, "cached_tokens"),
        cache_write_tokens=written,
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
