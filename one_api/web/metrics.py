"""The gateway's metrics, for whoever has their token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable

import flask

from one_api.errors import AuthenticationFailed, PermissionDenied
from one_api.policy.auth import bearer_token
from one_api.web.guard import METRICS

#: The text for an `Accept` header, and its content type.
Render = Callable[[str], Awaitable[tuple[bytes, str]]]


def metrics_blueprint(
    render: Render, token: str | None, *, paths: tuple[str, ...]
) -> flask.Blueprint:
    """`GET` of each of `paths`, for the bearer of `token`.

    Without a token nobody gets in here: keys of clients open nothing.
    """
    blueprint = flask.Blueprint(METRICS, __name__)
    digest = None if token is None else _digest(token)

    def read() -> flask.Response:
        if digest is None:
            raise PermissionDenied(
                "Nobody may read metrics here: set METRICS_TOKEN, and send it as "
                "'Authorization: Bearer <token>'; or METRICS_BIND, for an address of their own."
            )
        presented = bearer_token(flask.request.headers.get("Authorization"))
        if not hmac.compare_digest(digest, _digest(presented or "")):
            raise AuthenticationFailed(
                "Incorrect token provided. Send this gateway's METRICS_TOKEN as "
                "'Authorization: Bearer <token>'; API keys open nothing here."
            )
        # Only who has the token costs a switch to the loop.
        told = flask.current_app.ensure_sync(render)
        body, content_type = told(flask.request.headers.get("Accept", ""))
        response = flask.Response(body, content_type=content_type)
        response.headers["Cache-Control"] = "no-store"
        return response

    for path in paths:
        blueprint.add_url_rule(path, "read", read, methods=["GET"])
    return blueprint


def _digest(token: str) -> bytes:
    # Digests have one length, so comparing them tells nothing about a token's.
    return hashlib.sha256(token.encode()).digest()
