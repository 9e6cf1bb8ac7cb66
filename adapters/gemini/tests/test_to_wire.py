"""A request as a whole: where it goes, and the bytes of its body."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.gemini.tests.bodies import NEWEST, SCHEMA, body_of, function, request_of
from one_api.adapter import Call, InvalidRequest
from one_api_gemini import GeminiAdapter


@pytest.mark.parametrize(
    ("stream", "ending"),
    [(True, ":streamGenerateContent?alt=sse"), (False, ":generateContent")],
    ids=["stream", "whole"],
)
def test_a_request_goes_to_its_models_method(
    adapter: GeminiAdapter, stream: bool, ending: str
) -> None:
    wire = adapter.to_wire(request_of(stream=stream), Call(model=NEWEST))

    base = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash"
    assert ("POST", f"{base}{ending}") == (wire.method, wire.url)


def test_the_credential_is_in_a_header_and_nowhere_else(adapter: GeminiAdapter) -> None:
    wire = adapter.to_wire(request_of(), Call(model=NEWEST))

    assert "AIza-test-key" == wire.headers["x-goog-api-key"]
    assert isinstance(wire.body, bytes)
    assert "AIza" not in wire.url + wire.body.decode()


@pytest.mark.parametrize(
    ("model", "segment"),
    [
        ("models/gemini-3.8-flash", "gemini-3.8-flash"),
        ("../../v1/files", "..%2F..%2Fv1%2Ffiles"),
        ("a?key=b#c", "a%3Fkey%3Db%23c"),
    ],
)
def test_a_models_name_leads_nowhere_else(adapter: GeminiAdapter, model: str, segment: str) -> None:
    wire = adapter.to_wire(request_of(), Call(model=model))

    assert wire.url.endswith(f"/v1beta/models/{segment}:generateContent")


def test_the_smallest_request_says_nothing_unasked(adapter: GeminiAdapter) -> None:
    assert {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]} == body_of(adapter)


def test_nesting_that_cannot_be_written_is_refused(adapter: GeminiAdapter) -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(300):
        schema = {"anyOf": [schema]}

    with pytest.raises(InvalidRequest):
        body_of(adapter, tools=[function("f", parameters=schema)])


def test_the_same_request_gives_the_same_bytes(adapter: GeminiAdapter) -> None:
    request = request_of(tools=[function("f", parameters=SCHEMA)], reasoning_effort="low")
    call = Call(model=NEWEST)

    assert adapter.to_wire(request, call) == adapter.to_wire(request, call)
