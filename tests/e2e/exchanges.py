"""Bare HTTP exchanges with a gateway: what an SDK would hide is here to be looked at."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DONE = b"data: [DONE]\n\n"
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in the body, after a check of the envelope every SDK relies on."""
        assert ["error"] == list(self.json)
        error: dict[str, Any] = self.json["error"]
        assert {"message", "type", "param", "code"} == set(error)
        assert isinstance(error["message"], str)
        assert error["message"]
        return error

    @property
    def events(self) -> list[Any]:
        """The data of each server-sent event: decoded, or `"[DONE]"`."""
        datas = [frame for frame in self.body.split(b"\n\n") if frame.startswith(b"data: ")]
        return [_decoded(frame.removeprefix(b"data: ")) for frame in datas]


def _decoded(data: bytes) -> Any:
    return "[DONE]" if data == b"[DONE]" else json.loads(data)


def exchange(
    url: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Answer:
    """The answer of `url`: GET without a body, POST with one; bytes go out as they are."""
    with stream(url, body, method=method, headers=headers, key=key) as response:
        return Answer(response.status, _lowered(response), response.read())


@contextlib.contextmanager
def stream(
    url: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """A response whose head has arrived; leaving the context hangs up, wherever the body is."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if data is not None else {}
    if key is not None:
        given["Authorization"] = f"Bearer {key}"
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    verb = method or ("GET" if data is None else "POST")
    try:
        # A server may answer before it has the whole body, and read no more of it.
        with contextlib.suppress(BrokenPipeError):
            connection.request(verb, path, data, {**given, **(headers or {})})
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


@contextlib.contextmanager
def sent(url: str, raw: bytes) -> Iterator[socket.socket]:
    """A socket on which `raw` was sent to the host of `url`; leaving the context hangs up."""
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), TIMEOUT_S) as sock:
        sock.sendall(raw)
        yield sock


def raw_request(path: str, body: bytes, key: str | None = None) -> bytes:
    """A POST as bytes, for a client that does not wait for the answer."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _lowered(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}
