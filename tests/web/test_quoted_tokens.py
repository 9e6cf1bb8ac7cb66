"""A token that an adapter fetched is no client's to see, whatever its provider quotes."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    CompatibleProvider,
    Credential,
    HTTPTransport,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
    SupportsCredentialFlow,
    Timeouts,
    WireReply,
    WireRequest,
)
from one_api.app import create_app
from one_api.registry import ModelRegistry
from one_api.runtime import GatewayFlask
from one_api.settings import Settings

KEY = "gateway-key-of-a-caller"
CREDENTIAL = "the-operators-credential"
TOKENS = ("first-token-of-16-or-more", "second-token-of-16-or-more")


@dataclass
class Quoting(WireReply):
    """Says `text`, cut in many places, in its body and in a header."""

    text: str
    code: int

    @property
    @override
    def status(self) -> int:
        return self.code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        name = f'attachment; filename="{self.text}"'
        return {"content-type": "text/plain", "content-disposition": name}

    @override
    async def read(self, limit: int) -> bytes:
        return self.text.encode()

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self.text), 7):
            yield self.text[at : at + 7].encode()


class Provider(HTTPTransport):
    """Refuses a token once it is told to, and quotes every one that it ever had."""

    def __init__(self) -> None:
        self.had: list[str] = []
        self.refused = ""
        #: What a request is answered with that is not refused.
        self.status, self.words = 200, "Tokens {}."

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token not in self.had:
            self.had.append(token)
        is_in = token != self.refused
        text = self.words.replace("{}", ", ".join(self.had))
        yield Quoting(text, self.status if is_in else 401)


class FetchingAdapter(OpenAICompatibleAdapter, SupportsCredentialFlow):
    """Fetches `TOKENS`, one after the other."""

    fetched = 0

    @override
    async def fetch_credential(self) -> Credential:
        token = TOKENS[self.fetched]
        self.fetched += 1
        return Credential(headers={"authorization": f"Bearer {token}"})


def app_before(provider: Provider) -> GatewayFlask:
    """A gateway whose one adapter asks `provider`."""
    registry = ModelRegistry()
    registry.register_adapter(
        "provider",
        FetchingAdapter(
            OpenAICompatibleSettings.from_environment({"API_KEY": CREDENTIAL, "MODELS": "m"}),
            AdapterContext(http=provider, logger=logging.getLogger("provider")),
            CompatibleProvider(name="provider", base_url="https://provider.example/v1"),
        ),
    )
    settings = Settings.load(api_keys=(KEY,), passthrough_adapter="provider", database_url="none")
    return create_app(settings, registry=registry)


@pytest.mark.parametrize("path", ["chat/completions", "embeddings"])
def test_a_token_is_concealed_in_the_errors_of_requests_that_are_translated(path: str) -> None:
    provider = Provider()
    provider.status, provider.words = 400, '{"error": {"message": "There is {}, which is odd."}}'
    app = app_before(provider)
    with app.test_client() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
        reply = client.post(f"/v1/{path}", json=body, headers={"authorization": f"Bearer {KEY}"})
    app.close()
    assert 400 == reply.status_code
    assert TOKENS[:1] == tuple(provider.had)
    assert "There is [redacted], which is odd." == reply.get_json()["error"]["message"]


def test_a_token_is_masked_in_what_is_passed_on_and_so_is_the_one_before() -> None:
    provider = Provider()
    app = app_before(provider)
    with app.test_client() as client:
        told = []
        for refused in ("", TOKENS[0]):
            provider.refused = refused
            reply = client.get("/v1/files", headers={"authorization": f"Bearer {KEY}"})
            assert 200 == reply.status_code
            told.append((reply.text, reply.headers["content-disposition"]))
    app.close()

    first, second = ("*" * len(token) for token in TOKENS)
    texts = [f"Tokens {first}.", f"Tokens {first}, {second}."]
    assert [(text, f'attachment; filename="{text}"') for text in texts] == told
