"""Which requests are asked as a chat, and which as a response."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
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
    Finish,
    GatewayError,
    HTTPTransport,
    InvalidRequest,
    JsonObject,
    Relay,
    TextDelta,
    Timeouts,
    UnsupportedParameter,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
    WireReply,
    WireRequest,
)
from one_api_openai import PROVIDERS, OpenAIAdapter
from one_api_openai.adapter import variable_prefix

OPENAI = PROVIDERS[0]
MODEL = "acme-5"
TOOL: JsonObject = {"type": "function", "function": {"name": "f"}}
TEXT = (Path(__file__).parent / "replies" / "text.sse").read_bytes()
CHAT, RESPONSE = "/chat/completions", "/responses"
ADVICE = (
    "Function tools with reasoning_effort are not supported for acme-5 in /v1/chat/completions. "
    "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
)
OLD_ADVICE = (
    "Function tools with reasoning_effort are not supported for acme-5 in /v1/chat/completions. "
    "Please use /v1/responses instead."
)


@dataclass(frozen=True, slots=True)
class CannedReply(WireReply):
    """A reply that is there already."""

    body: bytes
    code: int = 200
    media_type: str = "text/event-stream; charset=utf-8"

    @property
    @override
    def status(self) -> int:
        return self.code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {"content-type": self.media_type}

    @override
    async def read(self, limit: int) -> bytes:
        return self.body

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self.body), 100):
            yield self.body[at : at + 100]


def error(status: int, message: str, **fields: str) -> CannedReply:
    body = orjson.dumps({"error": {"message": message, **fields}})
    return CannedReply(body, status, "application/json")


@dataclass(slots=True)
class Provider(HTTPTransport):
    """Gives one reply after the other, and keeps what it was asked; `open` are those not left."""

    replies: list[CannedReply]
    requests: list[WireRequest] = field(default_factory=list)
    open: int = 0

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.requests.append(request)
        self.open += 1
        try:
            yield self.replies.pop(0)
        finally:
            self.open -= 1

    @property
    def paths(self) -> list[str]:
        """Where it was asked."""
        return [request.url.partition("/v1")[2] for request in self.requests]


ANSWER = CannedReply(b'{"choices": []}', media_type="application/json")
STREAM = CannedReply(TEXT)


def adapter_over(
    provider: Provider, row: CompatibleProvider = OPENAI, **environment: str
) -> OpenAIAdapter:
    prefix = variable_prefix(row)
    given = {f"{prefix}_{name}": value for name, value in environment.items()}
    context = AdapterContext(http=provider, logger=logging.getLogger("openai"))
    built = OpenAIAdapter.build("openai", {f"{prefix}_API_KEY": "k", **given}, context)[row.name]
    assert isinstance(built, OpenAIAdapter)
    return built


async def ask(
    adapter: OpenAIAdapter, model: str = MODEL, call: Call | None = None, **fields: Any
) -> list[Event]:
    body = {"messages": [{"role": "user", "content": "?"}], "tools": [TOOL], **fields}
    request = ChatCompletionRequest.from_wire(body)
    events = adapter.generate_completion(request, call or Call(model=model))
    return [event async for event in events]


# -- what is known


@pytest.mark.parametrize(
    ("model", "effort", "path"),
    [
        pytest.param("gpt-5.6-terra", "low", RESPONSE, id="refuses"),
        pytest.param("gpt-5.6-terra", None, RESPONSE, id="reasons unasked"),
        pytest.param("gpt-5.6-terra", "none", CHAT, id="does not reason"),
        pytest.param("gpt-5.5", None, RESPONSE, id="5.5 reasons unasked"),
        pytest.param("gpt-5.4-mini", "high", RESPONSE, id="5.4 refuses"),
        pytest.param("gpt-5.4-mini", None, CHAT, id="5.4 does not reason unasked"),
        pytest.param("gpt-5.1", "high", CHAT, id="not known to refuse"),
        pytest.param("my-gpt-5.6", "high", CHAT, id="another name"),
    ],
)
async def test_known_models_are_asked_where_they_answer(
    model: str, effort: str | None, path: str
) -> None:
    provider = Provider([STREAM if path == RESPONSE else ANSWER])
    await ask(adapter_over(provider), model, reasoning_effort=effort)
    assert [path] == provider.paths


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        pytest.param({}, RESPONSE, id="tools"),
        pytest.param({"tools": None, "functions": [{"name": "f"}]}, RESPONSE, id="legacy"),
        pytest.param({"tools": None}, CHAT, id="no tools"),
        pytest.param({"tools": []}, CHAT, id="empty tools"),
        pytest.param(
            {"tools": [{"type": "custom", "custom": {"name": "c"}}]}, CHAT, id="custom tools"
        ),
    ],
)
async def test_only_function_tools_make_the_difference(fields: JsonObject, path: str) -> None:
    provider = Provider([STREAM if path == RESPONSE else ANSWER])
    await ask(adapter_over(provider), "gpt-5.6", reasoning_effort="low", **fields)
    assert [path] == provider.paths


async def test_what_is_known_of_openai_is_not_assumed_of_another_endpoint() -> None:
    provider = Provider([ANSWER])
    adapter = adapter_over(provider, BASE_URL="http://127.0.0.1:9/v1")
    assert [Relay(ANSWER.body)] == await ask(adapter, "gpt-5.6", reasoning_effort="low")
    assert [CHAT] == provider.paths


async def test_openai_is_known_by_its_url() -> None:
    provider = Provider([STREAM])
    await ask(adapter_over(provider, BASE_URL="https://api.openai.com"), "gpt-5.6")
    assert [RESPONSE] == provider.paths


async def test_a_response_is_asked_for_with_the_credential_and_read() -> None:
    provider = Provider([STREAM])
    events = await ask(adapter_over(provider), "gpt-5.6", reasoning_effort="low")
    (request,) = provider.requests
    assert "https://api.openai.com/v1/responses" == request.url
    assert "Bearer k" == request.headers["Authorization"]
    assert isinstance(request.body, bytes)
    assert ("gpt-5.6", {"effort": "low"}) == tuple(
        orjson.loads(request.body)[name] for name in ("model", "reasoning")
    )
    assert ["Héllo", ", ", "wörld 🙂"] == [e.text for e in events if isinstance(e, TextDelta)]
    assert Finish("stop") == events[-1]


# -- what is learned


@pytest.mark.parametrize("message", [ADVICE, OLD_ADVICE], ids=["now", "before"])
async def test_a_refusal_is_learned_and_the_request_asked_again_once(message: str) -> None:
    provider = Provider([error(400, message, param="reasoning_effort"), STREAM, STREAM])
    adapter = adapter_over(provider)
    first = await ask(adapter, reasoning_effort="low")
    assert [CHAT, RESPONSE] == provider.paths
    second = await ask(adapter, reasoning_effort="high")
    assert [CHAT, RESPONSE, RESPONSE] == provider.paths
    assert Finish("stop") == first[-1] == second[-1]


async def test_a_model_is_learned_of_alone() -> None:
    provider = Provider([error(400, ADVICE), STREAM, ANSWER])
    adapter = adapter_over(provider)
    await ask(adapter, reasoning_effort="low")
    await ask(adapter, "acme-4", reasoning_effort="low")
    assert [CHAT, RESPONSE, CHAT] == provider.paths


async def test_a_refused_effort_says_nothing_of_requests_without_one() -> None:
    provider = Provider([error(400, ADVICE), STREAM, ANSWER, ANSWER])
    adapter = adapter_over(provider)
    for effort in ("low", None, "none"):
        await ask(adapter, reasoning_effort=effort)
    assert [CHAT, RESPONSE, CHAT, CHAT] == provider.paths


async def test_a_model_that_refuses_without_an_effort_refuses_with_one() -> None:
    provider = Provider([error(400, ADVICE), STREAM, STREAM, ANSWER])
    adapter = adapter_over(provider)
    for effort in (None, "low", "none"):
        await ask(adapter, reasoning_effort=effort)
    assert [CHAT, RESPONSE, RESPONSE, CHAT] == provider.paths


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(error(400, "Function tools are not supported."), id="another 400"),
        pytest.param(error(500, ADVICE), id="another status"),
    ],
)
async def test_other_refusals_are_told_as_they_are(refusal: CannedReply) -> None:
    provider = Provider([refusal, ANSWER])
    adapter = adapter_over(provider)
    with pytest.raises(GatewayError):
        await ask(adapter, reasoning_effort="low")
    await ask(adapter, reasoning_effort="low")
    assert [CHAT, CHAT] == provider.paths


async def test_a_provider_without_responses_is_not_asked_for_one() -> None:
    row = next(row for row in PROVIDERS if not row.responses)
    provider = Provider([error(400, ADVICE)])
    with pytest.raises(InvalidRequest) as caught:
        await ask(adapter_over(provider, row), reasoning_effort="low")
    assert (ADVICE, [CHAT]) == (caught.value.message, provider.paths)


async def test_advice_that_leads_nowhere_is_told_and_not_followed_again() -> None:
    """A proxy may pass on what OpenAI says, and have no responses itself."""
    provider = Provider([error(400, ADVICE), error(404, "Not Found")] * 2)
    adapter = adapter_over(provider)
    for _ in range(2):
        with pytest.raises(InvalidRequest) as caught:
            await ask(adapter, reasoning_effort="low")
        assert ADVICE == caught.value.message
    assert [CHAT, RESPONSE] * 2 == provider.paths


# -- what goes wrong


async def test_an_error_names_the_clients_parameter() -> None:
    provider = Provider([error(400, "Below the minimum.", param="max_output_tokens")])
    with pytest.raises(InvalidRequest) as caught:
        await ask(adapter_over(provider), "gpt-5.6", max_tokens=1)
    assert ("max_tokens", "Below the minimum.") == (caught.value.param, caught.value.message)


async def test_a_limit_is_told_and_not_retried_here() -> None:
    provider = Provider([error(400, ADVICE), error(429, "slow"), STREAM])
    adapter = adapter_over(provider)
    with pytest.raises(UpstreamRateLimited):
        await ask(adapter, reasoning_effort="low")
    await ask(adapter, reasoning_effort="low")
    assert [CHAT, RESPONSE, RESPONSE] == provider.paths


async def test_what_a_response_cannot_say_is_refused_without_asking() -> None:
    provider = Provider([])
    with pytest.raises(UnsupportedParameter) as caught:
        await ask(adapter_over(provider), "gpt-5.6", n=2)
    assert ("n", []) == (caught.value.param, provider.paths)


async def test_what_is_dropped_is_told() -> None:
    call = Call(model="gpt-5.6")
    await ask(adapter_over(Provider([STREAM])), call=call, seed=5)
    assert ["seed"] == call.dropped


@pytest.mark.parametrize("media_type", ["application/json", "text/html; charset=utf-8"])
async def test_what_is_no_stream_is_an_upstream_error(media_type: str) -> None:
    provider = Provider([CannedReply(b"{}", media_type=media_type)])
    with pytest.raises(UpstreamInvalidResponse):
        await ask(adapter_over(provider), "gpt-5.6")


@pytest.mark.parametrize(
    "replies", [[STREAM], [error(400, ADVICE), STREAM]], ids=["at once", "2nd"]
)
async def test_a_client_that_leaves_ends_the_request(replies: Sequence[CannedReply]) -> None:
    provider = Provider(list(replies))
    body = {"messages": [{"role": "user", "content": "?"}], "tools": [TOOL]}
    model = "gpt-5.6" if len(replies) == 1 else MODEL
    request = ChatCompletionRequest.from_wire(body)
    events = adapter_over(provider).generate_completion(request, Call(model=model))
    assert isinstance(events, AsyncGenerator)
    async with aclosing(events):
        await anext(events)
        assert 1 == provider.open
    assert 0 == provider.open
