"""Values that are odd but may come: none of them crashes, leaks or depends on how it was cut."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_api.adapter import (
    ChatCompletionRequest,
    ServerSentEvent,
    SSEDecoder,
    StopScanner,
    UpstreamInvalidResponse,
    error_from_reply,
    normalise_base_url,
    parse_retry_after_s,
)
from one_api.errors import AuthenticationFailed, GatewayError
from one_api.redaction import redact
from tests.schemas.wire import chat, refusal


def request(**fields: Any) -> ChatCompletionRequest:
    return ChatCompletionRequest.from_wire(chat(**fields))


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_wait_that_is_no_number_is_no_wait(name: str) -> None:
    assert parse_retry_after_s({name: "nan"}, now_s=0.0) is None
    assert error_from_reply(429, {name: "nan"}, b"{}").headers() == {}


def test_our_own_advice_is_not_redacted() -> None:
    advice = "Send it as 'Authorization: Bearer <key>'."
    assert advice == redact(advice)


@pytest.mark.parametrize("text", ["Bearer token missing", "no key-value-store here"])
def test_words_that_are_no_secret_are_left_alone(text: str) -> None:
    assert text == redact(text)


@pytest.mark.parametrize(
    "secret",
    [
        "gsk_abcdefghijklmnopqrstuvwxyz0123456789",
        "AIzaSyA1234567890abcdefghijklmnopqrstuvw",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEF",
        "nvapi-abcdefghijklmnopqrstuvwxyz",
        "pplx-abcdefghijklmnopqrstuvwxyz",
        "r8_abcdefghijklmnopqrstuvwxyz",
        "fw_abcdefghijklmnopqrstuvwx",
    ],
)
def test_keys_of_other_providers_are_redacted(secret: str) -> None:
    assert secret not in redact(f"wrong key {secret}.")


def test_text_of_the_exception_is_redacted_too() -> None:
    error = AuthenticationFailed("wrong key sk-proj-canary123456")
    assert "canary" not in f"{error} {error!r} {error.args}"


def first_completed(text: str, stops: Iterable[str]) -> tuple[str, str | None]:
    for end in range(len(text) + 1):
        done = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if done:
            stop = max(done, key=len)
            return text[: end - len(stop)], stop
    return text, None


@given(
    pieces=st.lists(st.text(alphabet="abc", max_size=5), max_size=12),
    stops=st.lists(st.text(alphabet="ab", max_size=4), max_size=4),
)
@settings(deadline=None)
def test_any_text_cut_anywhere_ends_at_the_first_stop_completed(
    pieces: list[str], stops: list[str]
) -> None:
    scanner = StopScanner(stops)
    text = "".join(scanner.feed(piece) for piece in pieces) + scanner.close()
    assert first_completed("".join(pieces), stops) == (text, scanner.matched)


def test_empty_event_name_is_none() -> None:
    assert [ServerSentEvent("message", b"a")] == SSEDecoder().feed(b"event:\ndata: a\n\n")


def test_event_of_empty_data_lines_is_held_to_the_limit() -> None:
    decoder = SSEDecoder(max_event_bytes=100)
    with pytest.raises(UpstreamInvalidResponse):
        decoder.feed(b"data\n" * 1_000)


@pytest.mark.parametrize("size", range(1, 25))
def test_limit_does_not_depend_on_the_cuts(size: int) -> None:
    def is_refused(pieces: list[bytes]) -> bool:
        decoder = SSEDecoder(max_event_bytes=12)
        try:
            for piece in pieces:
                decoder.feed(piece)
        except UpstreamInvalidResponse:
            return True
        return False

    data = b"data: " + b"x" * size + b"\n\n"
    assert is_refused([data]) == is_refused([data[at : at + 1] for at in range(len(data))])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"audio": {"format": "wav", "voice": 5}}, "audio.voice"),
        ({"prediction": {"type": "content", "content": 5}}, "prediction.content"),
    ],
)
def test_path_has_no_name_of_a_type(fields: dict[str, Any], param: str) -> None:
    assert param == refusal(chat(**fields)).param


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("temperature", 2.1, "decimal_above_max_value"),
        ("temperature", -0.1, "decimal_below_min_value"),
        ("logit_bias", {"7": 101}, "decimal_above_max_value"),
        ("seed", 2**63, "integer_above_max_value"),
    ],
)
def test_range_code_tells_the_kind_of_number(field: str, value: Any, code: str) -> None:
    assert code == refusal(chat(**{field: value})).code


@pytest.mark.parametrize(
    ("body", "word"),
    [([], "array"), (None, "null"), (chat(model=[]), "array"), (chat(model={}), "object")],
)
def test_callers_are_told_json_types_and_no_class_of_ours(body: object, word: str) -> None:
    message = refusal(body).message
    assert "ChatCompletionRequest" not in message
    assert f"got {word}" in message


def test_param_is_bounded() -> None:
    assert len(refusal(chat(metadata={"k" * 100_000: ""})).param or "") <= 200


@pytest.mark.parametrize(
    "url",
    ["http://h:99999/v1", "http://h:port/v1", "http://@h/v1", "http://a b/v1", "http://h/v 1"],
)
def test_base_url_that_cannot_be_dialled_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        normalise_base_url(url)


def test_without_an_unknown_field_sends_no_null() -> None:
    assert chat() == request(top_k=5).without("top_k").to_wire()


def test_wait_that_is_no_number_has_no_header() -> None:
    assert GatewayError("x", retry_after_s=float("nan")).headers() == {}
