"""Responses that no application made: to what is not a request, or not one that can be served."""

from __future__ import annotations

import http
from typing import Final

import orjson

from one_api.errors import GatewayError, InternalError, InvalidRequest, Overloaded, RequestTimedOut

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}


class HeadTooLarge(InvalidRequest):
    """The request line and the header fields are more than the server takes."""

    status = 431
    code = "request_header_fields_too_large"


def status_line(status: int) -> bytes:
    """The first line of a response; those of statuses that nobody registered have no phrase."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def _answer(error: GatewayError) -> bytes:
    body = orjson.dumps(error.to_wire())
    fields = {"content-type": "application/json", **error.headers(), "connection": "close"}
    lines = [f"{name.lower()}: {value}" for name, value in fields.items()]
    lines.append(f"content-length: {len(body)}")
    return status_line(error.status) + "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


NOT_HTTP: Final = _answer(
    InvalidRequest("What was sent is not a valid HTTP/1.1 request.", code="invalid_http")
)
HEAD_TOO_LARGE: Final = _answer(
    HeadTooLarge("The request line and header fields are too large; send fewer or shorter ones.")
)
HEAD_TIMED_OUT: Final = _answer(
    RequestTimedOut("The header fields of the request did not arrive in time.")
)
TOO_MANY_CONNECTIONS: Final = _answer(
    Overloaded("The gateway has as many connections as it takes; try again in a moment.")
)
BROKEN: Final = _answer(InternalError("The gateway could not answer this request."))
