"""Parameters beside messages and tools: the limit, sampling, stops, tiers and users."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.claude.tests.wires import HAIKU_4_5, OPUS_5_5, SONNET_4_5, SONNET_4_6, to_wire
from one_api.adapter import Call, JsonObject
from one_api_claude import ClaudeAdapter


@pytest.mark.parametrize(
    ("body", "model", "expected"),
    [
        ({"max_tokens": None, "max_completion_tokens": None}, OPUS_5_5, 16_384),
        ({"max_tokens": 10**9}, OPUS_5_5, 128_000),
        ({"max_completion_tokens": 10**9}, HAIKU_4_5, 64_000),
        ({"max_tokens": 5}, OPUS_5_5, 5),
    ],
)
def test_p16_limit(adapter: ClaudeAdapter, body: JsonObject, model: str, expected: int) -> None:
    wire, _, _ = to_wire(adapter, body, Call(model=model))
    assert expected == wire["max_tokens"]


def test_p22_knobs_are_dropped_and_told(adapter: ClaudeAdapter) -> None:
    body = {"seed": 1, "logit_bias": {"5": 1}, "verbosity": "low", "user": "u-1"}
    wire, call, _ = to_wire(adapter, body)
    assert sorted(call.dropped) == ["logit_bias", "seed", "verbosity"]
    assert wire["metadata"] == {"user_id": "u-1"}


@pytest.mark.parametrize("user_id", ["ann@example.org", "Ann Lee", "+47 22 33 44 55", "x" * 257])
def test_a_personal_user_id_is_hashed(adapter: ClaudeAdapter, user_id: str) -> None:
    wire, _, _ = to_wire(adapter, {"user": user_id})
    again, _, _ = to_wire(adapter, {"user": user_id})
    assert len(wire["metadata"]["user_id"]) == 64
    assert wire == again


def test_safety_identifier_comes_before_user(adapter: ClaudeAdapter) -> None:
    wire, _, _ = to_wire(adapter, {"user": "u", "safety_identifier": "s"})
    assert wire["metadata"] == {"user_id": "s"}


@pytest.mark.parametrize(
    ("model", "body", "sent", "dropped"),
    [
        (SONNET_4_6, {"temperature": 1.5}, {"temperature": 1.0}, []),
        (SONNET_4_6, {"top_p": 0.5}, {"top_p": 0.5}, []),
        (SONNET_4_5, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2}, ["top_p"]),
        (SONNET_4_6, {"temperature": 0, "reasoning_effort": "low"}, {}, ["temperature"]),
        (OPUS_5_5, {"temperature": 1, "top_p": 1}, {}, ["temperature", "top_p"]),
    ],
)
def test_sampling(
    adapter: ClaudeAdapter, model: str, body: JsonObject, sent: JsonObject, dropped: list[str]
) -> None:
    wire, call, version = to_wire(adapter, body, Call(model=model))
    assert sent == {key: wire[key] for key in ("temperature", "top_p") if key in wire}
    assert dropped == call.dropped
    assert ("2023-06-01" if sent else "2026-10-21") == version


@pytest.mark.parametrize(
    ("stop", "sent"),
    [("END", ["END"]), (["a", "\n", ""], ["a"]), (" ", None), ([], None)],
)
def test_blank_stop_sequences_stay_here(
    adapter: ClaudeAdapter, stop: Any, sent: list[str] | None
) -> None:
    wire, call, _ = to_wire(adapter, {"stop": stop})
    assert (sent, []) == (wire.get("stop_sequences"), call.dropped)


@pytest.mark.parametrize(
    ("tier", "sent", "dropped"),
    [
        ("auto", None, []),
        ("default", "standard_only", []),
        ("flex", "standard_only", []),
        ("priority", "auto", []),
        ("scale", "auto", []),
        ("fast", None, ["service_tier"]),
    ],
)
def test_service_tier(
    adapter: ClaudeAdapter, tier: str, sent: str | None, dropped: list[str]
) -> None:
    wire, call, _ = to_wire(adapter, {"service_tier": tier})
    assert (sent, dropped) == (wire.get("service_tier"), call.dropped)
