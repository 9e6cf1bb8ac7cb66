"""Server-sent events out of bytes that were cut anywhere.

Lines end in `\n`, `\r\n` or `\r` and nothing else: U+2028 and its kin are text inside JSON. A
leading byte-order mark is skipped, comments are told as events without data.
Source: WHATWG HTML living standard, section "Server-sent events".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from one_api.errors import UpstreamInvalidResponse

#: The longest unfinished line or event kept in memory.
MAX_EVENT_BYTES = 1024 * 1024
#: An event as nearly all are written: a name or none, and one line of data. Only single characters
#: are repeated possessively: Python before 3.11.5 loses its way in groups that are (gh-106052).
_EVENT: Final = re.compile(rb"(?:event: ([^\n]++)\n)?data: ([^\n]*+)\n\n")
#: Such events, as many as there are.
_EVENTS: Final = re.compile(b"(?:%b)*" % _EVENT.pattern)


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; `data` joins its data lines with `\n`. A comment has `event` ":" and no data."""

    event: str
    data: bytes


class SSEDecoder:
    """Collects bytes and gives the events they complete."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._buffer = b""
        self._event = "message"
        self._data: list[bytes] = []
        self._size = 0
        self._first = True
        self._skip_newline = False

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that end in `data`.

        Raises: UpstreamInvalidResponse when an event grows past the limit.
        """
        if self._skip_newline and data:
            # The `\r` that ended the last line of the previous piece was half of `\r\n`.
            data = data[1:] if data[:1] == b"\n" else data
            self._skip_newline = False
        buffer = self._buffer + data
        if self._first:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._buffer = buffer
                return []
            self._first = False
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
        if b"\r" in buffer:
            self._skip_newline = buffer.endswith(b"\r")
            buffer = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[ServerSentEvent] = []
        if len(buffer) <= self._max_event_bytes:
            buffer = self._take_events(buffer, events)
        if buffer:
            self._take_lines(buffer, events)
        else:
            self._buffer = b""
        return events

    def _take_events(self, buffer: bytes, events: list[ServerSentEvent]) -> bytes:
        """Take the events that are written as nearly all are, up to another; what follows them.

        By line each would take ten times as many steps. No limit can be passed here.
        """
        if self._data or self._event != "message":
            end = buffer.find(b"\n\n") + 2
            if end == 1:
                return buffer
            # The event that the last piece began.
            self._take_lines(buffer[:end], events)
            buffer = buffer[end:]
        found = _EVENTS.match(buffer)
        end = found.end() if found is not None else 0
        events += [
            ServerSentEvent(name.decode("utf-8", "replace") or "message", data)
            for name, data in _EVENT.findall(buffer, 0, end)
        ]
        return buffer[end:]

    def _take_lines(self, buffer: bytes, events: list[ServerSentEvent]) -> None:
        *lines, self._buffer = buffer.split(b"\n")
        if max(map(len, (*lines, self._buffer))) > self._max_event_bytes:
            raise UpstreamInvalidResponse("The provider's stream has an oversized line.")
        for line in lines:
            self._take(line, events)

    def _take(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if not line:
            if self._data:
                events.append(ServerSentEvent(self._event or "message", b"\n".join(self._data)))
            self._event, self._data, self._size = "message", [], 0
            return
        if line.startswith(b":"):
            events.append(ServerSentEvent(":", b""))
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max_event_bytes:
                raise UpstreamInvalidResponse("The provider's stream has an oversized event.")
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
