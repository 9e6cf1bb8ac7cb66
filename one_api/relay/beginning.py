"""Replies in a provider's own format, looked at until the client may have them.

A stream is the client's from its first content on, a whole reply once it is complete: what fails
before may still be answered by another deployment. What is looked at leaves as it came.
"""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

import orjson

from one_api.adapter.http import MAX_REPLY_BYTES, WireReply
from one_api.adapter.sse import MAX_EVENT_BYTES, SSEDecoder
from one_api.errors import (
    GatewayError,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamServerError,
)
from one_api.redaction import redact
from one_api.relay.fields import error_in_reply, tells_error
from one_api.schemas import JsonObject

#: Most bytes of a stream that are held back for its first content.
MAX_HELD_BYTES: Final = MAX_EVENT_BYTES

#: How streams begin that tell an error and nothing else, in Anthropic's and OpenAI's formats.
_ERROR_FIRST = re.compile(rb'(?:event: *error\b|data: *\{ *"(?:error"|type": *"error"))')

#: Whether an event brings content, or the end; raises the error that it tells.
HasContent = Callable[[JsonObject], bool]


def _message_has_content(event: JsonObject) -> bool:
    """Of Anthropic's Messages. Events that are not known are content."""
    match event.get("type"):
        case "error":
            raise error_in_reply(event)
        case "ping" | "content_block_stop":
            return False
        case "message_start":
            message = event.get("message")
            return isinstance(message, dict) and bool(message.get("content"))
        case "content_block_start":
            block = event.get("content_block")
            return not _is_hollow(block, "text", "thinking")
        case "content_block_delta":
            delta = event.get("delta")
            values = delta.items() if isinstance(delta, dict) else ()
            return any(value for name, value in values if name != "type")
    return True


def _response_has_content(event: JsonObject) -> bool:
    """Of OpenAI's Responses. Events that are not known are content.

    A response in the background is the client's at once: it goes on without this stream, and by
    its id the client finds it again.
    """
    match event.get("type"):
        case "error":
            raise error_in_reply(event)
        case "response.failed":
            raise error_in_reply(_error_of_response(event.get("response")))
        case "response.created" | "response.queued" | "response.in_progress":
            response = event.get("response")
            return isinstance(response, dict) and response.get("background") is True
        case "response.output_item.added" | "response.output_item.done":
            return not _is_hollow(event.get("item"), "message", "reasoning")
        case "response.content_part.added" | "response.reasoning_summary_part.added":
            return not _is_hollow(
                event.get("part"), "output_text", "refusal", "reasoning_text", "summary_text"
            )
        case "keepalive":
            return False
        case str() as name if name.endswith(".delta"):
            return bool(event.get("delta"))
    return True


def _is_hollow(holder: Any, *kinds: str) -> bool:
    """Whether a block, item or part of one of `kinds`, which are to be filled, is empty yet."""
    if not isinstance(holder, dict) or holder.get("type") not in kinds:
        return False
    return not any(
        holder.get(name) for name in ("text", "thinking", "refusal", "content", "summary")
    )


def _error_of_response(response: Any) -> JsonObject:
    error = response.get("error") if isinstance(response, dict) else None
    return {"error": error if isinstance(error, dict) else "The provider's response failed."}


#: The formats whose beginnings are known, by the path of the endpoint below the API prefix.
_FORMATS: Final[Mapping[str, HasContent]] = {
    "/messages": _message_has_content,
    "/messages/count_tokens": _message_has_content,
    "/responses": _response_has_content,
}


async def begun(
    path: str,
    reply: WireReply,
    source: AsyncGenerator[bytes, None],
    *,
    has_other: bool,
    is_late: Callable[[], bool] = lambda: False,
) -> bytes:
    """What has come of a reply's body, `source`, by the time that the client may have it.

    Where the format of the endpoint at `path` is known, that is all of it, or a stream up to its
    first content; else the first piece where it `has_other` deployments to go to, or nothing. With
    no other one, a stream that `is_late` is held no longer. Of an error's body keys are left out.
    Raises: UpstreamError where it does not get there; the error that it tells instead, where the
    client is not to see that or another deployment may do better.
    """
    is_stream = reply.headers.get("content-type", "").startswith("text/event-stream")
    has_content = _FORMATS.get(path)
    if has_content is None:
        return await _first_piece(source, is_stream=is_stream) if has_other else b""
    if is_stream and reply.status == 200:
        return await _up_to_content(source, has_content, has_other=has_other, is_late=is_late)
    body = await _joined(source)
    if reply.status >= 400:
        return _without_keys(body)
    if reply.status == 200:
        error = _told_instead(_object_in(body))
        if error is not None and _is_ours(error, has_other=has_other):
            raise error
    return body


async def _first_piece(source: AsyncGenerator[bytes, None], *, is_stream: bool) -> bytes:
    first = await anext(source, b"")
    if is_stream:
        if not first:
            raise UpstreamDisconnected("The provider's reply ended before it began.")
        if _ERROR_FIRST.match(first):
            raise UpstreamServerError("The provider's stream began with an error.")
    return first


async def _up_to_content(
    source: AsyncGenerator[bytes, None],
    has_content: HasContent,
    *,
    has_other: bool,
    is_late: Callable[[], bool],
) -> bytes:
    decoder = SSEDecoder()
    held = bytearray()
    async for data in source:
        held += data
        if len(held) > MAX_HELD_BYTES or (not has_other and is_late()):
            return bytes(held)
        try:
            if any(_is_content(event.data, has_content) for event in decoder.feed(data)):
                return bytes(held)
        except GatewayError as exc:
            if _is_ours(exc, has_other=has_other):
                raise
            return bytes(held)
    raise UpstreamDisconnected("The provider's reply ended before its first content.")


def _is_content(data: bytes, has_content: HasContent) -> bool:
    if data == b"[DONE]":
        return True
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(event, dict) and has_content(event)


async def _joined(source: AsyncGenerator[bytes, None]) -> bytes:
    body = bytearray()
    async for data in source:
        body += data
        if len(body) > MAX_REPLY_BYTES:
            raise UpstreamInvalidResponse("The provider's reply is too large.")
    return bytes(body)


def _without_keys(body: bytes) -> bytes:
    """The body of an error, as it came but for what looks like a key: it may quote ours."""
    text = body.decode("utf-8", "replace")
    clean = redact(text, sys.maxsize)
    if clean == text:
        return body
    try:
        return orjson.dumps(_redacted(orjson.loads(body)))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return clean.encode()


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact(value, sys.maxsize)
        case list():
            return [_redacted(item) for item in value]
        case dict():
            return {name: _redacted(item) for name, item in value.items()}
    return value


def _object_in(body: bytes) -> JsonObject:
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
    if not isinstance(reply, dict):
        raise UpstreamInvalidResponse("The provider's reply is no JSON object.")
    return reply


def _told_instead(reply: JsonObject) -> GatewayError | None:
    """The error in a body of status 200, if that tells one and no more."""
    if reply.get("object") == "response":
        has_failed = reply.get("status") == "failed"
        return error_in_reply(_error_of_response(reply)) if has_failed else None
    return error_in_reply(reply) if tells_error(reply) or reply.get("type") == "error" else None


def _is_ours(error: GatewayError, *, has_other: bool) -> bool:
    """Whether what a reply tells instead of content is no business of the client's.

    A refused credential never is; nor is what another deployment may do better.
    """
    return error.blames_credential or (has_other and error.retryable)
