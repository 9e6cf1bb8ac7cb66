"""What the frames of one stream have in common: all but the text they bring.

Providers write every frame of a stream alike, so that a frame can be known for a plain piece of
text without being parsed: its other parts are compared with those of one that was. That takes a
small part of the time of parsing and mending it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Where a string begins whose content may differ from frame to frame.
_HOLE = re.compile(rb'"(?:content|arguments|obfuscation)"\s*+:\s*+"')
#: The rest of a JSON string, from after its opening quote to before its closing one.
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+')


@dataclass(frozen=True, slots=True)
class FrameTemplate:
    """The parts of a frame around the strings that differ."""

    parts: tuple[bytes, ...]

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
        first, *others = self.parts
        if not frame.startswith(first):
            return False
        at = len(first)
        for part in others:
            at = _end_of_string(frame, at)
            if not frame.startswith(part, at):
                return False
            at += len(part)
        return at == len(frame)


def _end_of_string(frame: bytes, at: int) -> int:
    found = _STRING.match(frame, at)
    return found.end() if found is not None else at
