"""The list of models, and one of them asked for by name."""

from __future__ import annotations

from urllib.parse import parse_qs

import orjson
import pytest

from adapters.gemini.tests.exchange.scripted_google import KEY, MODEL, MODELS, REPLIES, told
from one_api.adapter import Call, ModelNotFound, UpstreamInvalidResponse
from one_api_gemini import GeminiAdapter
from tests.adapters_in_test import asked
from tests.scripted_upstream import ScriptedUpstream, json_reply


async def test_models_are_listed_over_all_pages(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(told("models_1"), told("models_2"), path=MODELS)

    models = await adapter.list_models()

    assert [MODEL, "gemini-embedding-2"] == [model.id for model in models]
    assert (1_048_576, 65_536) == (models[0].context_window, models[0].max_completion_tokens)
    assert "Gemini 3.8 Flash" == models[0].display_name
    first = {"pageSize": ["1000"]}
    assert [first, {**first, "pageToken": ["Ch9tb2RlbHMv/w=="]}] == [
        parse_qs(request.query) for request in google.requests
    ]
    assert [KEY, KEY] == [request.headers["x-goog-api-key"] for request in google.requests]


async def test_what_the_list_tells_bounds_later_requests(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(told("models_2"), path=MODELS)
    await adapter.list_models()

    wire = adapter.to_wire(asked(max_tokens=50), Call(model="gemini-embedding-2"))

    assert isinstance(wire.body, bytes)
    assert {"maxOutputTokens": 1} == orjson.loads(wire.body)["generationConfig"]


async def test_a_list_without_models_is_empty(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    google.script(json_reply(200, {}), path=MODELS)

    assert [] == await adapter.list_models()


@pytest.mark.parametrize("page", [[], {"models": 7}, "x"])
async def test_a_list_that_is_none_is_told_so(
    adapter: GeminiAdapter, google: ScriptedUpstream, page: object
) -> None:
    google.script(json_reply(200, page), path=MODELS)

    with pytest.raises(UpstreamInvalidResponse):
        await adapter.list_models()


async def test_a_model_can_be_asked_for_by_name(
    adapter: GeminiAdapter, google: ScriptedUpstream
) -> None:
    entry = orjson.loads((REPLIES / "models_1.json").read_bytes())["models"][0]
    google.script(json_reply(200, entry), path=f"{MODELS}/{MODEL}")
    missing = {"error": {"code": 404, "message": "x is not found", "status": "NOT_FOUND"}}
    google.script(json_reply(404, missing), json_reply(200, {}), path=f"{MODELS}/x")

    assert MODEL == (await adapter.get_model_info(MODEL)).id
    with pytest.raises(ModelNotFound):
        await adapter.get_model_info("x")
    with pytest.raises(UpstreamInvalidResponse):
        await adapter.get_model_info("x")
