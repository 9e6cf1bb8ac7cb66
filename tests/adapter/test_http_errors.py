"""What a provider's HTTP error becomes for the caller, and what it never carries along."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.adapter import (
    Conflict,
    ContextWindowExceeded,
    CredentialRejected,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    RequestTooLarge,
    UpstreamError,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamServerError,
    UpstreamTimeout,
    duration_to_wire,
    error_from_reply,
    error_from_status,
    parse_retry_after_s,
)
from one_api.errors import UnprocessableRequest

NOW_S = 1_790_000_000.0


def body(message: Any = "said", **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("status", "expected", "told"),
    [
        (400, InvalidRequest, 400),
        (401, CredentialRejected, 502),
        (402, UpstreamQuotaExhausted, 503),
        (403, CredentialRejected, 502),
        (404, ModelNotFound, 404),
        (405, InvalidRequest, 400),
        (408, UpstreamTimeout, 504),
        (409, Conflict, 409),
        (413, RequestTooLarge, 413),
        (415, InvalidRequest, 400),
        (422, UnprocessableRequest, 422),
        (429, UpstreamRateLimited, 429),
        (451, InvalidRequest, 400),
        (500, UpstreamServerError, 500),
        (501, UpstreamServerError, 500),
        (502, UpstreamServerError, 500),
        (503, UpstreamOverloaded, 503),
        (504, UpstreamTimeout, 504),
        (520, UpstreamServerError, 500),
        (529, UpstreamOverloaded, 503),
        (301, UpstreamInvalidResponse, 502),
        (307, UpstreamInvalidResponse, 502),
        (204, UpstreamError, 502),
        (600, UpstreamError, 502),
    ],
)
def test_status_decides_the_class(status: int, expected: type[GatewayError], told: int) -> None:
    error = error_from_reply(status, {}, body())
    assert (expected, told) == (type(error), error.status)


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 503, 504, 529])
def test_providers_words_pass_where_they_help(status: int) -> None:
    assert "exactly this" == error_from_reply(status, {}, body("exactly this")).message


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("code", [None, "insufficient_quota", "context_length_exceeded"])
def test_providers_words_about_our_account_never_pass(status: int, code: str | None) -> None:
    """They may quote the credential in a form that no pattern knows."""
    told = error_from_reply(status, {}, body("key canary123 of org canary456", code=code))
    assert "canary" not in json.dumps(told.to_wire())
    assert (None, True) == (told.param, told.retryable)


@pytest.mark.parametrize("status", [400, 404, 409, 429, 500, 503])
def test_credential_in_other_errors_is_redacted(status: int) -> None:
    told = error_from_reply(status, {}, body("Incorrect API key provided: sk-proj-canary12345."))
    assert "canary" not in json.dumps(told.to_wire())


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_empty_account_is_ours_to_mend_whatever_the_status(status: int, code: str) -> None:
    assert isinstance(error_from_reply(status, {}, body(code=code)), UpstreamQuotaExhausted)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "the request exceeds the available context size",
        "Input is too long for requested model.",
        "context_length_exceeded",
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_overflow_is_known_by_its_words(status: int, message: str) -> None:
    error = error_from_reply(status, {}, body(message))
    assert (ContextWindowExceeded, "context_length_exceeded", "messages") == (
        type(error),
        error.code,
        error.param,
    )


def test_overflow_is_known_by_its_code() -> None:
    error = error_from_reply(400, {}, body("no", code="context_length_exceeded", param="prompt"))
    assert (ContextWindowExceeded, "prompt") == (type(error), error.param)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_overflow_words_mean_nothing_in_a_fault(status: int) -> None:
    error = error_from_reply(status, {}, body("too many tokens per minute"))
    assert not isinstance(error, ContextWindowExceeded)


def test_callers_mistake_keeps_code_and_param() -> None:
    error = error_from_reply(400, {}, body(code="invalid_image_url", param="messages[0]"))
    assert ("invalid_image_url", "messages[0]") == (error.code, error.param)


def test_missing_model_is_about_the_model() -> None:
    assert "model" == error_from_reply(404, {}, body()).param


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"error":{"message":"m"}}', "m"),
        (b'{"error":{"detail":"m"}}', "m"),
        (b'{"error":"m"}', "m"),
        (b'{"message":"m"}', "m"),
        (b'{"detail":"m"}', "m"),
        (b'{"type":"error","error":{"type":"api_error","message":"m"}}', "m"),
        (b'"m"', "m"),
        (b'{"detail":[{"loc":["body"]}]}', '[{"loc":["body"]}]'),
        (b'{"error":{"message":{"deep":1}}}', '{"deep":1}'),
        (b'{"error":{"message":[]}}', "The provider answered with HTTP status 500."),
        (b'{"error":null}', "The provider answered with HTTP status 500."),
        (b'{"error":[]}', "The provider answered with HTTP status 500."),
        (b"[]", "The provider answered with HTTP status 500."),
        (b"null", "The provider answered with HTTP status 500."),
        (b"", "The provider answered with HTTP status 500."),
        (b"<html>Bad gateway</html>", "The provider answered with HTTP status 500."),
        (b"\xff\xfe", "The provider answered with HTTP status 500."),
    ],
)
def test_message_is_found_in_every_known_shape(raw: bytes, message: str) -> None:
    assert message == error_from_reply(500, {}, raw).message


@given(status=st.integers(0, 1_000), raw=st.binary(max_size=100))
@settings(deadline=None)
def test_any_reply_becomes_an_error(status: int, raw: bytes) -> None:
    error = error_from_reply(status, {}, raw)
    assert 400 <= error.status < 600
    assert error.message != ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    status=st.integers(300, 599),
    fields=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("message", "detail", "code", "param", "type"), JSON)
    ),
    nested=st.booleans(),
)
@settings(deadline=None)
def test_any_json_error_keeps_the_four_keys_typed(
    status: int, fields: dict[str, Any], nested: bool
) -> None:
    raw = json.dumps({"error": fields} if nested else fields).encode()
    told = error_from_reply(status, {}, raw).to_wire()["error"]
    assert {"message", "type", "param", "code"} == told.keys()
    assert isinstance(told["message"], str)
    assert isinstance(told["type"], str)
    assert told["param"] is None or isinstance(told["param"], str)
    assert told["code"] is None or isinstance(told["code"], str)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": formatdate(NOW_S + 30, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(NOW_S - 30, usegmt=True)}, 0.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 99 Foo 2026 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "-1"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "soon"}, None),
    ],
)
def test_retry_after_forms(headers: dict[str, str], wait_s: float | None) -> None:
    assert wait_s == parse_retry_after_s(headers, now_s=NOW_S)


@given(st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=40))
@settings(deadline=None)
def test_retry_after_noise_is_never_an_exception(value: str) -> None:
    wait_s = parse_retry_after_s({"retry-after": value, "retry-after-ms": value}, now_s=NOW_S)
    assert wait_s is None or not wait_s < 0


@pytest.mark.parametrize("status", [408, 429, 503, 504, 529])
def test_providers_wait_is_passed_on(status: int) -> None:
    assert 7.0 == error_from_reply(status, {"retry-after": "7"}, body()).retry_after_s


@pytest.mark.parametrize(
    ("status", "wait"), [(408, None), (429, None), (503, "1"), (504, None), (529, "1")]
)
def test_overload_without_a_wait_tells_clients_one(status: int, wait: str | None) -> None:
    error = error_from_status(status, "x")
    assert error.retry_after_s is None, "the provider asked for none"
    assert wait == error.headers().get("Retry-After")


def test_date_is_measured_from_now() -> None:
    headers = {"retry-after": formatdate(None, usegmt=True)}
    assert 0.0 == error_from_reply(503, headers, body()).retry_after_s


LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "6m0s",
}


def test_providers_limits_are_told_with_a_429() -> None:
    headers = {**LIMITS, "retry-after": "7", "x-ratelimit-of-its-own": "1", "set-cookie": "a"}
    assert {**LIMITS, "Retry-After": "7"} == error_from_reply(429, headers, body()).headers()


@pytest.mark.parametrize("status", [400, 401, 402, 404, 500, 503, 529])
def test_providers_limits_mean_nothing_besides(status: int) -> None:
    assert not LIMITS.keys() & error_from_reply(status, LIMITS, body()).headers().keys()


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        (0.0, "0ms"),
        (0.0001, "1ms"),
        (0.85, "850ms"),
        (1.0, "1s"),
        (11.2, "12s"),
        (59.0, "59s"),
        (59.5, "1m0s"),
        (60.0, "1m0s"),
        (360.0, "6m0s"),
        (3_661.0, "61m1s"),
    ],
)
def test_durations_are_written_as_openai_does(duration_s: float, expected: str) -> None:
    assert expected == duration_to_wire(duration_s)
