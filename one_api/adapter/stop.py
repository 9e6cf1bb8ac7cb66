"""Stop sequences enforced by the gateway, for providers that cannot or only partly."""

from __future__ import annotations

from collections.abc import Iterable


class StopScanner:
    """Finds the first stop sequence in text that comes in pieces.

    Only text that may be the beginning of a stop sequence is held back. `matched` is the sequence
    that ended the text, None so far.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """The text that is certainly before any stop sequence; empty once one matched."""
        if self.matched is not None:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        # The match that is complete first wins, and of two that end together the longest: this
        # alone does not depend on how the text was cut.
        found = [
            (text.find(stop) + len(stop), -len(stop), stop) for stop in self._stops if stop in text
        ]
        if found:
            end, size, self.matched = min(found)
            self._held = ""
            return text[: end + size]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def close(self) -> str:
        """The text held back when the answer ended without a match."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
