"""Who may call, how often, and from which web pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.e2e.conftest import API_KEY, StartGateway, watched
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess, Server, run_to_end

ECHO = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}
OTHER_KEY = "gateway-key-of-another"
APP = "https://app.example"


def chat_url(gateway: GatewayProcess) -> str:
    return f"{gateway.base_url}/chat/completions"


# -- starting in the open


@pytest.mark.slow
def test_an_open_gateway_on_a_public_address_does_not_start(tmp_path: Path) -> None:
    ended = run_to_end(["serve", "--host", "0.0.0.0", "--port", "1"], tmp_path)  # noqa: S104
    assert 2 == ended.returncode
    assert "API_KEYS" in ended.stderr
    assert "Traceback" not in ended.stderr


# -- rate limit


@pytest.mark.parametrize("server", ["one-api", "gunicorn"])
def test_a_caller_over_its_limit_is_told_when_to_come_back(
    start_gateway: StartGateway, server: Server
) -> None:
    gateway = start_gateway(
        {
            "API_KEYS": f"{API_KEY},{OTHER_KEY}",
            "RATE_LIMIT_ENABLED": "true",
            "RATE_LIMIT_REQUESTS": "2",
        },
        server=server,
    )
    strangers = [exchange(chat_url(gateway), ECHO, key="no-such-key") for _ in range(3)]
    admitted = [exchange(chat_url(gateway), ECHO, key=API_KEY) for _ in range(2)]
    refused = exchange(chat_url(gateway), {**ECHO, "stream": True}, key=API_KEY)
    assert [401] * 3 == [answer.status for answer in strangers]
    assert [200, 200] == [answer.status for answer in admitted]
    assert ["1", "0"] == [a.headers["x-ratelimit-remaining-requests"] for a in admitted]
    assert 429 == refused.status
    assert ("requests", "rate_limit_exceeded") == (refused.error["type"], refused.error["code"])
    assert "2" == refused.headers["x-ratelimit-limit-requests"]
    assert "0" == refused.headers["x-ratelimit-remaining-requests"]
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    # Others, health checks and the SDK's view of it.
    assert 200 == exchange(chat_url(gateway), ECHO, key=OTHER_KEY).status
    assert 200 == exchange(f"{gateway.url}/health").status
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key=API_KEY, max_retries=0) as client,
        pytest.raises(openai.RateLimitError),
    ):
        client.models.list()


# -- web pages


@pytest.fixture(scope="module")
def web_gateway(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that one web app may call, under a prefix, set up by a `.env` file alone."""
    directory = tmp_path_factory.mktemp("web")
    (directory / ".env").write_text(
        f"# read at the start\nAPI_KEYS={API_KEY}\nCORS_ORIGINS={APP}, https://other.example\nDEFAULT_MODEL='echo'\n"
    )
    with watched(pytestconfig, directory, {"API_PREFIX": "/openai/v1"}) as process:
        yield process


@pytest.fixture(scope="module")
def open_web_gateway(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway without keys that any web app may call."""
    directory = tmp_path_factory.mktemp("open-web")
    with watched(pytestconfig, directory, {"CORS_ORIGINS": "*"}, "gunicorn") as process:
        yield process


def preflight(gateway: GatewayProcess, origin: str) -> dict[str, str]:
    """What a browser asks before it sends a request of another site's page."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
    }
    answer = exchange(chat_url(gateway), method="OPTIONS", headers=headers)
    assert answer.status in (200, 204)
    return answer.headers


def test_a_preflight_needs_no_key_and_allows_what_the_sdk_sends(
    web_gateway: GatewayProcess,
) -> None:
    headers = preflight(web_gateway, APP)
    assert APP == headers["access-control-allow-origin"]
    assert "POST" in headers["access-control-allow-methods"]
    allowed = headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "x-stainless-lang"))
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("body", [ECHO, {**ECHO, "stream": True}, {}], ids=["", "stream", "error"])
def test_answers_to_the_app_may_be_read_by_it(
    web_gateway: GatewayProcess, body: dict[str, object]
) -> None:
    """Errors too: without the header a browser hides what went wrong."""
    answer = exchange(chat_url(web_gateway), body, headers={"Origin": APP}, key=API_KEY)
    assert APP == answer.headers["access-control-allow-origin"]
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize("origin", ["https://evil.example", f"{APP}.evil.example", "null"])
def test_other_pages_may_not_read_answers(web_gateway: GatewayProcess, origin: str) -> None:
    answer = exchange(chat_url(web_gateway), ECHO, headers={"Origin": origin}, key=API_KEY)
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in preflight(web_gateway, origin)


def test_without_origins_there_are_no_cors_headers(gateway: GatewayProcess) -> None:
    answer = exchange(chat_url(gateway), ECHO, headers={"Origin": APP}, key=API_KEY)
    told = {**answer.headers, **preflight(gateway, APP)}
    assert not [name for name in told if name.startswith("access-control-")]


def test_everybody_may_read_but_never_with_credentials(open_web_gateway: GatewayProcess) -> None:
    answer = exchange(chat_url(open_web_gateway), ECHO, headers={"Origin": APP, "Cookie": "a=b"})
    told = preflight(open_web_gateway, APP)
    for headers in (answer.headers, told):
        assert headers["access-control-allow-origin"] in ("*", APP)
        assert "access-control-allow-credentials" not in headers


# -- settings that come from a file and from the environment


def test_the_prefix_moves_the_api_and_nothing_else(web_gateway: GatewayProcess) -> None:
    assert f"{web_gateway.url}/openai/v1" == web_gateway.base_url
    assert 200 == exchange(f"{web_gateway.base_url}/models", key=API_KEY).status
    assert 404 == exchange(f"{web_gateway.url}/v1/models", key=API_KEY).status
    assert 200 == exchange(f"{web_gateway.url}/health").status


def test_the_env_file_is_read(web_gateway: GatewayProcess) -> None:
    messages = ECHO["messages"]
    answer = exchange(chat_url(web_gateway), {"messages": messages}, key=API_KEY)
    assert 401 == exchange(chat_url(web_gateway), ECHO).status
    assert ("echo", "Hello") == (
        answer.json["model"],
        answer.json["choices"][0]["message"]["content"],
    )


def test_a_gateway_without_keys_lets_this_machine_in(open_web_gateway: GatewayProcess) -> None:
    assert 200 == exchange(chat_url(open_web_gateway), ECHO).status
    assert 200 == exchange(chat_url(open_web_gateway), ECHO, key="whatever").status
