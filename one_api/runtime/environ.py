"""The WSGI environment of a request that an ASGI server received."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, MutableMapping
from operator import methodcaller
from typing import Any

from one_api.errors import InvalidRequest

Scope = MutableMapping[str, Any]

#: Of a whole head at once, in C: a frame and ten opcodes less for each field.
_TEXT = methodcaller("decode", "latin-1")
_HOST = re.compile(rb"[A-Za-z0-9.\-_]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")


def environ_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Request headers under their WSGI names.

    Names with `_` are dropped: they would pass for names with `-`. Repeated ones are joined.
    Raises: InvalidRequest for a Host that is absent, repeated or ill-formed.
    """
    environ: dict[str, str] = {}
    hosts = []
    for name, value in headers:
        if b"_" in name:
            continue
        if name == b"host":
            hosts.append(value)
        key = name.decode("latin-1").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text = value.decode("latin-1")
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{text}" if key in environ else text
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise InvalidRequest("The request needs exactly one well-formed Host header.")
    return environ


def plain_headers(headers: Collection[tuple[bytes, bytes]]) -> dict[str, str] | None:
    """Request headers under their names in lower case.

    None where they take a second look: one that is repeated, or a Host that is not well-formed.
    """
    fields = dict(headers)
    host = fields.get(b"host")
    if host is None or len(fields) != len(headers) or not _HOST.fullmatch(host):
        return None
    return dict(zip(map(_TEXT, fields), map(_TEXT, fields.values()), strict=True))


def environ_of(scope: Scope, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """The WSGI environment of a request; its route comes from the ASGI path alone."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8").decode("latin-1"),
        "RAW_URI": scope.get("raw_path", b"").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0] or "localhost",
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update(headers)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
