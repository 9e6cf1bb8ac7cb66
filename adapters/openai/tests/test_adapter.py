"""What each row's provider gets, and what its answers mean."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    CompatibleProvider,
    Event,
    GatewayError,
    HTTPTransport,
    ModelInfo,
    Relay,
    Timeouts,
    UnsupportedParameter,
    UpstreamInvalidResponse,
    WireReply,
    WireRequest,
)
from one_api_openai import PROVIDERS, OpenAIAdapter
from one_api_openai.adapter import variable_prefix

CREDENTIAL = "sk-credential-of-the-operator"
ROWS = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
QUESTION = {"role": "user", "content": "Hello?"}


class CannedReply(WireReply):
    """A reply that is there already."""

    def __init__(self, status: int, pieces: Sequence[bytes]) -> None:
        self._status = status
        self._pieces = pieces

    @property
    @override
    def status(self) -> int:
        return self._status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {"retry-after": "7"}

    @override
    async def read(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for piece in self._pieces:
            yield piece


class CannedTransport(HTTPTransport):
    """Answers every request alike, and keeps the requests."""

    def __init__(self, status: int = 200, pieces: Sequence[bytes] = ()) -> None:
        self._reply = CannedReply(status, pieces)
        self.requests: list[WireRequest] = []

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.requests.append(request)
        yield self._reply


def make_adapter(
    http: HTTPTransport, provider: CompatibleProvider = PROVIDERS[0], **environment: str
) -> OpenAIAdapter:
    """The adapter of one row; variables are given without the row's prefix."""
    prefix = variable_prefix(provider)
    given = {f"{prefix}_{name}": value for name, value in environment.items()}
    context = AdapterContext(http=http, logger=logging.getLogger("openai"))
    adapter = OpenAIAdapter.build("openai", given, context)[provider.name]
    assert isinstance(adapter, OpenAIAdapter)
    return adapter


def sent(provider: CompatibleProvider, **fields: Any) -> dict[str, Any]:
    """The body that this row's provider gets for a request with `fields`."""
    request = ChatCompletionRequest.from_wire({"model": "x", "messages": [QUESTION], **fields})
    adapter = make_adapter(CannedTransport(), provider, API_KEY=CREDENTIAL)
    wire = adapter.to_wire(request, Call(model="upstream-model"))
    assert isinstance(wire.body, bytes)
    body: dict[str, Any] = orjson.loads(wire.body)
    return body


async def events(adapter: OpenAIAdapter, **fields: Any) -> list[Event]:
    request = ChatCompletionRequest.from_wire({"model": "x", "messages": [QUESTION], **fields})
    return [event async for event in adapter.generate_completion(request, Call(model="x"))]


# -- requests


@ROWS
def test_the_upstreams_name_of_the_model_is_sent(provider: CompatibleProvider) -> None:
    assert {"model": "upstream-model", "messages": [QUESTION]} == sent(provider)


@ROWS
def test_every_other_field_is_sent_as_it_is(provider: CompatibleProvider) -> None:
    fields = {"temperature": 0.1, "seed": 1, "n": 2, "top_k": 3, "new_field": {"a": [None]}}
    assert fields.items() <= sent(provider, **fields).items()


@ROWS
def test_the_completion_limit_has_the_name_the_provider_knows(
    provider: CompatibleProvider,
) -> None:
    body = sent(provider, max_completion_tokens=5)
    known = "max_completion_tokens" if provider.max_completion_tokens else "max_tokens"
    assert {known: 5} == {key: value for key, value in body.items() if key.startswith("max_")}
    assert 5 == sent(provider, max_tokens=5)["max_tokens"]


@ROWS
def test_the_end_users_name_is_sent_to_whom_knows_the_field(provider: CompatibleProvider) -> None:
    adapter = make_adapter(CannedTransport(), provider, API_KEY=CREDENTIAL)
    request = ChatCompletionRequest.from_wire({"messages": [QUESTION], "safety_identifier": "u"})
    call, strict = Call(model="m"), Call(model="m", strict_params=True)
    body = adapter.to_wire(request, call).body
    assert isinstance(body, bytes)
    assert provider.safety_identifier is ("safety_identifier" in orjson.loads(body))
    assert provider.safety_identifier is (call.dropped == [])
    with contextlib.ExitStack() as refused:
        if not provider.safety_identifier:
            refused.enter_context(pytest.raises(UnsupportedParameter))
        adapter.to_wire(request, strict)


@ROWS
def test_instructions_have_the_role_the_provider_knows(provider: CompatibleProvider) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, QUESTION]
    role = "developer" if provider.developer_role else "system"
    assert [{"role": role, "content": "Be brief."}, QUESTION] == sent(provider, messages=messages)[
        "messages"
    ]


@ROWS
def test_a_stream_is_asked_for_its_usage_where_that_is_known(
    provider: CompatibleProvider,
) -> None:
    asked = sent(provider, stream=True, stream_options={"include_usage": False})
    unasked = sent(provider, stream=True)
    wanted = {"include_usage": True} if provider.stream_usage else None
    assert [wanted, wanted] == [body.get("stream_options") for body in (asked, unasked)]
    assert "stream_options" not in sent(provider)


def test_other_stream_options_are_kept() -> None:
    options = {"include_obfuscation": False, "new_option": 1}
    body = sent(PROVIDERS[0], stream=True, stream_options=options)
    assert {**options, "include_usage": True} == body["stream_options"]


