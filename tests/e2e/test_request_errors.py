"""The caller's mistakes: the right status, all four keys, and the class the SDK makes of it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import openai
import pytest

from tests.e2e.conftest import API_KEY, StartGateway
from tests.e2e.exchanges import exchange, raw_request, sent
from tests.e2e.gateways import GatewayProcess, Server

ECHO: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}


def chat_url(gateway: GatewayProcess) -> str:
    return f"{gateway.base_url}/chat/completions"


# -- keys


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong-key-wrong-key"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {API_KEY}"},
        {"Authorization": API_KEY},
        {"Authorization": f"Bearer {API_KEY[:-1]}"},
    ],
    ids=["none", "wrong", "empty", "basic", "bare", "cut"],
)
def test_without_a_valid_key_nobody_gets_in(
    gateway: GatewayProcess, headers: dict[str, str]
) -> None:
    """A missing and a wrong key are told alike."""
    answer = exchange(chat_url(gateway), ECHO, headers=headers)
    assert 401 == answer.status
    assert ("invalid_request_error", None, "invalid_api_key") == (
        answer.error["type"],
        answer.error["param"],
        answer.error["code"],
    )
    assert answer.error == exchange(chat_url(gateway), ECHO).error
    assert "wrong-key" not in answer.body.decode()


def test_every_server_asks_for_the_key(any_gateway: GatewayProcess) -> None:
    with (
        openai.OpenAI(base_url=any_gateway.base_url, api_key="wrong-key", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.models.list()
    assert "invalid_api_key" == caught.value.code


@pytest.mark.parametrize("path", ["/", "/health", "/health/ready"])
def test_health_needs_no_key_and_gives_none_away(gateway: GatewayProcess, path: str) -> None:
    answer = exchange(f"{gateway.url}{path}")
    assert 200 == answer.status
    assert API_KEY not in answer.body.decode()
    assert "credential" not in answer.body.decode()


# -- paths and methods


def test_p45_an_unknown_path_is_a_404(any_gateway: GatewayProcess) -> None:
    answer = exchange(f"{any_gateway.base_url}/no/such/path", ECHO, key=API_KEY)
    assert 404 == answer.status
    assert "/v1/no/such/path" in answer.error["message"]


def test_an_unknown_model_is_the_sdks_not_found(any_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        any_client.chat.completions.create(model="gpt-999", messages=ECHO["messages"])
    assert ("model", "model_not_found") == (caught.value.param, caught.value.code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/chat/completions", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_a_405_that_tells_the_right_one(
    any_gateway: GatewayProcess, method: str, path: str, allowed: str
) -> None:
    answer = exchange(f"{any_gateway.url}{path}", ECHO, method=method, key=API_KEY)
    assert 405 == answer.status
    assert allowed == answer.headers["allow"]
    assert "method_not_allowed" == answer.error["code"]


@pytest.mark.parametrize("path", ["/v1/models/", "/v1/chat/completions/"])
def test_a_slash_at_the_end_makes_no_difference(gateway: GatewayProcess, path: str) -> None:
    """A redirect would turn the POST into a GET."""
    body = ECHO if "chat" in path else None
    assert 200 == exchange(f"{gateway.url}{path}", body, key=API_KEY).status


# -- bodies


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", None),
        (b"  ", None),
        (b"{", None),
        (b"model=echo", None),
        (b'{"model": "echo", "messages": [{"role": "user", "content": "\xff"}]}', None),
        (b"[]", "invalid_type"),
        (b'"echo"', "invalid_type"),
        (b"null", "invalid_type"),
    ],
    ids=["empty", "blank", "cut", "form", "latin-1", "list", "string", "null"],
)
def test_p45_a_body_that_is_no_json_object_is_a_400(
    any_gateway: GatewayProcess, body: bytes, code: str | None
) -> None:
    answer = exchange(chat_url(any_gateway), body, key=API_KEY)
    assert 400 == answer.status
    assert ("invalid_request_error", None) == (answer.error["type"], answer.error["param"])
    assert code == answer.error["code"]


def message(**fields: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi", **fields}]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        (message(role="robot"), "messages[0]"),
        (message(content=5), "messages[0].content"),
        (message(content=[{"type": "text"}]), "messages[0].content[0].text"),
        ({"model": 5}, "model"),
        ({"model": None}, "model"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tool_choice": "always"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_field_is_named(
    gateway: GatewayProcess, change: dict[str, Any], param: str
) -> None:
    answer = exchange(chat_url(gateway), {**ECHO, **change}, key=API_KEY)
    assert 400 == answer.status
    assert param == answer.error["param"]
    assert "invalid_request_error" == answer.error["type"]


def test_the_sdk_makes_a_bad_request_of_it(any_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        any_client.chat.completions.create(model="echo", messages=ECHO["messages"], temperature=9)
    assert "temperature" == caught.value.param


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd"])
def test_a_compressed_body_is_a_415(gateway: GatewayProcess, encoding: str) -> None:
    body = gzip.compress(json.dumps(ECHO).encode())
    answer = exchange(chat_url(gateway), body, headers={"Content-Encoding": encoding}, key=API_KEY)
    assert 415 == answer.status
    assert "unsupported_media_type" == answer.error["code"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_json_is_read_whatever_it_is_called(gateway: GatewayProcess, content_type: str) -> None:
    """`curl -d` calls it a form."""
    answer = exchange(chat_url(gateway), ECHO, headers={"Content-Type": content_type}, key=API_KEY)
    assert 200 == answer.status


# -- size


LIMIT = {"API_KEYS": API_KEY, "MAX_BODY_MB": "0.001", "BODY_TIMEOUT_S": "0.2"}


@pytest.mark.parametrize("server", ["one-api", "gunicorn"])
def test_p45_a_body_over_the_limit_is_a_413(start_gateway: StartGateway, server: Server) -> None:
    gateway = start_gateway(LIMIT, server=server)
    body = {**ECHO, "user": "u" * 2_000}
    declared = exchange(chat_url(gateway), body, key=API_KEY)
    assert 413 == declared.status
    assert "request_too_large" == declared.error["code"]
    assert "1000 bytes" in declared.error["message"]
    assert 413 == _chunked_status(gateway)
    assert 200 == exchange(chat_url(gateway), ECHO, key=API_KEY).status
    if server == "one-api":
        assert 408 == _slow_status(gateway)


def _slow_status(gateway: GatewayProcess) -> int:
    """The status for a body that does not end; WSGI servers have deadlines of their own."""
    whole = raw_request("/v1/chat/completions", json.dumps(ECHO).encode(), API_KEY)
    with sent(gateway.url, whole[:-1]) as sock:
        line = sock.makefile("rb").readline()
    return int(line.split()[1])


def _chunked_status(gateway: GatewayProcess) -> int:
    """The status for a body whose length is not told before."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        f"Authorization: Bearer {API_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"%x\r\n%b\r\n" % (600, b" " * 600)
    with sent(gateway.url, head.encode() + chunk * 4 + b"0\r\n\r\n") as sock:
        line = sock.makefile("rb").readline()
    return int(line.split()[1])
