"""The head of a request, as bytes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Mapping
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

    def write(self, request: WireRequest) -> Head:
        """The head of `request`, which frames the body by what is known of its length.

        Raises: UpstreamUnreachable when what it says cannot be written as HTTP.
        """
        try:
            target = parse_url(request.url)
        except ValueError as exc:
            raise UpstreamUnreachable("The provider's URL is not valid.") from exc
        headers, body, method = request.headers, request.body, request.method.upper()
        names = frozenset(map(str.lower, headers))
        host, defaults = f"Host: {target.host_field}\r\n", self._all_defaults
        length = _length_of(body)
        if not names.isdisjoint(self._special):
            host = "" if "host" in names else host
            defaults = "".join([self._defaults[name] for name in self._defaults.keys() - names])
            length = _told_length(headers) if length is None else length
            headers = {
                name: value for name, value in headers.items() if name.lower() not in _FRAMING
            }
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        # As many lines as fields: a value with a line end in it would be a field of its own.
        is_http = fields.count("\n") == len(headers) and _FIELDS.fullmatch(fields)
        if not is_http or not _METHOD.fullmatch(method):
            raise UpstreamUnreachable("What is to be asked of the provider is no valid HTTP.")
        if target.authorization is not None:
            fields += _authorization(target.authorization, names)
        if body is not None and "content-type" not in names:
            fields += "Content-Type: application/octet-stream\r\n"
        if length is None:
            fields += "Transfer-Encoding: chunked\r\n"
        elif body is not None or method not in _BODILESS:
            fields += f"Content-Length: {length}\r\n"
        start = f"{method} {target.path} HTTP/1.1\r\n{host}{defaults}"
        return Head(target.origin, f"{start}{fields}\r\n".encode(), length)


def _length_of(body: bytes | AsyncIterable[bytes] | None) -> int | None:
    if body is None:
        return 0
    return len(body) if isinstance(body, bytes) else None


def _told_length(headers: Mapping[str, str]) -> int | None:
    """The length of a body that comes in pieces, where who sends it knows."""
    for name, value in headers.items():
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
