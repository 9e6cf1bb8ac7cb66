"""How to answer: limits, formats, sampling, thought and service tiers."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.gemini.tests.bodies import NEWEST, PRO_2_5, SCHEMA, body_of, request_of
from one_api.adapter import Call, UnsupportedParameter
from one_api_gemini import GeminiAdapter

FLASH_2_5 = "gemini-2.5-flash"


def config_of(adapter: GeminiAdapter, model: str = NEWEST, **fields: Any) -> dict[str, Any]:
    config = body_of(adapter, call=Call(model=model), **fields).get("generationConfig", {})
    assert isinstance(config, dict)
    return config


JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}

CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "limit": ({"max_completion_tokens": 50}, {"maxOutputTokens": 50}),
    "limit of old": ({"max_tokens": 50}, {"maxOutputTokens": 50}),
    "one stop": ({"stop": "END"}, {"stopSequences": ["END"]}),
    "no stop": ({"stop": [""]}, {}),
    "seed": ({"seed": -7}, {"seed": -7}),
    "seed of more bits": ({"seed": 2**40 + 5}, {"seed": 5}),
    "text": ({"response_format": {"type": "text"}}, {}),
    "any JSON": (
        {"response_format": {"type": "json_object"}},
        {"responseMimeType": "application/json"},
    ),
    "JSON by schema": (
        {"response_format": JSON_SCHEMA},
        {
            "responseMimeType": "application/json",
            "responseJsonSchema": {k: v for k, v in SCHEMA.items() if k != "$schema"},
        },
    ),
    "JSON by no schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        {"responseMimeType": "application/json"},
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_generation_config(adapter: GeminiAdapter, case: str) -> None:
    fields, config = CONFIGS[case]

    assert config == config_of(adapter, **fields)


def test_stops_past_the_fifth_are_kept_for_the_reply(adapter: GeminiAdapter) -> None:
    request = request_of().with_stops(["1", "2", "3", "4", "5", "6"])

    wire = adapter.to_wire(request, Call(model=NEWEST))

    assert isinstance(wire.body, bytes)
    config = orjson.loads(wire.body)["generationConfig"]
    assert ["1", "2", "3", "4", "5"] == config["stopSequences"]


@pytest.mark.parametrize(
    ("model", "config"),
    [("gemini-3.1-pro-preview", {"temperature": 0, "topP": 0.5}), (NEWEST, {})],
    ids=["taken", "not taken"],
)
def test_sampling_goes_to_the_models_that_take_it(
    adapter: GeminiAdapter, model: str, config: dict[str, Any]
) -> None:
    assert config == config_of(adapter, model, temperature=0, top_p=0.5)


def level(name: str) -> dict[str, Any]:
    return {"includeThoughts": True, "thinkingLevel": name}


def budget(tokens: int) -> dict[str, Any]:
    return {"includeThoughts": True, "thinkingBudget": tokens}


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        (NEWEST, "minimal", level("LOW")),
        (NEWEST, "low", level("LOW")),
        (NEWEST, "medium", level("MEDIUM")),
        (NEWEST, "high", level("HIGH")),
        (NEWEST, "xhigh", level("HIGH")),
        (NEWEST, "max", level("HIGH")),
        ("gemini-3-pro-preview", "medium", level("LOW")),
        ("gemini-3.6-flash", "minimal", level("MINIMAL")),
        (PRO_2_5, "minimal", budget(1_024)),
        (PRO_2_5, "medium", budget(8_192)),
        (FLASH_2_5, "high", budget(24_576)),
        (FLASH_2_5, "none", {"thinkingBudget": 0}),
        ("gemini-2.0-flash", "high", None),
        (NEWEST, None, None),
    ],
)
def test_each_effort_is_a_level_or_a_budget(
    adapter: GeminiAdapter, model: str, effort: str | None, config: dict[str, Any] | None
) -> None:
    call = Call(model=model)

    body = body_of(adapter, call=call, reasoning_effort=effort)

    assert config == body.get("generationConfig", {}).get("thinkingConfig")
    assert [] == call.degraded


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (NEWEST, {"thinkingLevel": "LOW"}),
        ("gemini-3.6-flash", {"thinkingLevel": "MINIMAL"}),
        (PRO_2_5, {"thinkingBudget": 128}),
    ],
)
def test_a_model_that_must_think_thinks_least_and_the_client_is_told(
    adapter: GeminiAdapter, model: str, config: dict[str, Any]
) -> None:
    call = Call(model=model)

    body = body_of(adapter, call=call, reasoning_effort="none")

    assert config == body["generationConfig"]["thinkingConfig"]
    assert ["reasoning_effort"] == call.degraded
    with pytest.raises(UnsupportedParameter):
        body_of(adapter, call=Call(model=model, strict_params=True), reasoning_effort="none")


def test_thoughts_may_be_asked_for_without_an_effort(adapter: GeminiAdapter) -> None:
    assert {"thinkingConfig": {"includeThoughts": True}} == (
        config_of(adapter, include_reasoning=True)
    )


@pytest.mark.parametrize(
    ("tier", "wire", "dropped"),
    [
        ("auto", None, []),
        ("default", "standard", []),
        ("flex", "flex", []),
        ("priority", "priority", []),
        ("scale", None, ["service_tier"]),
    ],
)
def test_each_service_tier_is_googles_or_dropped(
    adapter: GeminiAdapter, tier: str, wire: str | None, dropped: list[str]
) -> None:
    call = Call(model=NEWEST)

    body = body_of(adapter, call=call, service_tier=tier)

    assert (wire, dropped) == (body.get("serviceTier"), call.dropped)
