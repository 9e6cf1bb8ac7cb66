"""The field `model` at the beginning of a multipart form: found, and written anew.

Only the head of a form is looked at, so that the files behind it need not be held in memory.
Source: RFC 7578 and RFC 2046 section 5.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from werkzeug.http import parse_options_header

from one_api.errors import InvalidRequest

#: How much of a form is searched for its model.
MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ModelField:
    """The model that a form names, and where its name begins and ends in the form's bytes."""

    model: str
    start: int
    end: int

    def renamed(self, head: bytes, model: str) -> bytes:
        """`head` with `model` in the field's place."""
        return head[: self.start] + model.encode() + head[self.end :]


def form_boundary(content_type: str) -> bytes | None:
    """What separates the parts of a multipart form; None for a body that is none.

    Raises: InvalidRequest for a form without a usable boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() != "multipart/form-data":
        return None
    boundary = options.get("boundary", "")
    if re.fullmatch(r"[ -~]{1,200}", boundary) is None:
        raise InvalidRequest("The multipart body's content type needs a 'boundary'.")
    return boundary.encode()


def find_model(head: bytes, boundary: bytes) -> ModelField | None:
    """The field `model`, when it is complete in `head`, the beginning of a form."""
    separator = b"\r\n--" + boundary
    at = 0 if head.startswith(separator[2:]) else head.find(separator)
    while at >= 0:
        line_end = head.find(b"\r\n", at + 2)
        headers_end = head.find(b"\r\n\r\n", line_end)
        start = headers_end + 4
        end = head.find(separator, start)
        if line_end < 0 or headers_end < 0 or end < 0:
            return None
        if _field_name(head[line_end:headers_end]) == "model":
            return _model_field(head, start, end)
        at = end
    return None


def _model_field(head: bytes, start: int, end: int) -> ModelField:
    try:
        model = head[start:end].decode()
    except UnicodeDecodeError:
        model = ""
    if not 0 < len(model) <= 256 or not model.isprintable():
        raise InvalidRequest(
            "Invalid value for 'model': a name of 1 to 256 characters is needed.",
            param="model",
            code="invalid_value",
        )
    return ModelField(model, start, end)


def _field_name(headers: bytes) -> str | None:
    for line in headers.split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if name.strip().lower() == "content-disposition":
            kind, options = parse_options_header(value.strip())
            # A file is no name, whatever its field is called.
            return (
                options.get("name") if kind == "form-data" and "filename" not in options else None
            )
    return None
