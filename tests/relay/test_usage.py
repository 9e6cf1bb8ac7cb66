"""Usage is always known, never trusted, and shown to those who asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from one_api.converter import usage_from_wire
from one_api.events import Usage
from tests.converter.digest import digest, facts
from tests.converter.replies import chunks_of, form
from tests.relay.streams import relayed, usage_of
from tests.scripted_upstream import HELLO, OpenAIDialect, TokenCount, openai_chunks, openai_frames


@pytest.mark.parametrize("on", ["last", "finish", "every"])
def test_p33_usage_is_known_but_hidden_unless_asked(on: Any) -> None:
    frames = openai_frames(openai_chunks(dialect=OpenAIDialect(usage_on=on)))

    out, relay = relayed(frames, form())

    assert usage_of(HELLO) == relay.usage
    assert all(not chunk.get("usage") and chunk["choices"] for chunk in chunks_of(out))


@pytest.mark.parametrize("on", ["last", "finish", "every"])
def test_p33_usage_comes_last_when_asked(on: Any) -> None:
    frames = openai_frames(openai_chunks(dialect=OpenAIDialect(usage_on=on)))

    *before, last = chunks_of(relayed(frames)[0])

    assert [] == last["choices"]
    assert 18 == last["usage"]["total_tokens"]
    assert all(not chunk.get("usage") for chunk in before)


def test_last_count_is_the_truth() -> None:
    chunks = openai_chunks(dialect=OpenAIDialect(usage_on="every"))
    for at, chunk in enumerate(chunks):
        chunk["usage"] = {"prompt_tokens": 5, "completion_tokens": at}

    _, relay = relayed(openai_frames(chunks))

    assert Usage(prompt_tokens=5, completion_tokens=len(chunks) - 1) == relay.usage


def test_no_usage_is_no_usage() -> None:
    out, relay = relayed(openai_frames(openai_chunks(replace(HELLO, usage=None))))

    assert None is relay.usage
    assert all(chunk["choices"] for chunk in chunks_of(out))


@pytest.mark.parametrize("count", [-5, 10**30, "7", None, 1.5, True, [], {}], ids=str)
@pytest.mark.parametrize("on", ["last", "finish"])
def test_count_that_is_none_is_zero(count: object, on: Any) -> None:
    chunks = openai_chunks(dialect=OpenAIDialect(usage_on=on))
    next(c for c in chunks if c.get("usage"))["usage"]["completion_tokens"] = count

    out, relay = relayed(openai_frames(chunks))

    assert Usage(prompt_tokens=11, completion_tokens=0) == relay.usage
    assert relay.usage == usage_from_wire(facts(digest(out))["usage"])


def test_token_count_of_the_script_is_the_one_the_client_sees() -> None:
    answer = replace(HELLO, usage=TokenCount(20, 9, cached=8, cache_write=4, reasoning=2))

    out, relay = relayed(openai_frames(openai_chunks(answer)))

    wanted = Usage(
        prompt_tokens=20,
        completion_tokens=9,
        cached_tokens=8,
        cache_write_tokens=4,
        reasoning_tokens=2,
    )
    assert wanted == relay.usage
    assert wanted == usage_from_wire(facts(digest(out))["usage"])
