"""Model lists over a scripted transport, and what they tell about a model."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.claude.tests.scripted import (
    SCHEMA,
    MakeAdapter,
    Script,
    Scripted,
    answer,
    error,
    page,
    request,
    stream,
)
from one_api.adapter import Call, GatewayError, JsonObject, ModelNotFound, UpstreamInvalidResponse


def supported(**names: bool) -> JsonObject:
    return {name: {"supported": value} for name, value in names.items()}


ACME = {
    "id": "acme-2",
    "type": "model",
    "display_name": "Acme 2",
    "created_at": "2026-09-01T00:00:00Z",
    "max_input_tokens": 500_000,
    "max_tokens": 9_000,
    "capabilities": {
        "thinking": {
            "supported": True,
            "types": supported(adaptive=False, between_tools=False, disabled=True, enabled=True),
        },
        "effort": {"supported": False, **supported(low=False, high=False)},
        "structured_outputs": {"supported": False},
    },
}
DATED = {"id": "claude-haiku-4-5-20251001", "created_at": "1970-01-01T00:00:00Z"}


async def test_the_list_of_models_is_read_page_by_page(adapter_over: MakeAdapter) -> None:
    script = Script(
        page(DATED, has_more=True, last_id="a/b", first_id="x"),
        page(ACME, {"id": 5}, "noise", has_more=False, last_id="acme-2"),  # type: ignore[arg-type]  # noise
    )
    models = await adapter_over(script, CLAUDE_BASE_URL="https://a.example/claude").list_models()
    assert [(DATED["id"], 0), ("acme-2", 1_788_220_800)] == [(m.id, m.created) for m in models]
    acme = models[1]
    assert (acme.owned_by, acme.display_name) == ("anthropic", "Acme 2")
    assert (acme.context_window, acme.max_completion_tokens) == (500_000, 9_000)
    base = "https://a.example/claude/v1/models?limit=1000"
    assert [base, f"{base}&after_id=a%2Fb"] == [request.url for request in script.requests]
    assert {"GET"} == {request.method for request in script.requests}
    assert script.requests[0].headers["x-api-key"] == "sk-ant-test"


@pytest.mark.parametrize("moment", [None, 5, "yesterday", "1600-01-01T00:00:00Z"])
async def test_an_unknown_time_of_release_is_zero(adapter_over: MakeAdapter, moment: Any) -> None:
    script = Script(page({**ACME, "created_at": moment}))
    (model,) = await adapter_over(script).list_models()
    assert model.created == 0


async def test_an_endless_list_ends(adapter_over: MakeAdapter) -> None:
    script = Script(*[page(DATED, has_more=True, last_id="x") for _ in range(30)])
    models = await adapter_over(script).list_models()
    assert 20 == len(script.requests) == len(models)


async def test_what_the_list_tells_decides_the_conversion(adapter_over: MakeAdapter) -> None:
    script = Script(page(ACME), stream("text"), stream("text"))
    adapter = adapter_over(script)
    await adapter.list_models()
    call = Call(model="acme-2")
    await answer(adapter, request(reasoning_effort="low", response_format=SCHEMA), call)
    await answer(adapter, request(reasoning_effort="none"), call)
    first, second = script.bodies[1:]
    assert (
        first["thinking"],
        first["max_tokens"],
    ) == ({"type": "enabled", "budget_tokens": 2_048}, 9_000)
    assert "output_config" not in first
    assert second["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Scripted(b"[]", 200, {}), id="a-list"),
        pytest.param(Scripted(b'{"data":null}', 200, {}), id="no-data"),
        pytest.param(Scripted(b"<html>", 200, {}), id="html"),
        pytest.param(error(404, "Not found", "not_found_error"), id="no-such-page"),
    ],
)
async def test_a_list_that_is_none_is_told(adapter_over: MakeAdapter, reply: Scripted) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        await adapter_over(Script(reply)).list_models()


async def test_named_models_are_listed_without_asking(adapter_over: MakeAdapter) -> None:
    adapter = adapter_over(Script(), CLAUDE_MODELS="a, b ,,")
    assert [model.id for model in await adapter.list_models()] == ["a", "b"]
    assert (await adapter.get_model_info("b")).id == "b"
    with pytest.raises(ModelNotFound):
        await adapter.get_model_info("c")


async def test_one_model_is_asked_for_by_name(adapter_over: MakeAdapter) -> None:
    script = Script(Scripted(orjson.dumps(ACME), 200, {}))
    info = await adapter_over(script).get_model_info("acme/2")
    assert info.id == "acme-2"
    assert script.requests[0].url.endswith("/v1/models/acme%2F2")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (error(404, "model: nope", "not_found_error"), ModelNotFound),
        (Scripted(b"{}", 200, {}), UpstreamInvalidResponse),
    ],
)
async def test_a_model_that_is_not_there_is_told(
    adapter_over: MakeAdapter, reply: Scripted, expected: type[GatewayError]
) -> None:
    with pytest.raises(expected):
        await adapter_over(Script(reply)).get_model_info("nope")
