"""Prices of more than one amount: what the ledger writes down, and what a budget must cover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.account_scenes import PRICED, bank
from tests.e2e.failover_scenes import chat, streamed
from tests.scripted_upstream import (
    Answer,
    Reply,
    TokenCount,
    anthropic_message,
    anthropic_stream,
    openai_completion,
)

FLAT = "{input: 2, output: 10}"
KEPT = "{input: 2, output: 10, cached_input: 0.5, cache_write: 3, cache_write_1h: 5}"
TIERED = "{input: 2, output: 10, tiers: [{above_input_tokens: %d, input: 4, output: 30}]}"
#: 40 tokens that were neither had nor kept, 30 had, 10 kept for minutes and 20 for an hour.
COUNT = TokenCount(prompt=100, completion=10, cached=30, cache_write=30, cache_write_1h=20)
COST = 40 * 2 + 30 // 2 + 10 * 3 + 20 * 5 + 10 * 10

CLAUDE = PRICED.replace("adapter: openai", "adapter: claude").replace(FLAT, KEPT)
SAID = Answer(usage=COUNT)
CHAT_PATH, MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"


@pytest.mark.parametrize(
    ("path", "body", "reply"),
    [
        (CHAT_PATH, chat(), anthropic_stream(SAID)),
        (CHAT_PATH, streamed(), anthropic_stream(SAID)),
        (MESSAGES_PATH, chat(max_tokens=50), anthropic_message(SAID)),
        (MESSAGES_PATH, streamed(max_tokens=50), anthropic_stream(SAID)),
    ],
    ids=["chat", "streamed chat", "passed on", "stream passed on"],
)
async def test_what_claude_keeps_for_an_hour_costs_what_it_does(
    tmp_path: Path, path: str, body: dict[str, Any], reply: Reply
) -> None:
    async with bank(tmp_path, CLAUDE) as gateway:
        gateway.script(a=reply)
        answer = await gateway.ask(body, path)
        (row,) = await gateway.ended(1)
    assert 200 == answer.status, answer.body
    assert (100, 30, 30) == (row["prompt_tokens"], row["cached_tokens"], row["cache_write_tokens"])
    assert COST == row["cost_microusd"]


@pytest.mark.parametrize(
    ("above", "cost"), [(100, 100 * 2 + 10 * 10), (99, 100 * 4 + 10 * 30)], ids=["short", "long"]
)
async def test_a_long_prompt_costs_what_its_tier_does(
    tmp_path: Path, above: int, cost: int
) -> None:
    async with bank(tmp_path, PRICED.replace(FLAT, TIERED % above)) as gateway:
        gateway.script(a=openai_completion(Answer(usage=TokenCount(prompt=100, completion=10))))
        assert 200 == (await gateway.ask(chat())).status
        (row,) = await gateway.ended(1)
    assert cost == row["cost_microusd"]


@pytest.mark.parametrize(("above", "status"), [(1, 429), (10**6, 200)], ids=["dear", "cheap"])
async def test_a_budget_must_cover_the_tier_that_a_prompt_may_reach(
    tmp_path: Path, above: int, status: int
) -> None:
    async with bank(tmp_path, PRICED.replace(FLAT, TIERED % above)) as gateway:
        gateway.script(a=openai_completion())
        # Ten tokens of a completion cost 100 below the bound, and 300 above it.
        key = await gateway.make_key(budget_total_microusd=250)
        answer = await gateway.ask_as(key, chat(max_tokens=10))
    assert status == answer.status, answer.body
