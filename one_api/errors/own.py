"""Errors of callers, and of the gateway itself."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from one_api.errors.base import GatewayError


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


class UnprocessableRequest(InvalidRequest):
    """The provider can read the request and refuses what it says."""

    status = 422


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


class Overloaded(GatewayError):
    """This process has as many requests under way as it takes."""

    status = 503
    type = "service_unavailable_error"
    code = "gateway_overloaded"
    default_retry_after_s = 1.0


class ShuttingDown(GatewayError):
    """The gateway is draining: this replica takes no new work."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_shutting_down"


class ConfigurationError(Exception):
    """A setting is wrong: which one, what is wrong with it, and what would be right.

    The offending value is never part of the text: it may be a secret.
    """

    def __init__(self, variable: str, problem: str, expected: str = "") -> None:
        self.variable = variable
        self.problem = problem
        self.expected = expected
        super().__init__(f"{variable}: {problem}" + (f"; expected {expected}" if expected else ""))
