"""Where a URL points: whom to connect to, and what to ask for there."""

from __future__ import annotations

import base64
import ipaddress
import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HOST: Final = re.compile(r"[a-z0-9_.-]+")
#: `127.1` and `2130706433` are names to us, and addresses to the system's resolver.
_LOOKS_NUMERIC: Final = re.compile(r"[0-9.]+")
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_IN_PATH: Final = "/%:@!$&'()*+,;=~"
_IN_QUERY: Final = _IN_PATH + "?"
#: As many as there are different URLs in use at a time; a path may hold an id of the client.
_REMEMBERED: Final = 1024


class Origin(NamedTuple):
    """Whom a connection is made to; `host` is in ASCII, an IPv6 address without brackets."""

    is_tls: bool
    host: str
    port: int


class Target(NamedTuple):
    """An origin, the request target and `Host` field for it, and what the URL signs with."""

    origin: Origin
    path: str
    host_field: str
    authorization: str | None


@lru_cache(maxsize=_REMEMBERED)
def parse_url(url: str) -> Target:
    """Where `url` points; its path is in normal form, its fragment is left out.

    Raises: ValueError when it is no `http` or `https` URL, or has a control character in it.
    """
    if _CONTROL.search(url):
        raise ValueError("the URL has a control character")
    parts = urlsplit(url)
    default_port = _PORTS.get(parts.scheme)
    if default_port is None or not parts.hostname:
        raise ValueError("not an http:// or https:// URL with a host")
    host = _ascii_host(parts.hostname)
    port = parts.port or default_port
    # The zone of a link-local address means something on this machine only.
    shown = f"[{host.partition('%')[0]}]" if ":" in host else host
    query = f"?{_quoted(parts.query, _IN_QUERY)}" if parts.query else ""
    return Target(
        origin=Origin(parts.scheme == "https", host, port),
        path=_without_dots(_quoted(parts.path, _IN_PATH)) + query,
        host_field=shown if port == default_port else f"{shown}:{port}",
        authorization=_basic(parts.username, parts.password),
    )


def _ascii_host(host: str) -> str:
    if ":" in host:
        return str(ipaddress.IPv6Address(unquote(host)))
    # A name at the root, `provider.example.`, keeps its dot.
    ascii_host = host if host.isascii() else host.encode("idna").decode("ascii")
    if not _HOST.fullmatch(ascii_host) or len(ascii_host) > 254:
        raise ValueError("not a host name")
    if _LOOKS_NUMERIC.fullmatch(ascii_host):
        ipaddress.IPv4Address(ascii_host)
    return ascii_host


def _quoted(text: str, safe: str) -> str:
    return quote(_STRAY_PERCENT.sub("%25", text), safe=safe)


def _without_dots(path: str) -> str:
    """`path` from the root, with `.` and `..` followed, as RFC 3986, 5.2.4, has it."""
    kept: list[str] = []
    segments = re.sub("%2e", ".", path, flags=re.IGNORECASE).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _basic(user: str | None, password: str | None) -> str | None:
    if not user and not password:
        return None
    pair = f"{unquote(user or '')}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode("ascii")
