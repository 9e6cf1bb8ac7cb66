"""Every error as Anthropic's clients know it."""

from __future__ import annotations

import pytest

from one_api import errors
from one_api.converter.messages import error_to_wire, status_of
from one_api.errors import GatewayError


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidRequest("m"), 400, "invalid_request_error"),
        (errors.UnsupportedParameter("m"), 400, "invalid_request_error"),
        (errors.AuthenticationFailed("m"), 401, "authentication_error"),
        (errors.PermissionDenied("m"), 403, "permission_error"),
        (errors.ModelNotFound("m"), 404, "not_found_error"),
        (errors.MethodNotAllowed("m"), 405, "invalid_request_error"),
        (errors.RequestTimedOut("m"), 408, "invalid_request_error"),
        (errors.Conflict("m"), 409, "conflict_error"),
        (errors.RequestTooLarge("m"), 413, "request_too_large"),
        (errors.UnsupportedMediaType("m"), 415, "invalid_request_error"),
        (errors.RateLimitExceeded("m"), 429, "rate_limit_error"),
        (errors.UpstreamRateLimited("m"), 429, "rate_limit_error"),
        (errors.InternalError("m"), 500, "api_error"),
        (errors.UpstreamServerError("m"), 500, "api_error"),
        (errors.CredentialRejected("m"), 502, "api_error"),
        (errors.UpstreamDisconnected("m"), 502, "api_error"),
        (errors.UpstreamTimeout("m"), 504, "timeout_error"),
        (errors.UpstreamOverloaded("m"), 529, "overloaded_error"),
        (errors.NoDeploymentAvailable("m"), 529, "overloaded_error"),
        (errors.ShuttingDown("m"), 529, "overloaded_error"),
        (errors.UpstreamQuotaExhausted("m"), 529, "overloaded_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, GatewayError) else "",
)
def test_error(error: GatewayError, status: int, kind: str) -> None:
    assert status == status_of(error)
    assert {
        "type": "error",
        "error": {"type": kind, "message": "m"},
        "request_id": "req_1",
    } == error_to_wire(error, "req_1")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "This model's maximum context length is 128000 tokens. However, your messages "
            "resulted in 130001 tokens.",
            "prompt is too long: 130001 tokens > 128000 maximum",
        ),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 "
            "tokens (8000 in the messages, 1000 in the completion).",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        ("It does not fit.", "prompt is too long: It does not fit."),
        ("Prompt is too long.", "Prompt is too long."),
    ],
    ids=["messages", "messages and completion", "other words", "the right words"],
)
def test_p40_overflow_begins_with_the_words_clients_look_for(message: str, expected: str) -> None:
    told = error_to_wire(errors.ContextWindowExceeded(message), "req_1")
    assert expected == told["error"]["message"]
