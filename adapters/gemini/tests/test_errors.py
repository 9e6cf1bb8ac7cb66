"""What Google's errors mean for the caller, whichever way they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from one_api.adapter import (
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
)
from one_api_gemini import GeminiAdapter
from one_api_gemini.errors import error_from_chunk

REPLIES = Path(__file__).parent / "replies"


def body_of(code: int, status: str, message: str = "Words of Google.", **more: Any) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message, "status": status, **more}})


CASES = [
    (400, "INVALID_ARGUMENT", InvalidRequest),
    (400, "FAILED_PRECONDITION", CredentialRejected),
    (401, "UNAUTHENTICATED", CredentialRejected),
    (403, "PERMISSION_DENIED", CredentialRejected),
    (404, "NOT_FOUND", ModelNotFound),
    (429, "RESOURCE_EXHAUSTED", UpstreamRateLimited),
    (500, "INTERNAL", UpstreamServerError),
    (503, "UNAVAILABLE", UpstreamOverloaded),
    (504, "DEADLINE_EXCEEDED", UpstreamTimeout),
]


@pytest.mark.parametrize(("code", "status", "kind"), CASES, ids=[case[1] for case in CASES])
def test_each_status_has_its_class(
    adapter: GeminiAdapter, code: int, status: str, kind: type[GatewayError]
) -> None:
    error = adapter.error_from_wire(code, {}, body_of(code, status))

    assert kind is type(error)


@pytest.mark.parametrize(("code", "status", "kind"), CASES, ids=[case[1] for case in CASES])
@pytest.mark.parametrize("has_code", [True, False], ids=["by number", "by name"])
def test_told_inside_a_reply_they_mean_the_same(
    code: int, status: str, kind: type[GatewayError], has_code: bool
) -> None:
    detail: dict[str, Any] = orjson.loads(body_of(code, status))["error"]
    if not has_code:
        del detail["code"]

    assert kind is type(error_from_chunk(detail))


def test_an_error_without_code_and_name_is_the_providers_fault() -> None:
    assert UpstreamServerError is type(error_from_chunk({"message": "?"}))


def test_a_wrong_key_told_as_a_wrong_request_blames_our_credential(adapter: GeminiAdapter) -> None:
    body = (REPLIES / "error_key_invalid.json").read_bytes()

    error = adapter.error_from_wire(400, {}, body)

    assert CredentialRejected is type(error)
    assert "API key" not in error.message


def test_the_delay_that_google_asks_for_is_kept(adapter: GeminiAdapter) -> None:
    body = (REPLIES / "error_rate_limited.json").read_bytes()

    error = adapter.error_from_wire(429, {"retry-after": "60"}, body)

    assert UpstreamRateLimited is type(error)
    assert 47.434392449 == error.retry_after_s


@pytest.mark.parametrize("delay", ["soon", "-1s", "nans", 5, None])
def test_a_delay_that_is_none_leaves_the_header(adapter: GeminiAdapter, delay: object) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    body = body_of(429, "RESOURCE_EXHAUSTED", details=details)

    error = adapter.error_from_wire(429, {"retry-after": "60"}, body)

    assert 60 == error.retry_after_s


def test_a_prompt_too_long_asks_for_a_larger_window(adapter: GeminiAdapter) -> None:
    body = (REPLIES / "error_too_long.json").read_bytes()

    error = adapter.error_from_wire(400, {}, body)

    assert ContextWindowExceeded is type(error)
    assert "1048576" in error.message


def test_an_error_in_an_array_is_read_like_a_bare_one(adapter: GeminiAdapter) -> None:
    body = body_of(400, "INVALID_ARGUMENT", "Unknown name.")

    error = adapter.error_from_wire(400, {}, b"[" + body + b"]")

    assert (InvalidRequest, "Unknown name.") == (type(error), error.message)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"error": "x"}', b'"\xff"'])
def test_noise_still_has_the_class_of_its_status(adapter: GeminiAdapter, body: bytes) -> None:
    error = adapter.error_from_wire(503, {}, body)

    assert UpstreamOverloaded is type(error)
    assert "503" in error.message
