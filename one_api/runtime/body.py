"""A request body, read before its request is dispatched: within so many bytes and so much time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from one_api.deadline import Deadline
from one_api.errors import RequestTimedOut, RequestTooLarge

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientLeftError(Exception):
    """The client closed its connection before its request was complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """What a request body may cost: bytes, and seconds until it is complete."""

    max_bytes: int = 32 * 1024 * 1024
    deadline_s: float = 30.0


async def read_body(scope: Message, receive: Receive, limits: BodyLimits) -> bytes:
    """The whole body of a request.

    Raises: RequestTooLarge, RequestTimedOut, ClientLeftError.
    """
    limit = limits.max_bytes
    if declared_length(scope["headers"]) > limit:
        raise _too_large(limit)
    try:
        with Deadline(limits.deadline_s):
            message = await _next(receive)
            body: bytes = message.get("body", b"")
            if message.get("more_body", False):
                body = await _joined(body, receive, limit)
    except TimeoutError as exc:
        raise RequestTimedOut(
            f"The request body was not complete after {limits.deadline_s:g} s."
        ) from exc
    if len(body) > limit:
        raise _too_large(limit)
    return body


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """What the headers say of the length; 0 where they do not."""
    value = dict(headers).get(b"content-length", b"")
    return int(value) if value.isdigit() else 0


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeftError
    return message


async def _joined(first: bytes, receive: Receive, limit: int) -> bytes:
    """`first` and what follows it, as long as it is within `limit`."""
    pieces, size, is_more = [first], len(first), True
    while is_more and size <= limit:
        message = await _next(receive)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        is_more = message.get("more_body", False)
    return b"".join(pieces)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is over the limit of {limit} bytes.")
