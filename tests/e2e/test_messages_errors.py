"""What goes wrong at the Anthropic door, as Anthropic's clients know it; keys at all doors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.e2e.conftest import API_KEY, UNREACHABLE_MODEL, StartGateway
from tests.e2e.exchanges import Answer, exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import openai_error

HI: Any = [{"role": "user", "content": "Hello?"}]
ECHO = {"model": "echo", "max_tokens": 9, "messages": HI}


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=gateway.url, api_key=API_KEY, max_retries=0, timeout=20
    ) as client:
        yield client


def error_of(answer: Answer) -> tuple[str, str]:
    """Type and message, after a check of the envelope that clients rely on."""
    body = answer.json
    assert ({"type", "error", "request_id"}, "error") == (set(body), body["type"])
    assert answer.headers["request-id"] == body["request_id"] == answer.headers["x-request-id"]
    assert {"type", "message"} == set(body["error"])
    return body["error"]["type"], body["error"]["message"]


# -- P42: keys

KEYS = {
    "x-api-key": {"x-api-key": API_KEY},
    "Bearer": {"Authorization": f"Bearer {API_KEY}"},
    "both": {"x-api-key": API_KEY, "Authorization": f"Bearer {API_KEY}"},
    "good and bad": {"x-api-key": API_KEY, "Authorization": "Bearer wrong"},
    "bad and good": {"x-api-key": "wrong", "Authorization": f"Bearer {API_KEY}"},
}
BAD_KEYS: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"x-api-key": ""},
    "wrong": {"x-api-key": "wrong"},
    "wrong Bearer": {"Authorization": "Bearer wrong"},
    "both wrong": {"x-api-key": "wrong", "Authorization": "Bearer wrong"},
}
DOORS = ["/messages", "/messages/count_tokens", "/chat/completions"]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("headers", KEYS.values(), ids=KEYS)
def test_p42_either_header_opens_every_door(
    gateway: GatewayProcess, path: str, headers: dict[str, str]
) -> None:
    assert 200 == exchange(f"{gateway.base_url}{path}", ECHO, headers=headers).status
    assert 200 == exchange(f"{gateway.base_url}/models", headers=headers).status


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("headers", BAD_KEYS.values(), ids=BAD_KEYS)
def test_p42_without_a_valid_key_the_refusal_is_in_the_doors_format(
    gateway: GatewayProcess, path: str, headers: dict[str, str]
) -> None:
    answer = exchange(f"{gateway.base_url}{path}", ECHO, headers=headers)
    assert 401 == answer.status
    if path == "/chat/completions":
        assert "invalid_api_key" == answer.error["code"]
    else:
        assert "authentication_error" == error_of(answer)[0]


def test_the_model_list_refuses_each_client_in_its_format(gateway: GatewayProcess) -> None:
    url = f"{gateway.base_url}/models"
    assert "invalid_api_key" == exchange(url).error["code"]
    answer = exchange(url, headers={"anthropic-version": "2023-06-01"})
    assert "authentication_error" == error_of(answer)[0]


def test_the_sdk_knows_a_refused_key(any_gateway: GatewayProcess) -> None:
    with (
        anthropic.Anthropic(base_url=any_gateway.url, api_key="wrong", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="echo", max_tokens=9, messages=HI)


@pytest.mark.parametrize("version", [None, "2023-06-01", "2026-10-21", "tomorrow"])
def test_any_version_is_taken(gateway: GatewayProcess, version: str | None) -> None:
    headers = {} if version is None else {"anthropic-version": version}
    answer = exchange(f"{gateway.base_url}/messages", ECHO, headers=headers, key=API_KEY)
    assert 200 == answer.status


# -- the caller's mistakes


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"", "empty"),
        (b"[]", "JSON object"),
        ({"max_tokens": 9, "messages": HI}, "'model'"),
        ({**ECHO, "model": 5}, "'model'"),
        ({"model": "echo", "messages": HI}, "'max_tokens'"),
        ({**ECHO, "messages": [{"role": "user"}]}, "'messages[0].content'"),
        (
            {**ECHO, "output_config": {"format": {"type": "json_schema", "schema": {}}}},
            "'response_format'",
        ),
    ],
    ids=["broken", "empty", "array", "no model", "model", "no bound", "content", "unsupported"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_wrong_request_is_a_400_that_names_the_field(
    gateway: GatewayProcess, body: Any, words: str, stream: bool
) -> None:
    if isinstance(body, dict):
        body = {**body, "stream": stream}
    answer = exchange(f"{gateway.base_url}/messages", body, key=API_KEY)
    assert 400 == answer.status
    kind, message = error_of(answer)
    assert "invalid_request_error" == kind
    assert words in message


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
def test_an_unknown_model_is_the_sdks_not_found(gateway: GatewayProcess, path: str) -> None:
    body = {**ECHO, "model": "no-such-model"}
    answer = exchange(f"{gateway.base_url}{path}", body, key=API_KEY)
    assert 404 == answer.status
    assert "not_found_error" == error_of(answer)[0]


def test_a_wrong_method_is_a_405(any_gateway: GatewayProcess) -> None:
    answer = exchange(f"{any_gateway.base_url}/messages", key=API_KEY)
    assert 405 == answer.status
    assert "invalid_request_error" == error_of(answer)[0]
    assert "POST" in answer.headers["allow"]


def test_an_unknown_path_below_is_a_404(gateway: GatewayProcess) -> None:
    answer = exchange(f"{gateway.base_url}/messages/batches", ECHO, key=API_KEY)
    assert 404 == answer.status
    assert "not_found_error" == error_of(answer)[0]


def test_a_body_that_is_too_large_is_a_413(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"MAX_BODY_MB": "1", "RATE_LIMIT_ENABLED": "true"})
    body = {**ECHO, "messages": [{"role": "user", "content": "x" * 1_100_000}]}
    answer = exchange(f"{gateway.base_url}/messages", body)
    assert 413 == answer.status
    assert "request_too_large" == error_of(answer)[0]


def test_the_callers_own_limit_is_a_429(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_REQUESTS": "1"})
    url = f"{gateway.base_url}/messages"
    assert 200 == exchange(url, ECHO).status
    answer = exchange(url, ECHO)
    assert 429 == answer.status
    assert "rate_limit_error" == error_of(answer)[0]
    assert 1 <= int(answer.headers["retry-after"]) <= 60


# -- the provider's


@pytest.mark.parametrize(
    ("status", "code", "told", "kind", "error_class"),
    [
        (400, None, 400, "invalid_request_error", anthropic.BadRequestError),
        (422, None, 422, "invalid_request_error", anthropic.UnprocessableEntityError),
        (401, None, 502, "api_error", anthropic.InternalServerError),
        (404, "model_not_found", 404, "not_found_error", anthropic.NotFoundError),
        (413, None, 413, "request_too_large", anthropic.APIStatusError),
        (429, None, 429, "rate_limit_error", anthropic.RateLimitError),
        (500, None, 500, "api_error", anthropic.InternalServerError),
        (503, None, 529, "overloaded_error", anthropic.InternalServerError),
        (504, None, 504, "timeout_error", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_p40_the_providers_error_becomes_one_of_anthropics(
    client: anthropic.Anthropic,
    openai_scene: Scene,
    status: int,
    code: str | None,
    told: int,
    kind: str,
    error_class: type[anthropic.APIStatusError],
    stream: bool,
) -> None:
    openai_scene.script(openai_error(status, "scripted failure", code=code))
    with pytest.raises(error_class) as caught:
        client.messages.create(model=openai_scene.model, max_tokens=9, messages=HI, stream=stream)
    assert (told, kind) == (caught.value.status_code, caught.value.type)
    assert caught.value.request_id


def test_p40_a_prompt_that_does_not_fit(client: anthropic.Anthropic, openai_scene: Scene) -> None:
    words = (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in "
        "9000 tokens. Please reduce the length of the messages."
    )
    openai_scene.script(openai_error(400, words, code="context_length_exceeded"))
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model=openai_scene.model, max_tokens=9, messages=HI)
    body: Any = caught.value.body
    assert "prompt is too long: 9000 tokens > 8192 maximum" == body["error"]["message"]


def test_a_provider_that_is_not_there(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model=UNREACHABLE_MODEL, max_tokens=9, messages=HI)
    assert (502, "api_error") == (caught.value.status_code, caught.value.type)
