"""How much a key may ask at a time, and what it is told of that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.e2e.account_scenes import Bank, bank, counted, until_true
from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import (
    CALLER_KEY,
    EMBEDDINGS_PATH,
    RESPONSES_PATH,
    answer_of,
    chat,
    streamed,
    whole,
)
from tests.scripted_upstream import (
    MESSAGES_PATH,
    Gate,
    Hang,
    Hold,
    openai_completion,
    openai_error,
    openai_stream,
)

MESSAGE = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 9}


@pytest.fixture
async def branch(tmp_path: Path) -> AsyncIterator[Bank]:
    async with bank(tmp_path) as made:
        # What the model `other` answers is each test's own.
        made["a"].script(whole(), model="m", repeat_last=True)
        yield made


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def standing(answer: Answer, kind: str) -> tuple[int, int]:
    """Of so many, so many are left."""
    told = answer.headers
    return int(told[f"x-ratelimit-limit-{kind}"]), int(told[f"x-ratelimit-remaining-{kind}"])


# -- requests per minute


async def test_requests_over_the_limit_are_told_when_to_come_back(branch: Bank) -> None:
    key = await branch.make_key(requests_per_minute=3)
    answers = [await branch.ask_as(key, chat()) for _ in range(5)]
    assert [200, 200, 200, 429, 429] == [answer.status for answer in answers]
    remaining = [(3, 2), (3, 1), (3, 0), (3, 0), (3, 0)]
    assert remaining == [standing(answer, "requests") for answer in answers]
    refused = answers[-1]
    assert ("requests", "rate_limit_exceeded") == (refused.error["type"], refused.error["code"])
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")
    assert "x-should-retry" not in refused.headers
    assert 3 == branch.calls["a"]


async def test_a_refused_request_leaves_no_trace_but_its_429(branch: Bank) -> None:
    key = await branch.make_key(requests_per_minute=1, tokens_per_minute=100_000)
    first = await branch.ask_as(key, chat())
    refused = [await branch.ask_as(key, streamed(), x_request_id=f"r{n}") for n in range(3)]
    (row,) = await branch.ended(1)
    assert [429] * 3 == [answer.status for answer in refused]
    assert 200 == row["status"]
    # What they asked for was not taken from the other limit either.
    left = {standing(answer, "tokens")[1] for answer in refused}
    assert 1 == len(left)
    assert left.pop() >= standing(first, "tokens")[1]


async def test_keys_do_not_share_their_limits(branch: Bank) -> None:
    one, other = [await branch.make_key(requests_per_minute=1) for _ in range(2)]
    assert [200, 429] == [(await branch.ask_as(one, chat())).status for _ in range(2)]
    assert [200, 429] == [(await branch.ask_as(other, chat())).status for _ in range(2)]
    assert 200 == (await branch.ask(chat())).status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "m", "prompt": "Hello?"}),
        (EMBEDDINGS_PATH, {"model": "m", "input": "Hello?"}),
        (RESPONSES_PATH, {"model": "m", "input": "Hello?"}),
        (MESSAGES_PATH, MESSAGE),
        ("/v1/rerank", {"model": "m", "query": "Hello?"}),
    ],
)
async def test_every_door_counts_on_the_same_limit(
    branch: Bank, path: str, body: dict[str, Any]
) -> None:
    key = await branch.make_key(requests_per_minute=1)
    assert 200 == (await branch.ask_as(key, chat())).status
    refused = await branch.ask_as(key, body, path)
    assert 429 == refused.status
    assert (1, 0) == standing(refused, "requests")
    assert 1 == branch.calls["a"]


async def test_what_asks_no_model_counts_too(branch: Bank) -> None:
    key = await branch.make_key(requests_per_minute=1)
    assert 200 == (await branch.get("/v1/models", key)).status
    assert 429 == (await branch.ask_as(key, chat())).status


async def test_many_at_once_are_admitted_up_to_the_limit(branch: Bank) -> None:
    key = await branch.make_key(requests_per_minute=10)
    answers = await asyncio.gather(*(branch.ask_as(key, chat()) for _ in range(50)))
    assert 10 == sum(answer.status == 200 for answer in answers)
    assert 10 == branch.calls["a"]


async def test_a_limit_of_the_settings_holds_for_keys_that_have_none(tmp_path: Path) -> None:
    async with bank(tmp_path, rate_limit_enabled=True, rate_limit_requests=2) as branch:
        branch.script(a=whole())
        plain, own = await branch.make_key(), await branch.make_key(requests_per_minute=4)
        for key, most in ((CALLER_KEY, 2), (plain, 2), (own, 4)):
            statuses = [(await branch.ask_as(key, chat())).status for _ in range(5)]
            assert [200] * most + [429] * (5 - most) == statuses


async def test_all_keys_together_have_a_limit_that_is_nobodys_to_see(tmp_path: Path) -> None:
    async with bank(tmp_path, global_rate_limit_requests=3) as branch:
        branch.script(a=whole())
        keys = [await branch.make_key(requests_per_minute=100) for _ in range(4)]
        answers = [await branch.ask_as(key, chat()) for key in keys]
    assert [200, 200, 200, 429] == [answer.status for answer in answers]
    assert "this gateway" in answers[-1].error["message"]
    assert {100} == {standing(answer, "requests")[0] for answer in answers}
    # Refused by the others' limit, the fourth took nothing of its own.
    assert 100 == standing(answers[-1], "requests")[1]


# -- tokens per minute


async def test_an_estimate_is_taken_and_settled_to_the_truth(branch: Bank) -> None:
    key = await branch.make_key(tokens_per_minute=1_000)
    gate = Gate()
    branch["a"].script((Hold(gate), *openai_completion(counted(60, 40))), model="other")
    body = {**chat(max_tokens=500), "model": "other"}
    running = branch.begin(body, authorization=f"Bearer {key}")
    await until_true(lambda: bool(branch.requests("a")))
    meanwhile = await branch.ask_as(key, chat(max_tokens=600))
    gate.open()
    first = await answer_of(running)
    assert (200, 429) == (first.status, meanwhile.status)
    assert ("tokens", "rate_limit_exceeded") == (meanwhile.error["type"], meanwhile.error["code"])
    assert standing(first, "tokens")[1] <= 500
    assert 1 <= int(meanwhile.headers["retry-after"]) <= 60
    after = await branch.ask_as(key, chat(max_tokens=1))
    # 100 of 1000 were used, and what this one asks for is some more.
    limit, left = standing(after, "tokens")
    assert limit == 1_000
    assert 850 <= left < 900


async def test_a_request_that_fails_gives_its_tokens_back(branch: Bank) -> None:
    key = await branch.make_key(tokens_per_minute=1_000)
    branch["a"].script(openai_error(400), model="other")
    failed = await branch.ask_as(key, {**chat(max_tokens=900), "model": "other"})
    again = await branch.ask_as(key, chat(max_tokens=900))
    assert (400, 200) == (failed.status, again.status)


async def test_more_than_the_limit_is_refused_for_good(branch: Bank) -> None:
    key = await branch.make_key(tokens_per_minute=1_000)
    answer = await branch.ask_as(key, chat(max_tokens=2_000))
    assert 429 == answer.status
    assert "make it smaller" in answer.error["message"]
    assert branch.asked == []


async def test_a_stream_settles_too(branch: Bank) -> None:
    key = await branch.make_key(tokens_per_minute=1_000)
    branch["a"].script(openai_stream(counted(300, 300)), model="other")
    await branch.ask_as(key, {**streamed(max_tokens=10), "model": "other"})
    await branch.ended(1)
    assert 429 == (await branch.ask_as(key, chat(max_tokens=500))).status
    assert 200 == (await branch.ask_as(key, chat(max_tokens=300))).status


# -- at the same time


async def test_so_many_run_at_once_and_no_more(branch: Bank) -> None:
    key = await branch.make_key(concurrent_requests=2)
    gate = Gate()
    branch["a"].script((Hold(gate), *whole()), model="other", repeat_last=True)
    body = {**chat(), "model": "other"}
    running = [branch.begin(body, authorization=f"Bearer {key}") for _ in range(2)]
    await until_true(lambda: len(branch.requests("a")) == 2)
    refused = await branch.ask_as(key, chat())
    gate.open()
    ended = [await answer_of(line) for line in running]
    assert (429, [200, 200]) == (refused.status, [answer.status for answer in ended])
    assert "at the same time" in refused.error["message"]
    assert refused.headers["retry-after"]
    assert 200 == (await branch.ask_as(key, chat())).status


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_who_leaves_makes_room(branch: Bank, is_stream: bool) -> None:
    key = await branch.make_key(concurrent_requests=1)
    branch["a"].script((Hang(),), model="other")
    body = {**chat(), "model": "other", "stream": is_stream}
    line = branch.begin(body, authorization=f"Bearer {key}")
    await until_true(lambda: bool(branch.requests("a")))
    assert 429 == (await branch.ask_as(key, chat())).status
    line.leave()
    await branch.ended(1)
    assert 200 == (await branch.ask_as(key, chat())).status


async def test_a_failure_makes_room(branch: Bank) -> None:
    key = await branch.make_key(concurrent_requests=1)
    branch["a"].script(openai_error(400), model="other", repeat_last=True)
    answers = [await branch.ask_as(key, {**chat(), "model": "other"}) for _ in range(3)]
    assert [400] * 3 == [answer.status for answer in answers]


# -- shared


@pytest.mark.redis
@pytest.mark.slow
async def test_gateways_that_share_a_redis_share_their_limits(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        gateways = []
        for name in ("one", "two", "three"):
            directory = tmp_path / name
            directory.mkdir()
            given: dict[str, Any] = {
                "redis_url": redis.url,
                # On a slow machine one may not be heard in time: it must not count for itself.
                "redis_failure": "fail_closed",
                "database_url": f"sqlite:///{tmp_path}/one_api.db",
                "data_dir": directory,
            }
            made = await stack.enter_async_context(bank(directory, **given))
            made.script(a=whole())
            gateways.append(made)
        key = await gateways[0].make_key(requests_per_minute=10)
        answers: list[Answer] = []
        for _ in range(12):
            answers += await asyncio.gather(*(one.ask_as(key, chat()) for one in gateways))
        statuses = Counter(answer.status for answer in answers)
        assert statuses[200] == sum(gateway.calls["a"] for gateway in gateways)
    assert {200, 429} <= statuses.keys() <= {200, 429, 503}
    assert 10 - statuses[503] <= statuses[200] <= 10
