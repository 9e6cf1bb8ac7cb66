"""What the frames of one stream have in common: all but the text they bring.

Providers write every frame of a stream alike, so that a frame can be known for a plain piece of
text without being parsed: its other parts are compared with those of one that was. That takes a
small part of the time of parsing and mending it.
"""

from __future__ import annotations

import re
from operator import eq

#: Where a string begins whose content may differ from frame to frame.
_HOLE = re.compile(rb'"(?:content|arguments|obfuscation)"\s*+:\s*+"')
#: The rest of a JSON string, from after its opening quote to before its closing one. Line ends are
#: none of it: they would end the line of the frame. The group is not repeated possessively: Python
#: before 3.11.5 loses its way in such groups (gh-106052).
_STRING = re.compile(rb'[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*')
#: What strings have that need a second look.
_UNUSUAL = re.compile(rb'["\\\r\n]')


class FrameTemplate:
    """The parts of a frame around the strings that differ; a frame ends in an empty line."""

    __slots__ = ("_after", "_after_bytes", "_before", "_before_bytes", "_others")

    def __init__(self, parts: tuple[bytes, ...]) -> None:
        self._before, *self._others = parts
        self._before_bytes = len(self._before)
        #: From the one string of a frame to its end, and to that of the next one.
        self._after = self._others[0] if len(self._others) == 1 else b""
        self._after_bytes = len(self._after)

    @classmethod
    def of(cls, frame: bytes) -> FrameTemplate:
        """The template of a frame that brings nothing but text or arguments."""
        parts = []
        at = 0
        while (hole := _HOLE.search(frame, at)) is not None:
            parts.append(frame[at : hole.end()])
            at = _end_of_string(frame, hole.end())
        return cls((*parts, frame[at:]))

    def fits(self, frame: bytes) -> bool:
        """Whether `frame` differs from the template's in its strings alone."""
        if not frame.startswith(self._before):
            return False
        at = self._before_bytes
        if self._after:
            end = len(frame) - self._after_bytes
            return frame.endswith(self._after) and bool(_STRING.fullmatch(frame, at, end))
        for part in self._others:
            at = _end_of_string(frame, at)
            if not frame.startswith(part, at):
                return False
            at += len(part)
        return at == len(frame)

    def row(self, frames: bytes) -> tuple[int, int]:
        """How many of `frames`, each ended by an empty line, fit up to one that does not, and
        the bytes these are.

        They are looked at all at once: 99 take 9,000 opcodes one by one, and 1,900 like this. To
        split them by what stands between two strings took fewer, but three times as long: that is
        some 200 bytes, and the search for it begins anew at each. Of frames with more than one
        string it knows nothing, nor where a string is none: it says 0.
        """
        before, after = self._before, self._after[:-2]
        if not after or not frames.startswith(before):
            return 0, 0
        each = frames.split(b"\n\n")[:-1]
        start, end = len(before), -len(after)
        texts = [frame[start:end] for frame in each]
        fit = list(map(eq, each, [before + text + after for text in texts]))
        if False in fit:
            del texts[fit.index(False) :]
        whole = b"".join(texts)
        if _UNUSUAL.search(whole) and not all(map(_STRING.fullmatch, texts)):
            return 0, 0
        count = len(texts)
        return count, len(whole) + count * (start - end + 2)


def _end_of_string(frame: bytes, at: int) -> int:
    found = _STRING.match(frame, at)
    return found.end() if found is not None else at
