"""Signs of life, without a completion."""

from __future__ import annotations

import pytest

from adapters.gemini.tests.exchange.scripted_google import KEY, MODEL, MODELS, told
from one_api.adapter import (
    CredentialRejected,
    GatewayError,
    ModelNotFound,
    SupportsHealthProbe,
    UpstreamInvalidResponse,
    UpstreamOverloaded,
    UpstreamRateLimited,
)
from one_api_gemini import GeminiAdapter, GeminiSettings
from tests.scripted_upstream import Reply, ScriptedUpstream, json_reply

ONE = f"{MODELS}/{MODEL}"
COUNT = f"{ONE}:countTokens"
OVERLOADED = json_reply(503, {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}})
GONE = json_reply(404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}})


@pytest.fixture
def listless(adapter: GeminiAdapter, google: ScriptedUpstream) -> GeminiAdapter:
    """The adapter of an endpoint that cannot list its models."""
    environment = {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": google.url, "GEMINI_MODELS": MODEL}
    return GeminiAdapter(GeminiSettings.from_environment(environment), adapter.context)


async def test_a_model_that_is_there_is_alive(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(200, {"name": f"models/{MODEL}"}), path=ONE)

    assert isinstance(adapter, SupportsHealthProbe)
    await adapter.probe(MODEL, 1.0)

    (request,) = google.requests
    assert ("GET", KEY) == (request.method, request.headers["x-goog-api-key"])


async def test_where_nothing_is_listed_the_smallest_prompt_is_counted(
    listless: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(200, {"totalTokens": 1}), path=COUNT)

    await listless.probe(MODEL, 1.0)

    assert [COUNT] == [request.path for request in google.requests]


async def test_an_endpoint_that_says_it_cannot_count_is_alive(
    listless: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(GONE, path=COUNT)

    await listless.probe(MODEL, 1.0)

    assert 1 == len(google.requests)


REFUSALS: dict[str, tuple[Reply, type[GatewayError]]] = {
    "busy": (OVERLOADED, UpstreamOverloaded),
    "key": (told("error_key_invalid", 400), CredentialRejected),
    "too often": (told("error_rate_limited", 429), UpstreamRateLimited),
    "something else": (json_reply(200, ["x"]), UpstreamInvalidResponse),
}


@pytest.mark.parametrize(
    ("reply", "error"),
    [*REFUSALS.values(), (GONE, ModelNotFound)],
    ids=[*REFUSALS, "gone"],
)
async def test_anything_else_is_no_sign_of_life(
    adapter: GeminiAdapter, google: ScriptedUpstream, reply: Reply, error: type[GatewayError]
) -> None:
    google.script(reply, path=ONE)

    with pytest.raises(error):
        await adapter.probe(MODEL, 1.0)


@pytest.mark.parametrize(("reply", "error"), REFUSALS.values(), ids=REFUSALS)
async def test_nor_is_it_where_nothing_is_listed(
    listless: GeminiAdapter, google: ScriptedUpstream, reply: Reply, error: type[GatewayError]
) -> None:
    google.script(reply, path=COUNT)

    with pytest.raises(error):
        await listless.probe(MODEL, 1.0)
