"""Texts that may quote a key, without it."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Shortest secret that is looked for in what is not an error: a shorter one, such as the word that
#: a server of one's own takes for a key, may be meant as what it says.
MIN_SECRET_CHARS = 16
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


class Mask:
    """Takes known `secrets` out of bytes that come in pieces, if they are long enough to be none
    but themselves.

    What it gives is as long as what it got: a length that was told before holds.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets if len(secret) >= MIN_SECRET_CHARS]
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """`data` without secrets; an end that may begin one comes with what follows it."""
        data = self._masked(self._kept + data if self._kept else data)
        at = min((_begins_at(data, secret) for secret in self._secrets), default=len(data))
        self._kept = data[at:]
        return data[:at]

    def rest(self) -> bytes:
        """What was kept, after the last of the bytes."""
        kept, self._kept = self._kept, b""
        return kept

    def line(self, text: str) -> str:
        """A whole `text`, such as the value of a header, without secrets."""
        return self._masked(text.encode("utf-8", "surrogateescape")).decode(
            "utf-8", "surrogateescape"
        )

    def _masked(self, data: bytes) -> bytes:
        for secret in self._secrets:
            if secret in data:
                data = data.replace(secret, b"*" * len(secret))
        return data


def _begins_at(data: bytes, secret: bytes) -> int:
    """Where the end of `data` could be the beginning of `secret`; past it where it is not."""
    at = data.find(secret[:1], max(len(data) - len(secret) + 1, 0))
    while at >= 0:
        if secret.startswith(data[at:]):
            return at
        at = data.find(secret[:1], at + 1)
    return len(data)
