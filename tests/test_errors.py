"""The tree of errors: what each tells on the wire, and what none ever tells."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api import errors
from one_api.errors import (
    MAX_RETRY_AFTER_S,
    AuthenticationFailed,
    ConfigurationError,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    RateLimitExceeded,
    UpstreamServerError,
)
from one_api.redaction import MAX_MESSAGE_CHARS, redact

ERROR_CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, GatewayError)
]

#: status, type, code, retryable. Clients and dashboards depend on every cell.
WIRE = {
    "GatewayError": (500, "server_error", None, False),
    "InvalidRequest": (400, "invalid_request_error", None, False),
    "UnsupportedParameter": (400, "invalid_request_error", "unsupported_parameter", False),
    "ContextWindowExceeded": (400, "invalid_request_error", "context_length_exceeded", False),
    "RequestTimedOut": (408, "invalid_request_error", "request_timeout", False),
    "Conflict": (409, "invalid_request_error", "conflict", True),
    "RequestTooLarge": (413, "invalid_request_error", "request_too_large", False),
    "UnsupportedMediaType": (415, "invalid_request_error", "unsupported_media_type", False),
    "UnprocessableRequest": (422, "invalid_request_error", None, False),
    "IdempotencyMismatch": (422, "invalid_request_error", "idempotency_key_reused", False),
    "AuthenticationFailed": (401, "invalid_request_error", "invalid_api_key", False),
    "PermissionDenied": (403, "invalid_request_error", "permission_denied", False),
    "NotFound": (404, "invalid_request_error", "not_found", False),
    "ModelNotFound": (404, "invalid_request_error", "model_not_found", False),
    "MethodNotAllowed": (405, "invalid_request_error", "method_not_allowed", False),
    "RateLimitExceeded": (429, "requests", "rate_limit_exceeded", False),
    "TokenLimitExceeded": (429, "tokens", "rate_limit_exceeded", False),
    "ConcurrencyExceeded": (429, "requests", "rate_limit_exceeded", False),
    "BudgetExceeded": (429, "insufficient_quota", "insufficient_quota", False),
    "StorageUnavailable": (503, "service_unavailable_error", "storage_unavailable", False),
    "InternalError": (500, "server_error", "internal_error", False),
    "NoDeploymentAvailable": (503, "service_unavailable_error", "no_deployment_available", True),
    "Overloaded": (503, "service_unavailable_error", "gateway_overloaded", False),
    "ShuttingDown": (503, "service_unavailable_error", "server_is_shutting_down", False),
    "UpstreamError": (502, "server_error", "upstream_error", True),
    "UpstreamTimeout": (504, "server_error", "timeout", True),
    "UpstreamUnreachable": (502, "server_error", "upstream_unreachable", True),
    "UpstreamUntrusted": (502, "server_error", "upstream_unreachable", True),
    "UpstreamDisconnected": (502, "server_error", "upstream_disconnected", True),
    "UpstreamInvalidResponse": (502, "server_error", "upstream_invalid_response", True),
    "UpstreamServerError": (500, "server_error", "upstream_server_error", True),
    "UpstreamOverloaded": (503, "service_unavailable_error", "server_is_overloaded", True),
    "UpstreamRateLimited": (429, "rate_limit_error", "rate_limit_exceeded", True),
    "UpstreamQuotaExhausted": (503, "service_unavailable_error", "no_available_channel", True),
    "CredentialRejected": (502, "server_error", "upstream_authentication_error", True),
}

#: Headers that errors bring along whatever happened.
OWN_HEADERS = {
    "BudgetExceeded": {"x-should-retry": "false"},
    "Overloaded": {"Retry-After": "1"},
    "UpstreamOverloaded": {"Retry-After": "1"},
}


def test_table_covers_every_class() -> None:
    assert {cls.__name__ for cls in ERROR_CLASSES} == WIRE.keys()


@pytest.mark.parametrize("cls", ERROR_CLASSES, ids=lambda cls: cls.__name__)
def test_class_attributes_decide_the_wire(cls: type[GatewayError]) -> None:
    status, kind, code, retryable = WIRE[cls.__name__]
    error = cls("what happened")
    assert (status, retryable) == (error.status, error.retryable)
    assert {
        "error": {"message": "what happened", "type": kind, "param": None, "code": code}
    } == error.to_wire()
    assert OWN_HEADERS.get(cls.__name__, {}) == error.headers()


def test_docstring_draws_the_tree_that_is() -> None:
    drawn: dict[str, tuple[str, int]] = {}
    above = ["GatewayError"]
    for indent, name, status in re.findall(
        r"^    ([│ ]*[├└]── )(\w+) +(\d{3})", errors.__doc__ or "", re.M
    ):
        depth = len(indent) // 4
        above[depth:] = [name]
        drawn[name] = (above[depth - 1], int(status))
    real = {cls.__name__: (cls.__mro__[1].__name__, cls.status) for cls in ERROR_CLASSES[1:]}
    assert real == drawn


def test_instance_code_replaces_the_class_code_for_itself_only() -> None:
    error = InvalidRequest("no", param="messages[0].content", code="invalid_image_url")
    assert {
        "message": "no",
        "type": "invalid_request_error",
        "param": "messages[0].content",
        "code": "invalid_image_url",
    } == error.to_wire()["error"]
    assert InvalidRequest("no").code is None


@pytest.mark.parametrize(
    ("wait_s", "header"),
    [(-1.0, "0"), (0.0, "0"), (0.001, "1"), (1.0, "1"), (1.2, "2"), (60.0, "60"), (61.0, "60")],
)
def test_retry_after_is_whole_seconds_rounded_up_and_capped(wait_s: float, header: str) -> None:
    assert {"Retry-After": header} == UpstreamServerError("x", retry_after_s=wait_s).headers()


@given(wait_s=st.floats(allow_nan=False))
@settings(deadline=None)
def test_retry_after_never_shortens_a_wait_within_the_cap(wait_s: float) -> None:
    told = int(GatewayError("x", retry_after_s=wait_s).headers()["Retry-After"])
    assert min(wait_s, MAX_RETRY_AFTER_S) <= told <= MAX_RETRY_AFTER_S


def test_rate_limit_tells_what_is_left_of_it() -> None:
    limits = {"x-ratelimit-limit-requests": "10"}
    error = RateLimitExceeded("slow down", retry_after_s=2.5, limit_headers=limits)
    limits.clear()
    assert {"Retry-After": "3", "x-ratelimit-limit-requests": "10"} == error.headers()


def test_method_not_allowed_names_the_methods_in_order() -> None:
    assert {"Allow": "GET, POST"} == MethodNotAllowed("no", allowed=("POST", "GET")).headers()


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-api03-AbC_dEf-123",
        "SK-ABCDEF123",
        "xai-abcdef123456",
        "sk-abc***************wxyz",
        "Bearer eyJhbGciOiJIUzI1NiJ9.abc.def",
        "bearer token123",
    ],
)
@pytest.mark.parametrize("around", ["{}", "key '{}' is wrong", 'said "{}"', "({})", "a={}&b"])
def test_secrets_never_leave_in_a_message(secret: str, around: str) -> None:
    error = AuthenticationFailed(around.format(secret))
    assert secret.split()[-1] not in error.to_wire()["error"]["message"]
    assert "[redacted]" in error.message


@given(
    before=st.text(),
    secret=st.from_regex(r"sk-[A-Za-z0-9_\-]{20,60}", fullmatch=True),
    after=st.text(),
)
@settings(deadline=None)
def test_redaction_holds_wherever_the_secret_stands(before: str, secret: str, after: str) -> None:
    clean = redact(f"{before} {secret} {after}")
    assert secret not in clean
    assert len(clean) <= MAX_MESSAGE_CHARS


@given(st.text(alphabet=st.characters(exclude_characters="-"), max_size=MAX_MESSAGE_CHARS))
@settings(deadline=None)
def test_text_without_secrets_is_left_alone(text: str) -> None:
    if "bearer" not in text.lower():
        assert text == redact(text)


def test_long_message_is_cut_and_says_so() -> None:
    whole, cut = "x" * MAX_MESSAGE_CHARS, redact("x" * (MAX_MESSAGE_CHARS + 1))
    assert whole == redact(whole)
    assert (MAX_MESSAGE_CHARS, "…") == (len(cut), cut[-1])


def test_secret_at_the_cut_does_not_survive_in_part() -> None:
    secret = "sk-" + "a" * 100
    assert "sk-a" not in redact("x" * (MAX_MESSAGE_CHARS - 50) + " " + secret)


@pytest.mark.parametrize(
    ("expected", "text"),
    [("", "PORT: is no number"), ("1..65535", "PORT: is no number; expected 1..65535")],
)
def test_configuration_error_is_one_sentence(expected: str, text: str) -> None:
    error = ConfigurationError("PORT", "is no number", expected)
    assert (text, "PORT") == (str(error), error.variable)
    assert not isinstance(error, GatewayError)
