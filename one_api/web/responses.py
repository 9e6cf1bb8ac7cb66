"""Replies and errors as Flask responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flask
import orjson

from one_api.converter import PING, error_frame
from one_api.delivery import CLIENT_GONE
from one_api.errors import GatewayError, ShuttingDown
from one_api.gateway import CompleteReply, StreamedReply
from one_api.runtime import StreamingResponse, open_early
from one_api.web.visit import Visit

#: Key in the application's configuration: seconds of silence after which a stream gets a comment,
#: so that no proxy cuts it.
KEEP_ALIVE_S = "KEEP_ALIVE_S"

JSON = "application/json"
#: nginx buffers responses of upstreams unless told not to.
STREAM_HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}

CUT_OFF = error_frame(
    ShuttingDown("The gateway is shutting down and could not finish this reply; ask again.")
)


def json_response(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> flask.Response:
    """`body` as JSON; bytes are taken to be JSON already."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    response = flask.Response(data, status=status, content_type=JSON)
    response.headers.extend(headers or {})
    return response


def error_response(error: GatewayError) -> flask.Response:
    """`error` in OpenAI's format with its status and headers."""
    return json_response(error.to_wire(), error.status, error.headers())


def reply_response(reply: CompleteReply | StreamedReply) -> flask.Response:
    """A gateway's reply as JSON or as server-sent events."""
    if isinstance(reply, CompleteReply):
        return json_response(reply.body, headers=reply.headers)
    response = event_stream(reply.chunks)
    response.headers.extend(reply.headers)
    return response


def open_stream_early(head: StreamingResponse, delay_s: float) -> None:
    """Let the client know after `delay_s` seconds that its stream is coming; 0 never does.

    `head` is its response without chunks.
    """
    if delay_s:
        # The same headers that the real response will get (CORS, request id).
        flask.current_app.process_response(head)
        # What became of the request is not known yet: its client may leave before it is.
        visit: Visit | None = flask.g.get("visit")
        if visit is not None:
            visit.status = CLIENT_GONE
        open_early(flask.request.environ, delay_s, head)


def event_stream(chunks: Any) -> StreamingResponse:
    """A server-sent stream of `chunks`; without chunks, its head alone."""
    response = StreamingResponse(
        chunks,
        content_type=STREAM_HEADERS["content-type"],
        keep_alive=PING,
        keep_alive_s=flask.current_app.config[KEEP_ALIVE_S],
        cut_off=CUT_OFF,
    )
    response.headers.update(STREAM_HEADERS)
    return response
