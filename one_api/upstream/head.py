"""The head of a request, as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from one_api.adapter.http import WireRequest
from one_api.errors import UpstreamUnreachable
from one_api.upstream.target import Origin, parse_url

_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_METHOD: Final = re.compile(_NAME)
_FIELDS: Final = re.compile(rf"(?:{_NAME}: [^\r\n\0\ud800-\udfff]*\r\n)*")
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})


class Head(NamedTuple):
    """The head of a request, and whom it is for.

    `length` is how many bytes of body belong to it; None is a chunked body.
    """

    origin: Origin
    data: bytes
    length: int | None


class _Beginning(NamedTuple):
    """What is the same in all heads of one URL, method and set of fields.

    `told_length` is what the fields say of the length, `has_length` whether it is to be said.
    """

    origin: Origin
    lines: bytes
    told_length: int | None
    has_length: bool


class HeadWriter:
    """Writes heads that name `user_agent` where the request names none."""

    def __init__(self, user_agent: str) -> None:
        self._defaults = {
            "user-agent": f"User-Agent: {user_agent}\r\n",
            "accept": "Accept: */*\r\n",
            # A compressed stream would reach the client in lumps.
            "accept-encoding": "Accept-Encoding: identity\r\n",
        }
        self._all_defaults = "".join(self._defaults.values())
        self._special = _FRAMING.union(self._defaults, ("host",))
        # Nearly all requests of an adapter begin alike: written anew, they took 140 opcodes.
        self._known = lru_cache(maxsize=64)(self._begin)

    def write(self, request: WireRequest) -> Head:
        """The head of `request`, which frames the body by what is known of its length.

        Raises: UpstreamUnreachable when what it says cannot be written as HTTP.
        """
        body = request.body
        origin, lines, told_length, has_length = self._known(
            request.url, request.method, tuple(request.headers.items()), body is not None
        )
        length = len(body) if isinstance(body, bytes) else 0 if body is None else told_length
        if length is None:
            return Head(origin, lines + b"Transfer-Encoding: chunked\r\n\r\n", None)
        framing = b"Content-Length: %d\r\n\r\n" % length if has_length else b"\r\n"
        return Head(origin, lines + framing, length)

    def _begin(
        self, url: str, method: str, fields: tuple[tuple[str, str], ...], has_body: bool
    ) -> _Beginning:
        try:
            target = parse_url(url)
        except ValueError as exc:
            raise UpstreamUnreachable("The provider's URL is not valid.") from exc
        method = method.upper()
        names = frozenset([name.lower() for name, _ in fields])
        host, defaults = f"Host: {target.host_field}\r\n", self._all_defaults
        told_length = None
        if not names.isdisjoint(self._special):
            host = "" if "host" in names else host
            defaults = "".join([self._defaults[name] for name in self._defaults.keys() - names])
            told_length = _told_length(fields)
            fields = tuple(field for field in fields if field[0].lower() not in _FRAMING)
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields])
        # As many lines as fields: a value with a line end in it would be a field of its own.
        is_http = lines.count("\n") == len(fields) and _FIELDS.fullmatch(lines)
        if not is_http or not _METHOD.fullmatch(method):
            raise UpstreamUnreachable("What is to be asked of the provider is no valid HTTP.")
        if target.authorization is not None:
            lines += _authorization(target.authorization, names)
        if has_body and "content-type" not in names:
            lines += "Content-Type: application/octet-stream\r\n"
        start = f"{method} {target.path} HTTP/1.1\r\n{host}{defaults}{lines}"
        has_length = has_body or method not in _BODILESS
        return _Beginning(target.origin, start.encode(), told_length, has_length)


def _told_length(fields: Iterable[tuple[str, str]]) -> int | None:
    """The length of a body that comes in pieces, where who sends it knows."""
    for name, value in fields:
        if name.lower() == "content-length" and value.isascii() and value.isdigit():
            return int(value)
    return None


def _authorization(told: str, names: frozenset[str]) -> str:
    """The field for the user and password of a URL.

    Raises: UpstreamUnreachable when another credential is sent as well.
    """
    if "authorization" in names:
        raise UpstreamUnreachable("The provider's URL has a user besides the credential.")
    return f"Authorization: {told}\r\n"
