"""Errors of providers."""

from __future__ import annotations

from one_api.errors.base import GatewayError


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
