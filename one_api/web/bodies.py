"""Request bodies as JSON values."""

from __future__ import annotations

from typing import Any

import flask
import orjson

from one_api.errors import InvalidRequest, UnsupportedMediaType

#: orjson reads JSON nested 1,024 deep, but writes it only so deep: a provider would never get it.
_WRITABLE_DEPTH = 250


def json_body() -> Any:
    """The decoded JSON body of Flask's current request; as `decoded`."""
    request = flask.request
    return decoded(request.get_data(cache=True), request.headers.get("Content-Encoding"))


def decoded(data: bytes, encoding: str | None) -> Any:
    """The JSON value in a request body, whatever its content type says.

    Raises: InvalidRequest for what is not JSON; UnsupportedMediaType for a compressed body.
    """
    if encoding is not None and encoding.lower() != "identity":
        raise UnsupportedMediaType("Send the request body without Content-Encoding.")
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        if not data.strip():
            raise InvalidRequest("The request body is empty; a JSON object is needed.") from exc
        raise InvalidRequest(f"The request body is not valid JSON: {exc}.") from exc
    if data.count(b"{") + data.count(b"[") > _WRITABLE_DEPTH:
        _require_writable(body)
    return body


def _require_writable(body: Any) -> None:
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError as exc:
        raise InvalidRequest("The request body is nested too deeply.") from exc
