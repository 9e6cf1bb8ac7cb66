"""The OpenAI door: `/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

from datetime import UTC, datetime

import flask

from one_api.gateway import Gateway
from one_api.policy.accounts import Account
from one_api.registry import ModelRegistry, RegisteredModel, model_not_found
from one_api.schemas import JsonObject
from one_api.schemas.chat import ChatCompletionRequest
from one_api.web.bodies import json_body
from one_api.web.responses import event_stream, json_response, open_stream_early, reply_response
from one_api.web.routing_headers import request_context


def openai_blueprint(
    gateway: Gateway, registry: ModelRegistry, *, stream_open_after_s: float
) -> flask.Blueprint:
    """The routes below the API prefix.

    After `stream_open_after_s` seconds without content a stream's head is sent all the same, so
    that no proxy gives up on it; 0 never does that.
    """
    blueprint = flask.Blueprint("openai", __name__)

    @blueprint.get("/models")
    async def list_models() -> flask.Response:
        account: Account = flask.g.account
        known = await registry.list_all_models()
        models = [model_to_wire(model) for model in known if account.allows(model.id)]
        return json_response(
            {
                "object": "list",
                "data": models,
                "has_more": False,
                "first_id": models[0]["id"] if models else None,
                "last_id": models[-1]["id"] if models else None,
            }
        )

    @blueprint.get("/models/<path:model_id>")
    async def get_model(model_id: str) -> flask.Response:
        if not flask.g.account.allows(model_id):
            raise model_not_found(model_id)
        return json_response(model_to_wire(await registry.get_model_info(model_id)))

    @blueprint.post("/chat/completions")
    async def chat_completions() -> flask.Response:
        request = ChatCompletionRequest.from_wire(json_body())
        if request.wants_stream:
            open_stream_early(event_stream(None), stream_open_after_s)
        return reply_response(await gateway.chat(request, request_context(flask.g.caller)))

    return blueprint


def model_to_wire(model: RegisteredModel) -> JsonObject:
    """One model in a form that OpenAI's and Anthropic's SDKs both read."""
    info = model.info
    wire: JsonObject = {
        "id": model.id,
        "object": "model",
        "created": info.created,
        "owned_by": info.owned_by,
        "type": "model",
        "display_name": info.display_name or model.id,
        "created_at": datetime.fromtimestamp(info.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "adapter": model.adapter,
    }
    if info.context_window is not None:
        wire["context_window"] = info.context_window
    if info.max_completion_tokens is not None:
        wire["max_completion_tokens"] = info.max_completion_tokens
    if info.details:
        wire["details"] = dict(info.details)
    return wire
