"""The door for OpenAI's Responses: `POST /responses`.

What is behind it is imported when somebody comes in: the format's types, parser and renderers are
4 % of a start, for requests that many gateways never see.
"""

from __future__ import annotations

from dataclasses import dataclass

import flask

from one_api.forwarding import Forwarder
from one_api.gateway import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesOptions:
    """What the operator decided: `default_model` answers requests that name none, `strict_params`
    refuses what would be dropped, `stream_open_after_s` is as for chat.
    """

    default_model: str | None = None
    strict_params: bool = False
    stream_open_after_s: float = 0.0


def responses_blueprint(
    gateway: Gateway, forwarder: Forwarder, options: ResponsesOptions
) -> flask.Blueprint:
    """The route below the API prefix."""
    blueprint = flask.Blueprint("responses", __name__)

    @blueprint.post("/responses")
    async def create_response() -> flask.Response:
        from one_api.web.responses_views import answer

        return await answer(gateway, forwarder, options)

    return blueprint
