"""What happens to every request before its view and to every response after it.

Order: an error the runtime found, draining, the API key. Every route needs a key unless its
endpoint is listed in `PUBLIC`; those of the blueprint `ADMIN` and those in `OPERATORS` need the
operator's, and those of `METRICS` see to it themselves. Each request of a client has an account:
what asks models is admitted by it once it is known what is asked, all else here; it is closed when
the response is made, or by the stream that goes on after that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from one_api import errors
from one_api.errors import (
    GatewayError,
    InternalError,
    PermissionDenied,
    ShuttingDown,
)
from one_api.observe import Observers
from one_api.observe.observer import NOBODY
from one_api.policy.accounts import Account, AccountBook
from one_api.policy.auth import AdminKey, ApiKey, KeyRing
from one_api.runtime import Drain, UploadPolicy
from one_api.runtime.asgi import REJECTED
from one_api.web.client_address import Network, client_address
from one_api.web.responses import error_response
from one_api.web.visit import Visit, by_either_key, look_up, recognise

if TYPE_CHECKING:
    from one_api.web.routing_headers import Headers

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

    # -- the steps of every request of a client, whichever way it takes

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._drain.is_draining

    def receive(self, headers: Headers, *, method: str, endpoint: str) -> Visit:
        """A request has come; `endpoint` is its route's rule."""
        return Visit(self._observers, headers, method=method, endpoint=endpoint)

    async def admit(self, visit: Visit, headers: Headers, peer: str | None) -> Account:
        """The account of the caller; for what is admitted by it where its model is known.

        Raises: AuthenticationFailed, StorageUnavailable.
        """
        address = self._note_address(visit, headers, peer)
        caller = recognise(self._keys, headers, address)
        if caller is None:
            caller = await look_up(self._keys, headers, address)
        return self._open_account(visit, caller)

    def last_headers(self, visit: Visit, status: int, *, is_http11: bool) -> dict[str, str]:
        """Headers that the response gets before it leaves, in lower case, over any of its own."""
        headers = visit.finish(status, tells_timing=self._tells_timing)
        if self._drain.is_draining and is_http11:
            headers["connection"] = "close"
        return headers

    def _note_address(self, visit: Visit, headers: Headers, peer: str | None) -> str:
        """Where the request comes from; what names a caller of an open gateway."""
        address = client_address(peer, headers.get("x-forwarded-for"), self._trusted_proxies)
        visit.exchange.client_address = address
        return address or "local"

    def _open_account(self, visit: Visit, caller: ApiKey) -> Account:
        visit.account = account = self._book.open(caller, visit.account_id, visit.exchange)
        return account

    # -- Flask's hooks

    def _begin(self) -> None:
        # Bound once: each look through Flask's proxies takes a microsecond.
        request, g = flask.request, flask.g
        rule = request.url_rule
        endpoint = rule.rule if rule is not None else ""
        visit = self.receive(request.headers, method=request.method, endpoint=endpoint)
        g.visit, g.request_id = visit, visit.request_id
        rejected: GatewayError | None = request.environ.get(REJECTED)
        if rejected is not None:
            raise rejected
        is_open = request.endpoint in PUBLIC or request.blueprint == METRICS
        if is_open or request.method == "OPTIONS":
            g.caller = None
            return
        if self._drain.is_draining:
            raise ShuttingDown("The gateway is shutting down; send this again.", retry_after_s=1)
        if request.routing_exception is not None:
            g.caller = None  # Nothing is there to protect: a 404 or 405 follows.
            return
        if _is_admin():
            g.caller = self._administrator()
            return
        address = self._note_address(visit, request.headers, request.remote_addr)
        caller = recognise(self._keys, request.headers, address)
        if caller is None:
            # Only a key that was not seen within the last second costs a switch to the loop.
            find = flask.current_app.ensure_sync(look_up)
            caller = find(self._keys, request.headers, address)
        g.caller = caller
        g.account = account = self._open_account(visit, caller)
        if request.endpoint not in METERED and self._book.limits_calls(caller):
            flask.current_app.ensure_sync(account.admit_call)()

    def _administrator(self) -> ApiKey:
        if self._admin is None:
            raise PermissionDenied(
                "Nobody may administrate this gateway: it has no admin key. Set ADMIN_KEY."
            )
        return by_either_key(flask.request.headers, self._admin.authenticate)

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
        visit: Visit | None = flask.g.get("visit")
        if visit is not None:
            visit.close()

    def _finish(self, response: flask.Response) -> flask.Response:
        headers = response.headers
        visit: Visit = flask.g.visit
        is_http11 = flask.request.environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        ours = self.last_headers(visit, response.status_code, is_http11=is_http11)
        for name, value in ours.items():
            headers[name] = value
        if visit.account is not None:
            for name, value in visit.account.headers.items():
                headers.setdefault(name, value)
        if _is_admin():
            # Pages of other origins have no business there, whatever CORS_ORIGINS lets them do.
            for name in [name for name, _ in headers if name.lower().startswith(_CORS)]:
                del headers[name]
        return response

    def _tell(self, error: GatewayError) -> flask.Response:
        visit: Visit | None = flask.g.get("visit")
        if visit is not None:
            visit.exchange.error = error
        for tell in self._error_formats:
            response = tell(error)
            if response is not None:
                return response
        return error_response(error)

    def _on_http_exception(self, error: HTTPException) -> flask.Response:
        return self._tell(_translated(error))

    def _on_bug(self, error: Exception) -> flask.Response:
        return self._tell(bug(error, flask.g.get("request_id")))


def bug(error: Exception, request_id: str | None) -> InternalError:
    """What the client is told of a bug of ours, which goes to the log."""
    logger.error("request %s failed", request_id, exc_info=error)
    return InternalError(
        "The gateway failed on this request; its log has the details under the request id "
        f"{request_id}."
    )


def _is_admin() -> bool:
    return flask.request.blueprint == ADMIN or flask.request.endpoint in OPERATORS


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
