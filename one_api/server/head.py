"""The head of a request: whether it can be served, and what an application is told of it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

import httptools

from one_api.server.answers import HEAD_TOO_LARGE, NOT_HTTP
from one_api.server.limits import Limits

Fields = list[tuple[bytes, bytes]]

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class Head:
    """What the parser has read of one; the names of `fields` are in lower case."""

    __slots__ = ("_names", "fields", "method", "url", "version")

    def __init__(self, method: str, url: bytes, version: str, fields: Fields) -> None:
        self.method = method
        self.url = url
        self.version = version
        self.fields = fields
        self._names = dict(fields)

    @property
    def expects_continue(self) -> bool:
        """Whether its body is sent once it is asked for."""
        is_asked = self._names.get(b"expect", b"").lower() == b"100-continue"
        return is_asked and self.version == "1.1"

    def objection(self, limits: Limits, read_bytes: int) -> bytes:
        """What it is answered with when it cannot be served; nothing when it can.

        `read_bytes` is as many as it has at the most: only where that is too much it is measured.
        """
        # The parser takes other versions, too, and a coding it does not know for none at all.
        coding = self._names.get(b"transfer-encoding")
        if self.version not in _VERSIONS or (coding and coding.lower() != b"chunked"):
            return NOT_HTTP
        if len(self.fields) > limits.max_fields:
            return HEAD_TOO_LARGE
        if read_bytes > limits.max_head_bytes:
            size = sum(len(name) + len(value) + 4 for name, value in self.fields) + len(self.url)
            return HEAD_TOO_LARGE if size > limits.max_head_bytes else b""
        return b""

    def scope(self, client: Any, server: Any) -> dict[str, Any]:
        """What ASGI calls it, with the addresses of both sides."""
        raw_path, _, query = self.url.partition(b"?")
        if not raw_path.startswith(b"/"):
            raw_path, query = _of_absolute(self.url)
        path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": self.version,
            "method": self.method,
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self.fields,
            "client": client,
            "server": server,
        }


def framing_of(fields: Fields) -> bytes:
    """The lines that say how long a body is, with the end of each; none where there is none."""
    return b"".join(b"%b: %b\r\n" % field for field in fields if field[0] in _FRAMING)


def _of_absolute(url: bytes) -> tuple[bytes, bytes]:
    """The path and the query of a target that is not a path: as proxies send it, or `*`."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return url, b""
    return parsed.path or b"/", parsed.query or b""
