"""What happens to every request before its view and to every response after it.

Order: an error the runtime found, draining, the API key. Every route needs a key unless its
endpoint is listed in `PUBLIC`; those of the blueprint `ADMIN` and those in `OPERATORS` need the
operator's, and those of `METRICS` see to it themselves. Each request of a client has an account:
what asks models is admitted by it once it is known what is asked, all else here; it is closed when
the response is made, or by the stream that goes on after that.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Sequence

import flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from one_api import errors
from one_api.converter import random_id
from one_api.delivery import CLIENT_GONE
from one_api.errors import (
    AuthenticationFailed,
    GatewayError,
    InternalError,
    PermissionDenied,
    ShuttingDown,
)
from one_api.observe import Exchange, Observers
from one_api.observe.observer import NOBODY
from one_api.policy.accounts import Account, AccountBook
from one_api.policy.auth import AdminKey, ApiKey, KeyRing, bearer_token
from one_api.runtime import Drain, UploadPolicy
from one_api.runtime.asgi import REJECTED
from one_api.web.client_address import Network, client_address
from one_api.web.responses import error_response

logger = logging.getLogger(__name__)

#: Endpoints that anybody may ask: they tell nothing about keys, models or providers' secrets.
PUBLIC = frozenset({"health.index", "health.alive", "health.ready", "anthropic.hello"})
#: Endpoints whose requests are admitted where it is known what they ask for.
METERED = frozenset(
    {
        "anthropic.count_tokens",
        "anthropic.create",
        "completions.create_completion",
        "embeddings.create_embeddings",
        "openai.chat_completions",
        "passthrough.pass_on",
        "responses.create_response",
    }
)
#: The blueprint whose endpoints open to the admin key, and to nothing else.
ADMIN = "admin"
#: Endpoints elsewhere that do so, too.
OPERATORS = frozenset({"health.deployments"})
#: The blueprint whose endpoints open to a token of theirs, and ask for it themselves.
METRICS = "metrics"
#: Key in the application's configuration: whether responses tell what part of their time was ours.
TELLS_TIMING = "TELLS_TIMING"

#: Tells an error to clients of a format of its own; None for requests of other clients.
ErrorFormat = Callable[[GatewayError], flask.Response | None]

_CORS = "access-control-"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,64}")


class Guard:
    """Admission for one application; `install` hooks it in.

    Without an `admin` key, nobody administrates. Errors are told in the first of `error_formats`
    that speaks for the request, else in OpenAI's.
    """

    def __init__(
        self,
        keys: KeyRing,
        book: AccountBook,
        drain: Drain,
        uploads: UploadPolicy,
        *,
        admin: AdminKey | None = None,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._keys = keys
        self._book = book
        self._trusted_proxies = trusted_proxies
        self._drain = drain
        self._uploads = uploads
        self._admin = admin
        self._observers = NOBODY
        self._tells_timing = False
        self._error_formats: Sequence[ErrorFormat] = ()

    def install(
        self,
        app: flask.Flask,
        error_formats: Sequence[ErrorFormat] = (),
        observers: Observers = NOBODY,
    ) -> None:
        """Hook into every request, response and error of `app`, and tell `observers` of each.

        Errors are told in the first of `error_formats` that speaks for the request, else in
        OpenAI's.
        """
        self._error_formats = error_formats
        self._observers = observers
        self._tells_timing = bool(app.config.get(TELLS_TIMING))
        app.before_request(self._begin)
        app.before_request(self._read_body)
        app.after_request(self._finish)
        app.teardown_request(self._close_account)
        app.register_error_handler(GatewayError, self._tell)
        app.register_error_handler(HTTPException, self._on_http_exception)
        app.register_error_handler(Exception, self._on_bug)

    def _begin(self) -> None:
        given = flask.request.headers.get("x-request-id", "")
        is_sound = _REQUEST_ID.fullmatch(given) is not None
        flask.g.request_id = given if is_sound else random_id("req_", 32)
        # A client may send the same id again; that of an account never comes twice.
        flask.g.account_id = f"{given}.{random_id('', 8)}" if is_sound else flask.g.request_id
        flask.g.exchange = exchange = self._new_exchange()
        rejected: GatewayError | None = flask.request.environ.get(REJECTED)
        if rejected is not None:
            raise rejected
        is_open = flask.request.endpoint in PUBLIC or flask.request.blueprint == METRICS
        if is_open or flask.request.method == "OPTIONS":
            flask.g.caller = None
            return
        if self._drain.is_draining:
            raise ShuttingDown("The gateway is shutting down; send this again.", retry_after_s=1)
        if flask.request.routing_exception is not None:
            flask.g.caller = None  # Nothing is there to protect: a 404 or 405 follows.
            return
        if _is_admin():
            flask.g.caller = self._administrator()
            return
        exchange.client_address = client_address(self._trusted_proxies)
        flask.g.caller = caller = self._client(exchange.client_address or "local")
        self._open_account(caller, exchange)

    def _client(self, address: str) -> ApiKey:
        def authenticate(presented: str | None) -> ApiKey:
            known = self._keys.authenticate(presented, fallback_id=address)
            if known is not None:
                return known
            # Only a key that was not seen within the last second costs a switch to the loop.
            look_up = flask.current_app.ensure_sync(self._keys.look_up)
            found: ApiKey = look_up(presented)
            return found

        return _authenticated(authenticate)

    def _new_exchange(self) -> Exchange:
        request = flask.request
        rule = request.url_rule
        return Exchange(
            self._observers,
            flask.g.request_id,
            method=request.method,
            endpoint=rule.rule if rule is not None else "",
            traceparent=request.headers.get("traceparent"),
            tracestate=request.headers.get("tracestate"),
        )

    def _open_account(self, caller: ApiKey, exchange: Exchange) -> None:
        endpoint = flask.request.endpoint or ""
        flask.g.account = account = self._book.open(caller, flask.g.account_id, exchange)
        if endpoint not in METERED and self._book.limits_calls(caller):
            flask.current_app.ensure_sync(account.admit_call)()

    def _administrator(self) -> ApiKey:
        if self._admin is None:
            raise PermissionDenied(
                "Nobody may administrate this gateway: it has no admin key. Set ADMIN_KEY."
            )
        return _authenticated(self._admin.authenticate)

    def _read_body(self) -> None:
        # On WSGI this is still the worker's thread: a slow body must not hold the loop.
        request = flask.request
        if request.endpoint is None or self._uploads.covers(
            request.endpoint, request.content_type or ""
        ):
            return
        body = request.get_data(cache=True)
        account: Account | None = flask.g.get("account")
        if account is not None and account.keeps_bodies:
            account.note_request(body)
        size = len(body)
        # werkzeug cuts a body of untold length at the limit without a word.
        is_cut = request.content_length is None and size == request.max_content_length
        if is_cut and request.environ["wsgi.input"].read(1):
            raise RequestEntityTooLarge

    def _close_account(self, _: BaseException | None) -> None:
        """Settle what no stream settles; a request without a response is one whose client left."""
        account: Account | None = flask.g.get("account")
        status = flask.g.get("status", CLIENT_GONE)
        if account is not None:
            if not account.is_handed_over:
                account.close(status)
        elif "exchange" in flask.g:
            flask.g.exchange.end(status)

    def _finish(self, response: flask.Response) -> flask.Response:
        headers = response.headers
        exchange: Exchange = flask.g.exchange
        exchange.note_finished()
        flask.g.status = response.status_code
        headers["x-request-id"] = flask.g.request_id
        headers["openai-version"] = "2020-10-01"
        headers["openai-processing-ms"] = str(int(exchange.total_s * 1000))
        headers["X-Content-Type-Options"] = "nosniff"
        account: Account | None = flask.g.get("account")
        if account is not None:
            for name, value in account.headers.items():
                headers.setdefault(name, value)
        if self._tells_timing:
            headers.update(_timing(exchange))
        if _is_admin():
            # Pages of other origins have no business there, whatever CORS_ORIGINS lets them do.
            for name in [name for name, _ in headers if name.lower().startswith(_CORS)]:
                del headers[name]
        if self._drain.is_draining and flask.request.environ["SERVER_PROTOCOL"] == "HTTP/1.1":
            headers["Connection"] = "close"
        return response

    def _tell(self, error: GatewayError) -> flask.Response:
        if "exchange" in flask.g:
            flask.g.exchange.error = error
        for tell in self._error_formats:
            response = tell(error)
            if response is not None:
                return response
        return error_response(error)

    def _on_http_exception(self, error: HTTPException) -> flask.Response:
        return self._tell(_translated(error))

    def _on_bug(self, error: Exception) -> flask.Response:
        logger.error("request %s failed", flask.g.get("request_id"), exc_info=error)
        return self._tell(
            InternalError(
                "The gateway failed on this request; its log has the details under the request id "
                f"{flask.g.get('request_id')}."
            )
        )


def _timing(exchange: Exchange) -> dict[str, str]:
    """Headers that say what took how long until the head of the response; none for one sent early.

    Of a stream that is until its first content.
    """
    overhead_s, upstream_s = exchange.overhead_s, exchange.upstream_s
    if overhead_s is None:
        return {}
    parts = [f"gateway;dur={overhead_s * 1000:.3f}"]
    if upstream_s is not None:
        parts.append(f"upstream;dur={upstream_s * 1000:.3f}")
    return {"Server-Timing": ", ".join(parts), "x-one-api-overhead-ms": f"{overhead_s * 1000:.3f}"}


def _is_admin() -> bool:
    return flask.request.blueprint == ADMIN or flask.request.endpoint in OPERATORS


def _authenticated(authenticate: Callable[[str | None], ApiKey]) -> ApiKey:
    """The caller, by whichever of the two headers of OpenAI's and Anthropic's clients."""
    headers = flask.request.headers
    given = headers.get("x-api-key")
    if given is not None:
        with contextlib.suppress(AuthenticationFailed):
            return authenticate(given)
    return authenticate(bearer_token(headers.get("Authorization")))


def _translated(error: HTTPException) -> GatewayError:
    """What werkzeug found, in our terms."""
    path, method = flask.request.path, flask.request.method
    if isinstance(error, MethodNotAllowed):
        return errors.MethodNotAllowed(
            f"{method} is not allowed for {path}.", allowed=tuple(error.valid_methods or ())
        )
    match error.code:
        case 404:
            return errors.NotFound(f"Unknown request URL: {method} {path}.")
        case 408:
            return errors.RequestTimedOut("The request body did not arrive in time.")
        case 413:
            limit = flask.request.max_content_length
            return errors.RequestTooLarge(f"The request body is over the limit of {limit} bytes.")
        case 415:
            return errors.UnsupportedMediaType("Send the request body as application/json.")
        case code if code is not None and 400 <= code < 500:
            return errors.InvalidRequest(error.description or "The request is malformed.")
        case _:
            return InternalError("The gateway failed on this request.")
