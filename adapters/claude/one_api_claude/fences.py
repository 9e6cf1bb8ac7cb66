"""Takes the code fence off an answer that is to be bare JSON."""

from __future__ import annotations

import re

_OPENING = re.compile(r"\s*```[A-Za-z]*[ \t]*\r?\n")
#: Any beginning of an opening fence.
_MAYBE_OPENING = re.compile(r"\s*(?:`{1,2}|```[A-Za-z]{0,16}[ \t]{0,16}\r?)?")
_FENCE = "```"


class FenceStripper:
    """Takes the fence off text that comes in pieces; other text passes untouched.

    Only text that may belong to a fence is held back.
    """

    def __init__(self) -> None:
        self._held = ""
        self._has_begun = False
        self._is_fenced = False

    def feed(self, text: str) -> str:
        """The text that is certainly not part of a fence."""
        text = self._held + text
        self._held = ""
        if not self._has_begun:
            if _MAYBE_OPENING.fullmatch(text):
                self._held = text
                return ""
            self._has_begun = True
            opening = _OPENING.match(text)
            self._is_fenced = opening is not None
            text = text[opening.end() :] if opening else text
        if not self._is_fenced:
            return text
        at = _end_of_certain(text)
        self._held = text[at:]
        return text[:at]

    def close(self) -> str:
        """The text held back, unless it is the closing fence."""
        held, self._held = self._held, ""
        return "" if self._is_fenced and held.strip() == _FENCE else held


def _end_of_certain(text: str) -> int:
    """Where the end of `text` that may be a closing fence begins: space, backticks, space."""
    core = text.rstrip()
    backticks = len(core) - len(core.rstrip("`"))
    return len(core[: len(core) - min(backticks, len(_FENCE))].rstrip())
