"""Replies that were given before: to whom, in which form, and when not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.failover_scenes import (
    ALONE,
    PAIR,
    World,
    begun,
    chat,
    said,
    streamed,
    text_of,
    world,
)
from tests.scripted_upstream import (
    CHAT_PATH,
    MESSAGES_PATH,
    Gate,
    Hold,
    Reply,
    Reset,
    openai_completion,
    openai_error,
    openai_stream,
    sse_reply,
)
from tests.scripted_upstream import Answer as Said

OTHER_KEY = "another-callers-key"
KEYS = f"a-key-of-a-caller,{OTHER_KEY}"
MESSAGE = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello?"}]}


def cached(directory: Path, text: str = ALONE, **settings: Any) -> Any:
    return world(directory, text, **{"cache": "memory", "api_keys": KEYS, **settings})


def in_turn(gateway: World, *replies: Reply) -> None:
    for reply in replies:
        gateway["a"].script(reply, path=CHAT_PATH)


@pytest.mark.parametrize("first", [chat(), streamed()], ids=["whole", "streamed"])
@pytest.mark.parametrize("second", [chat(), streamed()], ids=["whole", "streamed"])
async def test_the_same_request_is_answered_once_in_any_form(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    async with cached(tmp_path) as gateway:
        stream = first.get("stream", False)
        in_turn(gateway, openai_stream(said("one")) if stream else openai_completion(said("one")))

        told = [await gateway.ask(first), await gateway.ask(second)]

        assert ["miss", "hit"] == [answer.headers["x-one-api-cache"] for answer in told]
        assert ["one", "one"] == [text_of(answer) for answer in told]
        assert ["a"] == gateway.asked
        assert "0" == told[1].headers["x-one-api-attempts"]
        assert "a/m" == told[1].headers["x-one-api-deployment"]


async def test_a_hit_is_told_in_the_format_of_whoever_asks(tmp_path: Path) -> None:
    async with cached(tmp_path) as gateway:
        in_turn(gateway, openai_completion(said("one")))

        first = await gateway.ask(MESSAGE, MESSAGES_PATH)
        second = await gateway.ask({**MESSAGE, "stream": True}, MESSAGES_PATH)

        assert ["miss", "hit"] == [one.headers["x-one-api-cache"] for one in (first, second)]
        assert "one" == first.json["content"][0]["text"]
        assert b'"text_delta","text":"one"' in second.body
        assert ["a"] == gateway.asked


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"temperature": 0.5}, {}),
        ({"messages": [{"role": "user", "content": "Hello!"}]}, {}),
        ({"unknown_to_us": 1}, {}),
        ({}, {"authorization": f"Bearer {OTHER_KEY}"}),
        ({}, {"cache_control": "no-cache"}),
        ({}, {"cache_control": "no-store"}),
    ],
    ids=["parameter", "message", "unknown-field", "other-key", "no-cache", "no-store"],
)
async def test_another_request_is_asked_anew(
    tmp_path: Path, changes: dict[str, Any], headers: dict[str, str]
) -> None:
    async with cached(tmp_path) as gateway:
        in_turn(gateway, openai_completion(said("one")), openai_completion(said("two")))

        await gateway.ask(chat())
        answer = await gateway.ask(chat(**changes), **headers)

        assert "two" == text_of(answer)


async def test_no_store_leaves_nothing_behind(tmp_path: Path) -> None:
    async with cached(tmp_path) as gateway:
        in_turn(gateway, openai_completion(said("one")), openai_completion(said("two")))

        secret = await gateway.ask(chat(), cache_control="no-store")
        after = await gateway.ask(chat())

        assert "x-one-api-cache" not in secret.headers
        assert ("two", "miss") == (text_of(after), after.headers["x-one-api-cache"])


CUT = sse_reply([*begun("o"), Reset()])
NO_USAGE = openai_completion(Said(words=("one",), usage=None))


@pytest.mark.parametrize(
    ("body", "bad"),
    [(chat(), openai_error(500)), (streamed(), CUT), (chat(), NO_USAGE)],
    ids=["error", "cut", "no-usage"],
)
async def test_only_complete_answers_are_kept(
    tmp_path: Path, body: dict[str, Any], bad: Reply
) -> None:
    async with cached(tmp_path, max_attempts=1) as gateway:
        in_turn(gateway, bad, openai_completion(said("two")))

        await gateway.ask(body)
        answer = await gateway.ask(chat())

        assert ("two", "miss") == (text_of(answer), answer.headers["x-one-api-cache"])


async def test_requests_at_the_same_time_share_one_answer(tmp_path: Path) -> None:
    async with cached(tmp_path, PAIR, cache_share_in_flight=True) as gateway:
        gate = Gate()
        gateway["a"].script((Hold(gate), *openai_completion(said("one"))), path=CHAT_PATH)

        asked = [asyncio.create_task(gateway.ask(chat())) for _ in range(20)]
        await gateway["a"].until_requests(1)
        gate.open()
        answers = await asyncio.gather(*asked)

        assert {"one"} == {text_of(answer) for answer in answers}
        assert ["a"] == gateway.asked
        told = sorted(answer.headers["x-one-api-cache"] for answer in answers)
        assert ["hit"] * 19 + ["miss"] == told


async def test_without_a_cache_nothing_is_said_of_it(tmp_path: Path) -> None:
    async with cached(tmp_path, cache="off") as gateway:
        in_turn(gateway, openai_completion(said("one")))
        assert "x-one-api-cache" not in (await gateway.ask(chat())).headers
