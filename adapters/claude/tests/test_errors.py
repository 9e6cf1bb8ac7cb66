"""Anthropic's errors as the caller sees them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import orjson
import pytest

from one_api.adapter import CredentialRejected, UpstreamQuotaExhausted
from one_api_claude import ClaudeAdapter
from one_api_claude.errors import error_from_event, limits_from_wire


def body(kind: str, message: str) -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


TOO_LONG = "prompt is too long: 200251 tokens > 200000 maximum"
OVER_LIMIT = "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"
NO_CREDIT = "Your credit balance is too low to access the Anthropic API."


@pytest.mark.parametrize(
    ("status", "kind", "message", "told_status", "told_code", "retryable"),
    [
        (400, "invalid_request_error", "messages.0: bad", 400, None, False),
        (400, "invalid_request_error", TOO_LONG, 400, "context_length_exceeded", False),
        (400, "invalid_request_error", OVER_LIMIT, 400, "context_length_exceeded", False),
        (400, "invalid_request_error", NO_CREDIT, 503, "no_available_channel", True),
        (401, "authentication_error", "bad", 502, "upstream_authentication_error", True),
        (402, "billing_error", "pay", 503, "no_available_channel", True),
        (403, "permission_error", "no", 502, "upstream_authentication_error", True),
        (404, "not_found_error", "model: claude-x", 404, "model_not_found", False),
        (409, "conflict_error", "twice", 409, "conflict", True),
        (413, "request_too_large", "32 MB", 413, "request_too_large", False),
        (429, "rate_limit_error", "slow", 429, "rate_limit_exceeded", True),
        (500, "api_error", "oops", 500, "upstream_server_error", True),
        (504, "timeout_error", "late", 504, "timeout", True),
        (529, "overloaded_error", "busy", 503, "server_is_overloaded", True),
    ],
)
def test_p31_errors(
    adapter: ClaudeAdapter,
    status: int,
    kind: str,
    message: str,
    told_status: int,
    told_code: str | None,
    retryable: bool,
) -> None:
    error = adapter.error_from_wire(status, {}, body(kind, message))
    assert (told_status, told_code, retryable) == (error.status, error.code, error.retryable)
    event = {"type": "error", "error": {"type": kind, "message": message}}
    # The same error told inside a stream means the same.
    assert type(error) is type(error_from_event(event))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "12"}, 12.0), ({"retry-after-ms": "1500"}, 1.5), ({}, 1.0)],
)
def test_p31_overload_says_when_to_come_back(
    adapter: ClaudeAdapter, headers: dict[str, str], seconds: float
) -> None:
    error = adapter.error_from_wire(529, headers, body("overloaded_error", "busy"))
    told = error.headers()["Retry-After"]
    assert str(math.ceil(seconds)) == told


def test_p31_our_credential_is_never_the_callers_business(adapter: ClaudeAdapter) -> None:
    error = adapter.error_from_wire(401, {}, body("authentication_error", "key sk-ant-abcdefgh"))
    assert isinstance(error, CredentialRejected)
    assert "sk-ant" not in orjson.dumps(error.to_wire()).decode()


def test_a_refusal_is_told_in_the_providers_words(adapter: ClaudeAdapter) -> None:
    error = adapter.error_from_wire(400, {}, body("invalid_request_error", "messages.0: bad"))
    assert error.message == "messages.0: bad"


@pytest.mark.parametrize("noise", [b"", b"<html>", b"[]", b'{"error":null}', b'{"error":{}}'])
def test_noise_is_told_by_its_status(adapter: ClaudeAdapter, noise: bytes) -> None:
    assert adapter.error_from_wire(502, {}, noise).status == 500
    assert adapter.error_from_wire(400, {}, noise).message


def test_an_unknown_error_inside_a_stream_is_the_providers_fault() -> None:
    assert error_from_event({"type": "error"}).status == 500
    assert error_from_event({"error": {"type": "new_error", "message": "?"}}).status == 500


def test_no_credit_inside_a_stream() -> None:
    event = {"error": {"type": "invalid_request_error", "message": NO_CREDIT}}
    assert isinstance(error_from_event(event), UpstreamQuotaExhausted)


def test_rate_headers_are_told_under_openai_names() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:42Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "many",
        "anthropic-ratelimit-tokens-reset": "soon",
    }
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    expected = {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "42s",
        "x-ratelimit-limit-tokens": "40000",
    }
    assert expected == limits_from_wire(headers, now=now)
