"""Requests in Anthropic's own format, passed on with our address and credential."""

from __future__ import annotations

import pytest

from one_api.adapter import Call, RawRequest, SupportsPassthrough
from one_api_claude import ClaudeAdapter

CALL = Call(model="claude-opus-5", request_id="req_1")


def test_the_adapter_says_that_it_can(adapter: ClaudeAdapter) -> None:
    assert isinstance(adapter, SupportsPassthrough)


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
def test_body_query_and_headers_go_on_as_they_came(adapter: ClaudeAdapter, path: str) -> None:
    body = b'{"model": "claude-opus-5", "x_future": 1.50}'
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "a,b"}
    request = RawRequest(path=path, query="beta=true", headers=headers, body=body)
    wire = adapter.passthrough(request, CALL)
    assert wire is not None
    assert f"https://api.anthropic.com/v1{path}?beta=true" == wire.url
    assert ("POST", body) == (wire.method, wire.body)
    assert {**headers, "x-api-key": "sk-ant-test"} == wire.headers


def test_without_a_version_the_one_that_takes_all_fields_is_sent(adapter: ClaudeAdapter) -> None:
    wire = adapter.passthrough(RawRequest(path="/messages", body=b"{}"), CALL)
    assert wire is not None
    assert "2023-06-01" == wire.headers["anthropic-version"]
    assert wire.url.endswith("/v1/messages")


def test_no_header_of_the_client_replaces_our_credential(adapter: ClaudeAdapter) -> None:
    request = RawRequest(path="/messages", headers={"x-api-key": "theirs"}, body=b"{}")
    wire = adapter.passthrough(request, CALL)
    assert wire is not None
    assert "sk-ant-test" == wire.headers["x-api-key"]


@pytest.mark.parametrize("path", ["/models", "/messages/batches", "/messagesx", "/files", "/"])
def test_any_other_path_is_none_of_ours(adapter: ClaudeAdapter, path: str) -> None:
    assert adapter.passthrough(RawRequest(path=path, body=b"{}"), CALL) is None
