"""How events become a response, streamed and whole, for a request that a test may vary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from one_api.converter import ReplyForm
from one_api.converter.responses import Envelope, ResponsesDialect
from one_api.events import Event
from one_api.schemas import JsonObject
from one_api.schemas.responses import ResponseRequest

FORM = ReplyForm(model="m", given_id="chatcmpl-1", created=1_790_000_000)


def dialect(**fields: Any) -> ResponsesDialect:
    """The dialect for a request with `fields`."""
    body = {"model": "m", "input": "?", **fields}
    return ResponsesDialect(Envelope.of(ResponseRequest.from_wire(body)))


def streamed(events: Iterable[Event], **fields: Any) -> bytes:
    """The stream made of `events`."""
    writer = dialect(**fields).stream_writer(FORM)
    return b"".join([writer.write(event) for event in events]) + writer.close()


def folded(events: Iterable[Event], **fields: Any) -> JsonObject:
    """The response made of `events`."""
    fold = dialect(**fields).fold(FORM)
    for event in events:
        fold.write(event)
    return fold.close()
