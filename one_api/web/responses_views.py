"""What is behind the door for OpenAI's Responses, imported when the first request is at it.

A provider that has the endpoint itself gets the request as it is; for others it is read as a chat
request, whose reply is rendered as a response.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import flask
import orjson

from one_api.adapter.passthrough import RawRequest
from one_api.converter.responses import (
    ChatTranslation,
    Envelope,
    RelayedStream,
    ResponsesDialect,
    chat_request,
    error_event,
    named_frame,
)
from one_api.errors import (
    GatewayError,
    ShuttingDown,
    UnsupportedParameter,
    UpstreamInvalidResponse,
)
from one_api.failover import RequestContext
from one_api.forwarding import ClientRequest, ForwardedReply, Forwarder
from one_api.gateway import CompleteReply, Gateway, StreamedReply
from one_api.policy.caps import capped
from one_api.runtime import StreamingResponse
from one_api.schemas import JsonObject
from one_api.schemas.responses import ResponseRequest
from one_api.web.bodies import json_body
from one_api.web.responses import event_stream, json_response, open_stream_early
from one_api.web.responses_api import ResponsesOptions
from one_api.web.routing_headers import request_context

_DROPPED = "x-one-api-dropped-params"
#: Most bytes of a complete response.
_MAX_REPLY_BYTES = 64 * 1024 * 1024
#: Statuses with which servers say that they have no such endpoint.
_NO_ENDPOINT = frozenset({404, 405, 501})

_CUT_OFF = named_frame(
    error_event(
        ShuttingDown("The gateway is shutting down and could not finish this reply; ask again.")
    )
)


async def answer(
    gateway: Gateway, forwarder: Forwarder, options: ResponsesOptions
) -> flask.Response:
    """The reply to the request at hand."""
    body = json_body()
    if isinstance(body, dict) and body.get("stream") is True:
        open_stream_early(event_stream(None), options.stream_open_after_s)
    context = request_context(flask.g.caller)
    if isinstance(body, dict):
        body = capped(body, context.account, default="max_output_tokens")
    relayed = await _relayed(forwarder, body, options.default_model, context)
    return relayed or await _converted(gateway, body, options, context)


async def _relayed(
    forwarder: Forwarder, body: Any, default_model: str | None, context: RequestContext
) -> flask.Response | None:
    """The provider's own response; None where it has no such endpoint."""
    if not isinstance(body, dict):
        return None
    model = default_model if body.get("model") is None else body["model"]
    if not isinstance(model, str) or not model:
        return None
    outline = RawRequest(path="/responses", headers={"Content-Type": "application/json"})

    def for_model(upstream_model: str | None) -> RawRequest:
        return replace(outline, body=orjson.dumps({**body, "model": upstream_model}))

    request = ClientRequest(
        outline=outline,
        for_model=for_model,
        model=model,
        is_stream=body.get("stream") is True,
        bound_to=_stored_id(body),
    )
    reply = await forwarder.forward(request, context)
    if reply is None:
        return None
    if "text/event-stream" in reply.headers.get("content-type", ""):
        chunks = _guarded(reply.chunks)
        # Begun here: closing a generator that never ran would keep the connection open.
        await anext(chunks)
        return _as_stream(chunks, _shown(reply))
    data = await _whole(reply)
    if reply.status in _NO_ENDPOINT and not _tells_why(data):
        return None
    response = json_response(data, reply.status, _shown(reply))
    response.headers["Content-Type"] = reply.headers.get("content-type", "application/json")
    return response


def _stored_id(body: JsonObject) -> str | None:
    """The stored response or conversation that a request goes on from."""
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    given = body.get("previous_response_id") or conversation
    return given if isinstance(given, str) else None


async def _converted(
    gateway: Gateway, body: Any, options: ResponsesOptions, context: RequestContext
) -> flask.Response:
    request = ResponseRequest.from_wire(body)
    translation = chat_request(request)
    if options.strict_params and translation.ignored:
        name = translation.ignored[0]
        raise UnsupportedParameter(
            f"Unsupported parameter: '{name}' is not supported with this model.", param=name
        )
    dialect = ResponsesDialect(Envelope.of(request))
    try:
        reply = await gateway.chat(translation.chat, context, dialect=dialect)
    except GatewayError as exc:
        translation.explain(exc)
        raise
    headers = _told(reply, translation)
    if isinstance(reply, StreamedReply):
        return _as_stream(reply.chunks, headers)
    return json_response(reply.body, headers=headers)


def _told(reply: CompleteReply | StreamedReply, translation: ChatTranslation) -> dict[str, str]:
    """The reply's headers, in the client's terms."""
    dropped = [name for name in reply.headers.get(_DROPPED, "").split(",") if name]
    names = sorted({*map(translation.name, dropped), *translation.ignored})
    return {**reply.headers, _DROPPED: ",".join(names)} if names else reply.headers


def _as_stream(chunks: AsyncGenerator[bytes, None], headers: dict[str, str]) -> StreamingResponse:
    response = event_stream(chunks)
    response.cut_off = _CUT_OFF
    response.headers.update(headers)
    return response


async def _guarded(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A provider's stream as it comes; where it is cut, an event says so."""
    stream = RelayedStream()
    async with aclosing(chunks):
        yield b""
        try:
            async for data in chunks:
                whole = stream.feed(data)
                if whole:
                    yield whole
        except GatewayError as exc:
            yield stream.fail(exc)
            return
        yield stream.close()


async def _whole(reply: ForwardedReply) -> bytes:
    """The body of a reply that is no stream."""
    data = bytearray()
    async with aclosing(reply.chunks) as chunks:
        async for piece in chunks:
            data += piece
            if len(data) > _MAX_REPLY_BYTES:
                raise UpstreamInvalidResponse("The provider's reply is too large.")
    return bytes(data)


def _shown(reply: ForwardedReply) -> dict[str, str]:
    """The reply's headers but for those that belong to its body."""
    hidden = ("content-type", "content-length")
    return {name: value for name, value in reply.headers.items() if name.lower() not in hidden}


def _tells_why(body: bytes) -> bool:
    """Whether an error says what was not found: then it was not the endpoint."""
    try:
        decoded: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if not isinstance(error, dict):
        return False
    return bool(error.get("param")) or isinstance(error.get("code"), str)