@ROWS
def test_the_clients_request_is_left_as_it_was(provider: CompatibleProvider) -> None:
    """Another deployment may be asked with the same request."""
    given = {
        "model": "x",
        "messages": [{"role": "developer", "content": "Be brief."}, QUESTION],
        "max_completion_tokens": 5,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }
    request = ChatCompletionRequest.from_wire(given)
    adapter = make_adapter(CannedTransport(), provider, API_KEY=CREDENTIAL)
    first = adapter.to_wire(request, Call(model="m"))
    assert given == request.to_wire()
    assert first == adapter.to_wire(request, Call(model="m"))


def test_the_credential_is_in_its_header_and_nowhere_else() -> None:
    adapter = make_adapter(CannedTransport(), API_KEY=CREDENTIAL)
    request = ChatCompletionRequest.from_wire({"model": "x", "messages": [QUESTION]})
    wire = adapter.to_wire(request, Call(model="m"))
    assert f"Bearer {CREDENTIAL}" == wire.headers["Authorization"]
    assert CREDENTIAL not in f"{wire.url} {wire.body!r}"


def test_an_engine_without_a_key_gets_no_header() -> None:
    vllm = next(provider for provider in PROVIDERS if provider.keyless)
    adapter = make_adapter(CannedTransport(), vllm, BASE_URL="http://127.0.0.1:9")
    request = ChatCompletionRequest.from_wire({"model": "x", "messages": [QUESTION]})
    assert "Authorization" not in adapter.to_wire(request, Call(model="m")).headers


def test_printing_an_adapter_or_its_settings_shows_no_credential() -> None:
    adapter = make_adapter(CannedTransport(), API_KEY=CREDENTIAL)
    for text in (repr(adapter), repr(adapter.settings), str(adapter.settings)):
        assert CREDENTIAL not in text


# -- replies


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_bytes_are_relayed_as_they_come(stream: bool) -> None:
    pieces = [b"data: {", b"}\n", b"\n", b"anything"]
    adapter = make_adapter(CannedTransport(200, pieces), API_KEY=CREDENTIAL)
    assert [Relay(piece) for piece in pieces] == await events(adapter, stream=stream)


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (400, {"error": {"message": "no", "code": "bad"}}, "bad", "no"),
        (401, {"error": {"message": CREDENTIAL}}, "upstream_authentication_error", None),
        (403, {"error": {"message": CREDENTIAL}}, "upstream_authentication_error", None),
        (404, {"error": {"message": "no model"}}, "model_not_found", "no model"),
        (429, {"error": {"message": "slow"}}, "rate_limit_exceeded", "slow"),
        (500, {"error": "text"}, "upstream_server_error", "text"),
        (500, {"detail": CREDENTIAL}, "upstream_server_error", "[redacted]"),
        (503, {"message": "busy"}, "server_is_overloaded", "busy"),
    ],
)
async def test_an_error_is_told_without_the_credential(
    status: int, body: object, code: str, message: str | None
) -> None:
    http = CannedTransport(status, [orjson.dumps(body)])
    with pytest.raises(GatewayError) as caught:
        await events(make_adapter(http, API_KEY=CREDENTIAL))
    assert code == caught.value.code
    assert message in (None, caught.value.message)
    assert CREDENTIAL not in caught.value.message


# -- models


async def test_models_are_listed_by_asking_the_provider() -> None:
    models = [
        {"id": "a", "created": 5, "owned_by": "me", "context_window": 100},
        {"id": "b/c:d", "created": None, "owned_by": "", "context_length": 200},
        {"id": "e", "created": -1, "max_model_len": 300},
        {"id": None},
        {"name": "no id"},
        "f",
    ]
    http = CannedTransport(200, [orjson.dumps({"object": "list", "data": models})])
    adapter = make_adapter(http, API_KEY=CREDENTIAL, BASE_URL="https://api.example/v4")
    assert [
        ModelInfo(id="a", owned_by="me", created=5, context_window=100),
        ModelInfo(id="b/c:d", owned_by="openai", context_window=200),
        ModelInfo(id="e", owned_by="openai", context_window=300),
    ] == list(await adapter.list_models())
    (request,) = http.requests
    assert ("GET", "https://api.example/v4/models") == (request.method, request.url)
    assert f"Bearer {CREDENTIAL}" == request.headers["Authorization"]


async def test_a_bare_list_is_read_too() -> None:
    http = CannedTransport(200, [b'[{"id": "a"}]'])
    models = await make_adapter(http, API_KEY=CREDENTIAL).list_models()
    assert ["a"] == [model.id for model in models]


async def test_named_models_are_not_asked_for() -> None:
    http = CannedTransport(500)
    adapter = make_adapter(http, API_KEY=CREDENTIAL, MODELS=" a, b/c ,,")
    assert ["a", "b/c"] == [model.id for model in await adapter.list_models()]
    assert [] == http.requests


@pytest.mark.parametrize("body", [b"{}", b'{"data": {}}', b"<html>", b"null", b'"a"'])
async def test_a_list_that_is_none_is_an_upstream_error(body: bytes) -> None:
    adapter = make_adapter(CannedTransport(200, [body]), API_KEY=CREDENTIAL)
    with pytest.raises(UpstreamInvalidResponse):
        await adapter.list_models()


@pytest.mark.parametrize(
    ("model", "base_url", "takes"),
    [
        ("gpt-5.6-terra", "", False),
        ("o4-mini", "", False),
        ("gpt-5-chat-latest", "", True),
        ("gpt-4.1", "", True),
        ("gpt-5.6-terra", "http://127.0.0.1:9/v1", True),
    ],
)
def test_stops_are_left_to_models_that_take_them(model: str, base_url: str, takes: bool) -> None:
    """OpenAI's reasoning models refuse `stop`: the gateway enforces it then."""
    adapter = make_adapter(CannedTransport(), API_KEY=CREDENTIAL, BASE_URL=base_url)
    assert takes is adapter.parameters(model).takes_stops(1)
    assert adapter.parameters(model).honours("seed")
