"""Every other path below the API prefix: passed on to the provider that the request is meant for.

The request's model decides, or the adapter that the operator named. Of the client's request only
its method, path, query, body and the headers in `FORWARDED_HEADERS` go on; the credential is ours.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from one_api.adapter.passthrough import RawRequest
from one_api.errors import InvalidRequest, MethodNotAllowed, NotFound
from one_api.forwarding import ClientRequest, ForwardedReply, Forwarder
from one_api.policy.caps import capped
from one_api.runtime import UPLOAD, SpooledUpload, StreamingResponse, UploadPolicy
from one_api.web.contents import Content, JSONContent, read_content
from one_api.web.routing_headers import request_context

#: The name of the one endpoint of this blueprint.
ENDPOINT = "passthrough.pass_on"

#: Headers of a client's request that its provider gets. Not `Accept-Encoding`: replies are read.
FORWARDED_HEADERS = ("accept", "content-type", "idempotency-key", "openai-beta", "range")

#: First segments below the prefix that will never be a provider's.
RESERVED = frozenset({"admin", "metrics", "usage"})

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
#: What a segment of a path may hold: no escapes, nothing that ends a path.
_SEGMENT = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._~!$&'()*+,;=:@\-]+")
_ENCODED_SLASH = re.compile(r"%(?:2f|5c)", re.I)


def passthrough_blueprint(
    forwarder: Forwarder, uploads: UploadPolicy, *, adapter: str | None
) -> flask.Blueprint:
    """The route for whatever no other one takes; `adapter` gets requests that name no model."""
    blueprint = flask.Blueprint("passthrough", __name__)
    blueprint.before_request(functools.partial(_spool, uploads))
    blueprint.teardown_request(_discard_spooled)

    @blueprint.route("/<path:path>", methods=_METHODS)
    async def pass_on(path: str) -> flask.Response:
        tail = _checked_path(path)
        is_ours = _require_adapter_for_our_paths(path, adapter)
        content = await read_content()
        try:
            reply = await _forwarded(forwarder, tail, content, adapter, is_ours=is_ours)
        except BaseException:
            await content.close()
            raise
        if reply is None:
            await content.close()
            raise NotFound(
                f"Unknown request URL: {flask.request.method} {flask.request.path}. The gateway "
                "has no such path, and the provider it would go to takes no requests of its own."
            )
        return _response(reply)

    return blueprint


async def _forwarded(
    forwarder: Forwarder, path: str, content: Content, adapter: str | None, *, is_ours: bool
) -> ForwardedReply | None:
    request = flask.request
    in_query = request.args.get("model") if content.model is None else None
    headers = {name: request.headers[name] for name in FORWARDED_HEADERS if name in request.headers}
    outline = RawRequest(
        path=path,
        method=request.method,
        query=request.query_string.decode("latin-1"),
        headers=headers,
    )
    context = request_context(flask.g.caller)
    if isinstance(content, JSONContent) and isinstance(content.value, dict):
        capped(content.value, context.account)
    through = ClientRequest(
        outline=outline,
        for_model=functools.partial(_for_model, outline, content, is_in_query=bool(in_query)),
        # Below our own paths `model` is a filter or a field of what is stored.
        model=None if is_ours else content.model or in_query or None,
        is_stream=content.is_stream,
        is_replayable=content.is_replayable,
    )
    return await forwarder.forward(through, context, adapter=adapter)


def _for_model(
    outline: RawRequest, content: Content, model: str | None, *, is_in_query: bool
) -> RawRequest:
    """The request with its body, and with the upstream's name for the model in it."""
    headers, query = dict(outline.headers), outline.query
    if is_in_query and model is not None:
        query = _with_model(query, model)
    body = content.body(model)
    if body is None:
        headers.pop("content-type", None)
    elif isinstance(body, bytes):
        headers["content-type"] = "application/json"
    if content.length is not None:
        headers["content-length"] = str(content.length)
    return replace(outline, query=query, headers=headers, body=body)


def _spool(policy: UploadPolicy) -> None:
    """On WSGI, take the upload in while this is still the worker's thread."""
    request = flask.request
    if UPLOAD in request.environ or not policy.covers(request.endpoint, request.content_type or ""):
        return
    # One more than may come: werkzeug cuts a body of untold length at its limit without a word.
    request.max_content_length = policy.max_bytes + 1
    if (request.content_length or 0) > policy.max_bytes:
        raise policy.too_large()
    request.environ[UPLOAD] = SpooledUpload.read(request.stream, policy)


def _discard_spooled(_: BaseException | None) -> None:
    """Give back an upload that was refused before anybody looked at it."""
    upload = flask.request.environ.get(UPLOAD)
    if isinstance(upload, SpooledUpload):
        upload.discard()


def _checked_path(path: str) -> str:
    """The path to ask the provider for.

    Raises: NotFound for one that is reserved; InvalidRequest for one that could mean another path
    there than here.
    """
    segments = path.split("/")
    if segments[0].lower() in RESERVED:
        raise NotFound(f"Unknown request URL: {flask.request.method} {flask.request.path}.")
    environ = flask.request.environ
    raw = (environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0]
    if _ENCODED_SLASH.search(raw) or not all(map(_SEGMENT.fullmatch, segments)):
        raise InvalidRequest(
            "The path cannot be passed on: it has empty or relative segments, or characters that "
            "are escaped in a path."
        )
    return f"/{path}"


def _require_adapter_for_our_paths(path: str, adapter: str | None) -> bool:
    """Whether `path` is one of our own, which has no such method here.

    Raises: NotFound, MethodNotAllowed when no adapter is configured for it.
    """
    request = flask.request
    is_stored = path.startswith("chat/completions/") or (
        path == "chat/completions" and request.method in ("GET", "HEAD")
    )
    allowed = _methods_of_ours()
    if adapter is None and is_stored:
        raise NotFound(
            f"Unknown request URL: {request.method} {request.path}. Nothing is stored here."
        )
    if adapter is None and allowed:
        raise MethodNotAllowed(
            f"{request.method} is not allowed for {request.path}.", allowed=(*allowed, "OPTIONS")
        )
    return is_stored or bool(allowed)


def _methods_of_ours() -> list[str]:
    """The methods for which the current path has a route of its own."""
    routes = flask.current_app.create_url_adapter(flask.request)
    assert routes is not None, "there always is one within a request"  # noqa: S101
    found = []
    for method in _METHODS:
        try:
            endpoint, _ = routes.match(method=method)
        except (HTTPException, RequestRedirect):
            continue
        if endpoint != ENDPOINT:
            found.append(method)
    return found


def _with_model(query: str, model: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(name, model if name == "model" else value) for name, value in pairs])


def _response(reply: ForwardedReply) -> flask.Response:
    response = StreamingResponse(reply.chunks, content_type="application/octet-stream")
    response.status_code = reply.status
    del response.headers["Content-Type"]
    response.headers.extend(reply.headers)
    response.headers["X-Accel-Buffering"] = "no"
    return response
