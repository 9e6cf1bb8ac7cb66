"""Bodies of requests that are passed on: which model they name, and how they name the provider's.

JSON is read and written anew, never passed on as the bytes that came. Anything else goes through in
pieces; of a multipart form the head is looked at, for its field `model`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import flask
import orjson
from typing_extensions import override

from one_api.errors import InvalidRequest, UnsupportedMediaType
from one_api.runtime import UPLOAD, Upload
from one_api.web.bodies import json_body
from one_api.web.multipart import MAX_HEAD_BYTES, ModelField, find_model, form_boundary


class Content(Protocol):
    """A body to be passed on."""

    model: str | None
    #: Its length in bytes as it will be sent, where that is not told by the body itself.
    length: int | None
    #: Whether it asks for a streamed reply.
    is_stream: bool
    #: Whether `body` may be called again, for another attempt.
    is_replayable: bool

    def body(self, model: str | None) -> bytes | AsyncGenerator[bytes, None] | None:
        """The body with `model` where it names one; called once unless `is_replayable`."""

    async def close(self) -> None:
        """Give back what `body` has not been asked for."""


class JSONContent(Content):
    """A JSON value."""

    length = None
    is_replayable = True

    def __init__(self, value: Any) -> None:
        named = value.get("model") if isinstance(value, dict) else None
        if named is not None and not (isinstance(named, str) and named):
            raise InvalidRequest(
                "Invalid value for 'model': a string is needed.", param="model", code="invalid_type"
            )
        self.model: str | None = named
        self.value = value
        self.is_stream = isinstance(value, dict) and value.get("stream") is True

    @override
    def body(self, model: str | None) -> bytes:
        if self.model is not None and model is not None:
            return orjson.dumps({**self.value, "model": model})
        return orjson.dumps(self.value)

    @override
    async def close(self) -> None:
        """Nothing is held."""


class NoContent(Content):
    """No body at all."""

    model = None
    length = None
    is_stream = False
    is_replayable = True

    @override
    def body(self, model: str | None) -> None:
        return None

    @override
    async def close(self) -> None:
        """Nothing is held."""


class UploadContent(Content):
    """A body in pieces, whose first ones were read: `head`, then `rest`."""

    is_stream = False
    is_replayable = False

    def __init__(
        self,
        head: bytes,
        rest: AsyncGenerator[bytes, None],
        field: ModelField | None,
        length: int | None,
    ) -> None:
        self._head = head
        self._rest = rest
        self._field = field
        self.model = field.model if field else None
        self.length = length

    @override
    def body(self, model: str | None) -> AsyncGenerator[bytes, None]:
        head = self._head
        if self._field is not None and model is not None:
            head = self._field.renamed(head, model)
            if self.length is not None:
                self.length += len(head) - len(self._head)
        return _joined(head, self._rest)

    @override
    async def close(self) -> None:
        await self._rest.aclose()


async def read_content() -> Content:
    """The body of the current request; of an upload its first pieces only.

    Raises: InvalidRequest, UnsupportedMediaType; RequestTooLarge, RequestTimedOut of an upload.
    """
    request = flask.request
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the request body without Content-Encoding.")
    upload: Upload | None = request.environ.get(UPLOAD)
    if upload is not None:
        return await _begun(upload, request.content_type or "", request.content_length)
    return JSONContent(json_body()) if request.get_data(cache=True) else NoContent()


async def _begun(upload: Upload, content_type: str, length: int | None) -> Content:
    boundary = form_boundary(content_type)
    head = b""
    field: ModelField | None = None
    pieces = upload.chunks()
    try:
        async for data in pieces:
            head += data
            if boundary is None:
                break
            field = find_model(head[:MAX_HEAD_BYTES], boundary)
            if field is not None or len(head) >= MAX_HEAD_BYTES:
                break
    except BaseException:
        await pieces.aclose()
        raise
    if not head:
        await pieces.aclose()
        return NoContent()
    return UploadContent(head, pieces, field, length)


async def _joined(head: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield head
        async for data in rest:
            yield data
    finally:
        await rest.aclose()
