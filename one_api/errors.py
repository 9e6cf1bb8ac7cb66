"""Every error the gateway can tell a caller, as one tree of exceptions.

    GatewayError
    ├── InvalidRequest              400  the caller's mistake; the message says how to mend it
    │   ├── UnsupportedParameter    400  the provider cannot do what was asked
    │   ├── ContextWindowExceeded   400  the prompt does not fit the model
    │   ├── RequestTimedOut         408  the body did not arrive in time
    │   ├── Conflict                409  the request collides with another one
    │   ├── RequestTooLarge         413  the body is over the byte limit
    │   ├── UnsupportedMediaType    415  the body is not JSON, or is compressed
    │   └── IdempotencyMismatch     422  another request came under the same Idempotency-Key
    ├── AuthenticationFailed        401  missing or wrong API key
    ├── PermissionDenied            403  the API key may not do this
    ├── NotFound                    404  no such path
    │   └── ModelNotFound           404  no such model
    ├── MethodNotAllowed            405  the path exists, the method does not
    ├── RateLimitExceeded           429  the caller's own limit
    │   ├── ConcurrencyExceeded     429  too many of the caller's at once
    │   └── TokenLimitExceeded      429  the same, counted in tokens
    ├── BudgetExceeded              429  the caller's own budget is spent
    ├── StorageUnavailable          503  what must be written down cannot be
    ├── InternalError               500  a bug of ours; the details are in the log only
    ├── NoDeploymentAvailable       503  nothing can answer for this model now
    ├── ShuttingDown                503  the gateway is draining
    └── UpstreamError               502  the provider failed
        ├── UpstreamTimeout         504  it was too slow
        ├── UpstreamUnreachable     502  no connection
        │   └── UpstreamUntrusted   502  it is not who it should be
        ├── UpstreamDisconnected    502  the reply was cut before its end
        ├── UpstreamInvalidResponse 502  the reply is not what the protocol says
        ├── UpstreamServerError     500  it answered 5xx
        ├── UpstreamOverloaded      503  it said it is overloaded
        ├── UpstreamRateLimited     429  it said 429
        ├── UpstreamQuotaExhausted  503  our account there has no credit
        └── CredentialRejected      502  it refused *our* credential: never the caller's 401

    ConfigurationError                   a wrong setting; stops the start, never reaches a caller

Class attributes decide status, wire type, wire code and what may help; nobody asks for the class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypedDict

from typing_extensions import override

from one_api.redaction import redact

#: Longest wait asked of a client, in seconds: OpenAI's SDK gives up above 120, Anthropic's obeys.
MAX_RETRY_AFTER_S = 60.0


class ErrorDetail(TypedDict):
    """The four keys that OpenAI's SDKs read; all are always present."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """OpenAI's error envelope."""

    error: ErrorDetail


class GatewayError(Exception):
    """Something went wrong that the caller is told about in OpenAI's error format.

    `param` names the offending field in JSON path form (`messages[0].content`). `retry_after_s` is
    capped at `MAX_RETRY_AFTER_S` on the wire; without it, `default_retry_after_s` is told. `code`
    replaces the class's where one is known more exactly. `limit_headers` are told along.

    `retryable` says that another deployment may succeed; `repeatable` that the same one may, asked
    again, without doing work twice. `is_outage` errors count against a deployment's health,
    `blames_credential` ones against all that share its credential. `needs_larger_context` and
    `names_unknown_model` say what a deployment must have to succeed all the same.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    retryable: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    is_outage: ClassVar[bool] = False
    blames_credential: ClassVar[bool] = False
    needs_larger_context: ClassVar[bool] = False
    default_retry_after_s: ClassVar[float | None] = None
    names_unknown_model: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        limit_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.message = redact(message)
        super().__init__(self.message)
        self.param = param
        self.limit_headers = dict(limit_headers or {})
        if code is not None:
            self.code = code
        self.retry_after_s = retry_after_s

    def conceal(self, secrets: Iterable[str]) -> None:
        """Take `secrets` out of the message, whatever they look like."""
        for secret in secrets:
            self.message = self.message.replace(secret, "[redacted]")
        self.args = (self.message,)

    def to_wire(self) -> ErrorBody:
        """OpenAI's error body."""
        told = ErrorDetail(message=self.message, type=self.type, param=self.param, code=self.code)
        return {"error": told}

    def headers(self) -> dict[str, str]:
        """Response headers this error needs besides the content type."""
        headers = dict(self.limit_headers)
        told_s = self.retry_after_s
        if told_s is None or math.isnan(told_s):
            told_s = self.default_retry_after_s
        if told_s is not None:
            wait_s = min(max(told_s, 0.0), MAX_RETRY_AFTER_S)
            headers["Retry-After"] = str(-int(-wait_s // 1))
        return headers


class InvalidRequest(GatewayError):
    """The request is wrong; sending it again unchanged cannot succeed."""

    status = 400
    type = "invalid_request_error"


class UnsupportedParameter(InvalidRequest):
    """The model's provider cannot do what `param` asks, and dropping it would change the reply."""

    code = "unsupported_parameter"


class ContextWindowExceeded(InvalidRequest):
    """Prompt plus requested completion do not fit the model's context window."""

    code = "context_length_exceeded"
    needs_larger_context = True


class RequestTimedOut(InvalidRequest):
    """The request body did not arrive before the deadline."""

    status = 408
    code = "request_timeout"


class Conflict(InvalidRequest):
    """The request collides with the state of another one."""

    status = 409
    code = "conflict"
    retryable = True


class RequestTooLarge(InvalidRequest):
    """The request body is larger than the gateway or the provider takes."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaType(InvalidRequest):
    """The request body is not of a kind this endpoint reads."""

    status = 415
    code = "unsupported_media_type"


class IdempotencyMismatch(InvalidRequest):
    """Another request was sent under the same Idempotency-Key before."""

    status = 422
    code = "idempotency_key_reused"


class AuthenticationFailed(GatewayError):
    """The API key is missing or wrong; which of the two is not said."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class PermissionDenied(GatewayError):
    """The API key is good but may not do this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"


class NotFound(GatewayError):
    """There is nothing at this path."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class ModelNotFound(NotFound):
    """No configured adapter serves a model of this name."""

    code = "model_not_found"
    names_unknown_model = True


class MethodNotAllowed(GatewayError):
    """The path exists but not for this method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...] = ()) -> None:
        self.allowed = allowed
        super().__init__(message)

    @override
    def headers(self) -> dict[str, str]:
        """The methods that the path has."""
        return {"Allow": ", ".join(sorted(self.allowed))} if self.allowed else {}


class RateLimitExceeded(GatewayError):
    """The caller used up its own limit; `limit` names the limit for the operator."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"
    limit: ClassVar[str] = "requests_per_minute"


class TokenLimitExceeded(RateLimitExceeded):
    """The caller used up its tokens per minute."""

    type = "tokens"
    limit = "tokens_per_minute"


class ConcurrencyExceeded(RateLimitExceeded):
    """The caller has as many requests under way as it may."""

    limit = "concurrent_requests"


class BudgetExceeded(GatewayError):
    """The API key has spent its budget: asking again does not help before the period ends."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"

    @override
    def headers(self) -> dict[str, str]:
        """Tells OpenAI's and Anthropic's SDKs not to ask again by themselves."""
        return {**super().headers(), "x-should-retry": "false"}


class StorageUnavailable(GatewayError):
    """The database or the counters that the request depends on do not answer."""

    status = 503
    type = "service_unavailable_error"
    code = "storage_unavailable"


class InternalError(GatewayError):
    """A fault of the gateway itself."""

    code = "internal_error"


class NoDeploymentAvailable(GatewayError):
    """Nothing that serves the model can be asked at the moment."""

    status = 503
    type = "service_unavailable_error"
    code = "no_deployment_available"
    retryable = True


class ShuttingDown(GatewayError):
    """The gateway is draining: this replica takes no new work."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_shutting_down"


class UpstreamError(GatewayError):
    """The provider failed; another attempt or another deployment may succeed."""

    status = 502
    type = "server_error"
    code = "upstream_error"
    retryable = True
    is_outage = True


class UpstreamTimeout(UpstreamError):
    """The provider did not connect, begin, go on or finish in time."""

    status = 504
    code = "timeout"


class UpstreamUnreachable(UpstreamError):
    """No connection to the provider: refused or unresolvable."""

    code = "upstream_unreachable"
    repeatable = True


class UpstreamUntrusted(UpstreamUnreachable):
    """TLS with the provider failed: its certificate is not one to send a credential to."""

    repeatable = False


class UpstreamDisconnected(UpstreamError):
    """The provider's reply ended before it was complete."""

    code = "upstream_disconnected"


class UpstreamInvalidResponse(UpstreamError):
    """The provider's reply does not follow its protocol."""

    code = "upstream_invalid_response"


class UpstreamServerError(UpstreamError):
    """The provider answered with a 5xx of its own."""

    status = 500
    code = "upstream_server_error"
    repeatable = True


class UpstreamOverloaded(UpstreamError):
    """The provider said that it is overloaded."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"
    repeatable = True
    default_retry_after_s = 1.0


class UpstreamRateLimited(UpstreamError):
    """The provider limits our rate."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    is_outage = False


class UpstreamQuotaExhausted(UpstreamError):
    """Our account with the provider is out of credit."""

    status = 503
    type = "service_unavailable_error"
    code = "no_available_channel"
    blames_credential = True


class CredentialRejected(UpstreamError):
    """The provider refused our credential; its own words may quote the credential, so none pass."""

    code = "upstream_authentication_error"
    blames_credential = True


class ConfigurationError(Exception):
    """A setting is wrong: which one, what is wrong with it, and what would be right.

    The offending value is never part of the text: it may be a secret.
    """

    def __init__(self, variable: str, problem: str, expected: str = "") -> None:
        self.variable = variable
        self.problem = problem
        self.expected = expected
        super().__init__(f"{variable}: {problem}" + (f"; expected {expected}" if expected else ""))
