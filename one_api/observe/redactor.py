"""Texts for the log: without secrets, and with nothing that could steer a terminal or a reader."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from one_api.redaction import redact

#: Longest text of one field, in characters: a traceback fits, a body that went astray does not.
MAX_CHARS: Final = 16_000
#: What is shorter is no secret, and stands in every other word.
_LEAST_SECRET_CHARS = 6
_REDACTED = "[redacted]"

#: Credentials by where they stand: header, query, assignment, or the user's part of a URL.
_PLACED = re.compile(
    r"""(?P<place>\b(?:(?:proxy-)?authorization|(?:x-)?(?:goog-)?api[-_]?key|x-auth-token
          |(?:set-)?cookie|access[-_]token|client[-_]secret|password)\b
          ["']?[)\]]?\s*[:=,]\s*(?:b(?=["']))?["']?(?:(?:bearer|basic)\s+)?)
        [^\s"',;&<>]+
      | (?P<query>[?&](?:key|token|sig|signature|auth)=)[^&\s"'<>]+
      | (?P<user>\b[a-z][a-z0-9+.\-]*://)[^\s/@"']*:[^\s/@"']+(?=@)""",
    re.I | re.X,
)

#: Control characters, those that change the direction of text, invisible ones, and line breaks.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
#: Of those, what a traceback is laid out with.
_LAYOUT = "\n"


class Redactor:
    """Takes secrets out of texts: those it was told of, and what looks or is placed like one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None
        # Most texts of request lines are the same few.
        self._short = lru_cache(maxsize=2_048)(self._redacted)

    def learn(self, secrets: Iterable[str]) -> None:
        """Never let any of `secrets` through from now on; those of before stay known."""
        given = {secret.strip() for secret in secrets}
        given |= {quote(secret, safe="") for secret in given}
        with self._lock:
            known = self._secrets | {one for one in given if len(one) >= _LEAST_SECRET_CHARS}
            if known == self._secrets:
                return
            self._secrets = known
            longest_first = sorted(known, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))
            self._short.cache_clear()

    def redact(self, text: str) -> str:
        """`text` without secrets."""
        return self._short(text) if len(text) <= 64 else self._redacted(text)

    def _redacted(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(_REDACTED, text)
        # Each place of a credential has one of these in it; looking for them all takes 3 µs.
        if ":" in text or "=" in text or "," in text:
            text = _PLACED.sub(_without_value, text)
        return redact(text, MAX_CHARS)


def escape(text: str, *, keep_lines: bool = False) -> str:
    """`text` with everything spelled out that could steer a terminal, or pass for another line."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_spell_line if keep_lines else _spell, text)


def escape_json(text: str) -> str:
    """The JSON `text`, which means the same and has no such character in it."""
    if text.isascii() and "\x7f" not in text:
        return text  # JSON has spelled out the others itself.
    return _UNSAFE.sub(_spell_json, text)


def _without_value(match: re.Match[str]) -> str:
    return f"{match['place'] or match['query'] or match['user'] or ''}{_REDACTED}"


def _spell(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _spell_line(match: re.Match[str]) -> str:
    return match[0] if match[0] in _LAYOUT else _spell(match)


def _spell_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
