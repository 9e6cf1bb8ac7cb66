"""Anthropic's counts as OpenAI's: what is part of what, and what is told in which event."""

from __future__ import annotations

from typing import Any

import pytest

from one_api.adapter import Usage
from one_api_claude.usage import UsageCount

OPENED: dict[str, Any] = {
    "input_tokens": 10,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 25},
    "output_tokens": 1,
}
WHOLE = Usage(
    prompt_tokens=140,
    completion_tokens=1,
    cached_tokens=100,
    cache_write_tokens=30,
    cache_write_1h_tokens=25,
)


def counted(*parts: object) -> Usage:
    count = UsageCount()
    for part in parts:
        count.take(part)
    return count.total()


def test_what_is_kept_for_an_hour_is_part_of_what_is_kept() -> None:
    assert WHOLE == counted(OPENED)


def test_later_counts_leave_what_they_do_not_tell() -> None:
    """The end of a stream tells totals, and not always how long the cache keeps its part."""
    ended = {"input_tokens": 10, "cache_creation_input_tokens": 30, "output_tokens": 1}
    assert WHOLE == counted(OPENED, ended) == counted(OPENED, {**ended, "cache_creation": None})


@pytest.mark.parametrize("told", [None, 7, [], "1h", {"ephemeral_1h_input_tokens": "25"}, {}])
def test_odd_details_are_none(told: object) -> None:
    usage = counted({**OPENED, "cache_creation": told})
    assert (30, 0) == (usage.cache_write_tokens, usage.cache_write_1h_tokens)


def test_messages_of_one_reply_are_added_up() -> None:
    count = UsageCount()
    count.take(OPENED)
    count.begin_message()
    count.take(OPENED)
    assert (60, 50) == (count.total().cache_write_tokens, count.total().cache_write_1h_tokens)
