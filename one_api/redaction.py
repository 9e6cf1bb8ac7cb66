"""Texts that may quote a key, without it."""

from __future__ import annotations

import re

#: Longest message told of an error, in characters.
MAX_MESSAGE_CHARS = 2_000

#: Keys by the prefixes that providers give them, and bearer tokens. Where the prefix is also the
#: beginning of words ("key-value", "Bearer token"), only what holds a digit or is long counts.
_SECRET = re.compile(
    r"\b(?:sk|xai|nvapi|pplx)-[\w*.\-]{6,}"
    r"|\b(?:pk|rk|key)-(?=[\w*.\-]*[\d*])[\w*.\-]{6,}"
    r"|\b(?:gsk|hf|r8|fw)_\w{16,}"
    r"|\bAIza[\w\-]{20,}"
    r"|\bBearer\s+(?=[^\s\"',;<>]*\d|[^\s\"',;<>]{20})[^\s\"',;<>]+",
    re.I,
)


def redact(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """`text` without anything that looks like a key, and no longer than `max_chars`."""
    clean = _SECRET.sub("[redacted]", text)
    return clean if len(clean) <= max_chars else clean[: max_chars - 1] + "…"
