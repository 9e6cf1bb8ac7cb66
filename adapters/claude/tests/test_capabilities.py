from __future__ import annotations

from typing import Any, get_args

import pytest
from anthropic.types import Model

from one_api.adapter import JsonObject
from one_api_claude.capabilities import NEWEST, TABLE, KnownModels, ModelCapabilities, family


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("claude-haiku-4-5", "claude-haiku-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("anthropic/claude-opus-4.5", "claude-opus-4-5"),
        ("anthropic/claude-sonnet-5:beta", "claude-sonnet-5"),
        ("claude-opus-5-latest", "claude-opus-5"),
        ("Claude-Opus-5-5", "claude-opus-5-5"),
        ("acme-1", "acme-1"),
    ],
)
def test_family_is_the_name_without_date_and_platform(model_id: str, expected: str) -> None:
    assert expected == family(model_id)


def test_every_model_the_sdk_names_is_in_the_table() -> None:
    named = {name for literal in get_args(Model) for name in get_args(literal)}
    # Retired on 2026-06-30; listed by the SDK still.
    assert {family(name) for name in named} - {"claude-mythos-preview"} <= TABLE.keys()


@pytest.mark.parametrize("model_id", ["claude-opus-6", "claude-opus-5-7", "acme-1", ""])
def test_an_unknown_model_has_the_newest_restrictions(model_id: str) -> None:
    assert KnownModels().capabilities(model_id) == NEWEST
    assert (
        NEWEST.sampling,
        NEWEST.forced_tools,
        NEWEST.prefill,
        NEWEST.mid_system,
    ) == ("none", False, False, False)


@pytest.mark.parametrize(
    ("efforts", "wanted", "expected"),
    [
        (("low", "medium", "high", "max"), "xhigh", "high"),
        (("low", "medium"), "max", "medium"),
        (("medium", "high"), "low", "medium"),
        ((), "low", None),
    ],
)
def test_the_nearest_effort_is_the_next_lower(
    efforts: Any, wanted: Any, expected: str | None
) -> None:
    assert expected == ModelCapabilities(efforts=frozenset(efforts)).nearest_effort(wanted)


def listing(**capabilities: Any) -> JsonObject:
    return {"id": "claude-sonnet-4-5-20250929", "capabilities": capabilities}


def test_the_list_is_believed_before_the_table() -> None:
    known = KnownModels()
    effort = {"supported": True, "low": {"supported": True}, "max": {"supported": False}}
    known.take_listing({**listing(effort=effort), "max_tokens": 7})
    for name in ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"):
        told = known.capabilities(name)
        assert (7, frozenset({"low"})) == (told.max_tokens, told.efforts)
        # What the list does not tell stays as the table has it.
        assert (told.prefill, told.thinks_by_budget) == (True, True)


@pytest.mark.parametrize(
    "noise",
    [
        {},
        listing(),
        {"id": "claude-sonnet-4-5", "capabilities": None, "max_tokens": "many"},
        {"id": "claude-sonnet-4-5", "max_tokens": 0},
        listing(thinking=None, effort=[]),
        listing(thinking={"types": None}),
    ],
)
def test_a_list_that_tells_nothing_changes_nothing(noise: JsonObject) -> None:
    known = KnownModels()
    known.take_listing({"id": "claude-sonnet-4-5", **noise})
    assert TABLE["claude-sonnet-4-5"] == known.capabilities("claude-sonnet-4-5")


def test_what_was_learned_outlives_a_new_list() -> None:
    known = KnownModels()
    known.learn("claude-sonnet-4-5", {"sampling": "none"})
    known.learn("claude-sonnet-4-5", {"prefill": False})
    known.take_listing({"id": "claude-sonnet-4-5", "max_tokens": 9})
    told = known.capabilities("claude-sonnet-4-5")
    assert (told.sampling, told.prefill, told.max_tokens) == ("none", False, 9)
