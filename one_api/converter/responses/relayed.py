"""A provider's own response stream on its way to the client: unchanged, never cut in silence."""

from __future__ import annotations

import re

from one_api.converter.responses.builder import error_event
from one_api.converter.responses.dialect import named_frame
from one_api.errors import GatewayError, UpstreamDisconnected

#: What ends a stream: an event, by name or by type, or chat's end, which some send here too.
_TERMINAL = re.compile(
    rb"^(?:event: ?|data: ?\{ ?\"type\": ?\")(?:response\.(?:completed|incomplete|failed)|error)\b"
    rb"|^data: ?\[DONE\]",
    re.MULTILINE,
)
_NUMBER = re.compile(rb'"sequence_number": ?(\d{1,15})')
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
#: Most bytes of an unfinished event that are held back.
_MAX_HELD = 16 * 1024 * 1024


class RelayedStream:
    """Passes whole events on, and ends a stream that its provider did not end.

    Call `feed` for each read, then `close` or `fail` once. Events are held back until they are
    complete, as clients hold them: what is cut within one can be left out.
    """

    def __init__(self) -> None:
        self._held = b""
        self._is_over = False
        self._is_torn = False
        self._number = -1

    def feed(self, data: bytes) -> bytes:
        """The events that `data` completes."""
        known = max(len(self._held) - 3, 0)  # No event ends before: it would not be held.
        self._held += data
        end = max(_end_of_last(mark, self._held, known) for mark in _ENDS)
        self._is_torn = end == 0 and (self._is_torn or len(self._held) > _MAX_HELD)
        if self._is_torn:
            end = len(self._held)
        whole, self._held = self._held[:end], self._held[end:]
        self._note(whole)
        return whole

    def close(self) -> bytes:
        """The end: an event that lacks only its blank line, or the error that none came."""
        rest = self._held.rstrip()
        if rest.endswith((b"}", b"]")):
            self._note(rest)
        if self._is_over:
            return self._held
        return self.fail(UpstreamDisconnected("The provider's reply ended before it was complete."))

    def fail(self, error: GatewayError) -> bytes:
        """The event that tells of `error`; nothing when the stream was over before it."""
        if self._is_over:
            return b""
        gap = b"\n\n" if self._is_torn else b""
        return gap + named_frame({**error_event(error), "sequence_number": self._number + 1})

    def _note(self, events: bytes) -> None:
        self._is_over = self._is_over or _TERMINAL.search(events) is not None
        for match in _NUMBER.finditer(events):
            self._number = max(self._number, int(match[1]))


def _end_of_last(mark: bytes, data: bytes, start: int) -> int:
    at = data.rfind(mark, start)
    return at + len(mark) if at >= 0 else 0
