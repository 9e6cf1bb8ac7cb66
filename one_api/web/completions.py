"""`POST /v1/completions`, the legacy text completions."""

from __future__ import annotations

import flask

from one_api.gateway import Gateway
from one_api.schemas.completions import CompletionRequest
from one_api.web.bodies import json_body
from one_api.web.responses import event_stream, open_stream_early, reply_response
from one_api.web.routing_headers import request_context


def completions_blueprint(gateway: Gateway, *, stream_open_after_s: float) -> flask.Blueprint:
    """The route for text completions, below the API prefix.

    After `stream_open_after_s` seconds without content a stream's head is sent all the same; 0
    never does that.
    """
    blueprint = flask.Blueprint("completions", __name__)

    @blueprint.post("/completions")
    async def create_completion() -> flask.Response:
        request = CompletionRequest.from_wire(json_body())
        if request.wants_stream:
            open_stream_early(event_stream(None), stream_open_after_s)
        context = request_context(flask.g.caller)
        return reply_response(await gateway.complete(request, context))

    return blueprint
