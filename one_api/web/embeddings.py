"""`POST /v1/embeddings`."""

from __future__ import annotations

import flask

from one_api.embedding import Embedder
from one_api.schemas.embeddings import EmbeddingRequest
from one_api.web.bodies import json_body
from one_api.web.responses import json_response
from one_api.web.routing_headers import request_context


def embeddings_blueprint(embedder: Embedder) -> flask.Blueprint:
    """The route for vectors, below the API prefix."""
    blueprint = flask.Blueprint("embeddings", __name__)

    @blueprint.post("/embeddings")
    async def create_embeddings() -> flask.Response:
        request = EmbeddingRequest.from_wire(json_body())
        reply = await embedder.embed(request, request_context(flask.g.caller))
        return json_response(reply.body, headers=reply.headers)

    return blueprint
