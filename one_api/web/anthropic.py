"""The Anthropic door: `/v1/messages`, `/v1/messages/count_tokens` and `/api/hello`.

What is behind it is imported when somebody comes in: the format's types, parser and renderers are
4 % of a start, for requests that many gateways never see.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import flask

from one_api.errors import GatewayError
from one_api.forwarding import Forwarder
from one_api.gateway import Gateway
from one_api.registry import ModelRegistry
from one_api.tokens import TokenCounter
from one_api.web.responses import json_response

if TYPE_CHECKING:
    from one_api.web.anthropic_views import AnthropicViews


def anthropic_blueprint(
    gateway: Gateway,
    registry: ModelRegistry,
    counter: TokenCounter,
    forwarder: Forwarder,
    *,
    prefix: str,
    stream_open_after_s: float,
) -> flask.Blueprint:
    """The routes, all but `/api/hello` below `prefix`; `stream_open_after_s` as for OpenAI's."""
    blueprint = flask.Blueprint("anthropic", __name__)

    @functools.cache
    def views() -> AnthropicViews:
        from one_api.web.anthropic_views import AnthropicViews

        return AnthropicViews(gateway, registry, counter, forwarder, stream_open_after_s)

    @blueprint.post(f"{prefix}/messages")
    async def create() -> flask.Response:
        return await views().create()

    @blueprint.post(f"{prefix}/messages/count_tokens")
    async def count_tokens() -> flask.Response:
        return await views().count_tokens()

    @blueprint.get("/api/hello")
    def hello() -> flask.Response:
        # Claude Code asks before its first request; any answer will do.
        return json_response({"message": "hello"})

    @blueprint.after_request
    def tell_request_id(response: flask.Response) -> flask.Response:
        response.headers["request-id"] = flask.g.request_id
        return response

    return blueprint


def anthropic_errors(prefix: str) -> Callable[[GatewayError], flask.Response | None]:
    """Tells errors in Anthropic's format to whoever speaks it: None for other requests.

    By the path; below `/models`, which both kinds of clients ask, by the version header that
    Anthropic's send.
    """

    def tell(error: GatewayError) -> flask.Response | None:
        path = flask.request.path
        is_shared = f"{path}/".startswith(f"{prefix}/models/")
        if not (
            f"{path}/".startswith(f"{prefix}/messages/")
            or (is_shared and "anthropic-version" in flask.request.headers)
        ):
            return None
        from one_api.converter.messages.errors import error_to_wire, status_of

        body = error_to_wire(error, flask.g.request_id)
        response = json_response(body, status_of(error), error.headers())
        response.headers["request-id"] = flask.g.request_id
        return response

    return tell
