"""Counted prompts."""

from __future__ import annotations

import pytest

from adapters.gemini.tests.exchange.scripted_google import MODEL, MODELS, TOOL, told
from one_api.adapter import (
    Call,
    CredentialRejected,
    GatewayError,
    SupportsTokenCounting,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
)
from one_api_gemini import GeminiAdapter
from tests.adapters_in_test import asked
from tests.scripted_upstream import Reply, ScriptedUpstream, json_reply

COUNT = f"{MODELS}/{MODEL}:countTokens"


async def test_a_prompt_is_counted_as_it_would_be_asked(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(200, {"totalTokens": 31, "cachedContentTokenCount": 8}), path=COUNT)
    request = asked(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        tools=[TOOL],
        service_tier="flex",
    )

    assert isinstance(adapter, SupportsTokenCounting)
    assert 31 == await adapter.count_tokens(request, Call(model=MODEL))
    assert {
        "generateContentRequest": {
            "model": f"models/{MODEL}",
            "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [{"functionDeclarations": [{"name": "get_weather"}]}],
        }
    } == google.requests[0].json


async def test_where_nobody_counts_the_gateway_is_told_so(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(404, {"error": {"message": "no such method"}}), path=COUNT)

    assert await adapter.count_tokens(asked(), Call(model=MODEL)) is None


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (json_reply(200, {}), UpstreamInvalidResponse),
        (json_reply(200, {"totalTokens": True}), UpstreamInvalidResponse),
        (json_reply(200, []), UpstreamInvalidResponse),
        (told("error_rate_limited", 429), UpstreamRateLimited),
        (told("error_key_invalid", 400), CredentialRejected),
    ],
    ids=["nothing", "no number", "no object", "refused", "key"],
)
async def test_counts_that_fail(
    adapter: GeminiAdapter, google: ScriptedUpstream, reply: Reply, kind: type[GatewayError]
) -> None:
    google.script(reply, path=COUNT)

    with pytest.raises(kind):
        await adapter.count_tokens(asked(), Call(model=MODEL))
