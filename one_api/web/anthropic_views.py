"""What is behind the Anthropic door, imported when the first request is at it.

A provider that speaks Anthropic's format itself gets the request as it came, and its reply leaves
as it came; for any other one both are translated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import flask

from one_api.adapter.passthrough import RawRequest
from one_api.asking import count_prompt
from one_api.converter import ReplyForm
from one_api.converter.messages import (
    ERROR_PREFIX,
    PING,
    MessagesDialect,
    MessageStreamRelay,
    body_to_wire,
    chat_request,
    empty_message,
    empty_stream,
    error_event,
)
from one_api.errors import GatewayError, InvalidRequest, ShuttingDown
from one_api.failover import RequestContext
from one_api.forwarding import ClientRequest, ForwardedReply, Forwarder
from one_api.gateway import CompleteReply, Gateway
from one_api.policy.caps import capped
from one_api.registry import ModelRegistry
from one_api.runtime import StreamingResponse
from one_api.schemas import JsonObject
from one_api.schemas.anthropic import MessagesRequest, PromptRequest
from one_api.tokens import TokenCounter
from one_api.web.bodies import json_body
from one_api.web.responses import event_stream, json_response, open_stream_early
from one_api.web.routing_headers import request_context

#: Headers of a client's request, besides those of Anthropic, that its provider gets.
_FORWARDED_HEADERS = frozenset({"accept", "content-type"})
_OWN_HEADERS = "anthropic-"
_DROPPED = "x-one-api-dropped-params"


class AnthropicViews:
    """What answers; `stream_open_after_s` as for OpenAI's."""

    def __init__(
        self,
        gateway: Gateway,
        registry: ModelRegistry,
        counter: TokenCounter,
        forwarder: Forwarder,
        stream_open_after_s: float,
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self._forwarder = forwarder
        self._counter = counter
        #: Without encodings it only measures: good enough for what a stream says at its start.
        self._gauge = TokenCounter()
        self._stream_open_after_s = stream_open_after_s

    async def create(self) -> flask.Response:
        """`POST /messages`."""
        body = _object_body()
        wants_stream = body.get("stream") is True
        if wants_stream:
            open_stream_early(_message_stream(None), self._stream_open_after_s)
        context = request_context(flask.g.caller)
        capped(body, context.account)
        relayed = await self._relayed("/messages", body, context)
        if relayed is not None:
            return relayed
        request = MessagesRequest.from_wire(body)
        if not request.max_tokens:
            return await self._warmed(request)
        return await self._translated(request, context)

    async def count_tokens(self) -> flask.Response:
        """`POST /messages/count_tokens`."""
        body = _object_body()
        context = request_context(flask.g.caller)
        relayed = await self._relayed("/messages/count_tokens", body, context)
        if relayed is not None:
            return relayed
        chat = chat_request(PromptRequest.from_wire(body)).request
        tokens = await count_prompt(chat, context, self._registry, self._counter)
        return json_response({"input_tokens": tokens})

    async def _translated(
        self, request: MessagesRequest, context: RequestContext
    ) -> flask.Response:
        deployment = (await self._registry.deployments_for(request.model))[0]
        policy = self._registry.adapter(deployment.adapter).parameters(deployment.upstream_model)
        translation = chat_request(request, honoured=policy.honoured)
        chat = translation.request
        size = await self._gauge.usage(chat, chat.model or "", ()) if chat.wants_stream else None
        dialect = MessagesDialect(
            request_id=flask.g.request_id,
            names=translation.names,
            prompt_tokens=size.prompt_tokens if size else 0,
        )
        reply = await self._gateway.chat(chat, context, dialect=dialect)
        if isinstance(reply, CompleteReply):
            response = json_response(reply.body)
        else:
            response = _message_stream(reply.chunks)
        told = [*filter(None, reply.headers.get(_DROPPED, "").split(",")), *translation.dropped]
        headers = {**reply.headers, _DROPPED: ",".join(sorted(told))} if told else reply.headers
        response.headers.extend(headers)
        return response

    async def _warmed(self, request: MessagesRequest) -> flask.Response:
        """The reply to a request for no tokens: it warms a cache that others do not have."""
        await self._registry.deployments_for(request.model)
        form = ReplyForm(model=request.model)
        if not request.stream:
            return json_response(empty_message(form))
        return _message_stream(_once(empty_stream(form)))

    # -- providers that speak the format

    async def _relayed(
        self, path: str, body: JsonObject, context: RequestContext
    ) -> flask.Response | None:
        """The provider's own reply; None when it does not speak the format."""
        request = flask.request
        given = request.get_data(cache=True)
        outline = RawRequest(
            path=path,
            query=request.query_string.decode("latin-1"),
            headers={
                name.lower(): value
                for name, value in request.headers.items()
                if name.lower() in _FORWARDED_HEADERS or name.lower().startswith(_OWN_HEADERS)
            },
        )
        reply = await self._forwarder.forward(
            ClientRequest(
                outline=outline,
                for_model=lambda model: replace(
                    outline, body=body_to_wire(given, body, model or "")
                ),
                model=_model_of(body),
                is_stream=body.get("stream") is True,
            ),
            context,
        )
        return None if reply is None else await _relayed_response(reply)


async def _relayed_response(reply: ForwardedReply) -> flask.Response:
    # The length is told anew: a stream that is cut gets longer by an event.
    headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
    if headers.get("content-type", "").startswith("text/event-stream"):
        del headers["content-type"]
        response: flask.Response = _message_stream(
            _relayed_stream(reply.chunks, flask.g.request_id)
        )
    else:
        async with aclosing(reply.chunks) as chunks:
            response = flask.Response(b"".join([data async for data in chunks]))
        response.headers.pop("content-type")
    response.status_code = reply.status
    response.headers.extend(headers)
    return response


async def _relayed_stream(
    chunks: AsyncGenerator[bytes, None], request_id: str
) -> AsyncGenerator[bytes, None]:
    """The provider's stream as it comes; one that is cut ends in an event that tells so."""
    relay = MessageStreamRelay()
    async with aclosing(chunks):
        try:
            async for data in chunks:
                whole = relay.feed(data)
                if whole:
                    yield whole
            rest = relay.close()
            if rest:
                yield rest
        except GatewayError as exc:
            if not relay.is_complete:
                yield error_event(exc, request_id)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _message_stream(chunks: AsyncGenerator[bytes, None] | None) -> StreamingResponse:
    response = event_stream(chunks)
    response.keep_alive = PING
    response.cut_off = error_event(
        ShuttingDown("The gateway is shutting down and could not finish this reply; ask again."),
        flask.g.request_id,
    )
    response.error_prefix = ERROR_PREFIX
    return response


def _object_body() -> JsonObject:
    body: Any = json_body()
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_type")
    return body


def _model_of(body: JsonObject) -> str:
    """The model's name; whoever answers checks the other fields.

    Raises: InvalidRequest.
    """
    model = body.get("model")
    if model is None:
        raise InvalidRequest(
            "Missing required parameter: 'model'.",
            param="model",
            code="missing_required_parameter",
        )
    if not isinstance(model, str) or not model:
        raise InvalidRequest(
            "Invalid value for 'model': a string is needed.", param="model", code="invalid_type"
        )
    return model
