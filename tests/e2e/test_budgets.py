"""Money that a key may spend, and not a micro-dollar more, however many ask at once."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.e2e.account_scenes import (
    KEY_SECRET,
    PRICED,
    Bank,
    bank,
    calls,
    cost_of,
    counted,
    ended_rows,
    office,
    postgres_rows,
    provider,
    running_postgres,
    sqlite_rows,
    until_true,
)
from tests.e2e.exchanges import exchange
from tests.e2e.failover_scenes import RESPONSES_PATH, answer_of, chat, streamed, whole
from tests.scripted_upstream import (
    MESSAGES_PATH,
    Gate,
    Hang,
    Hold,
    TokenCount,
    openai_completion,
    openai_error,
)
from tests.storage.postgres import PostgresServer

COUNT = TokenCount(prompt=20, completion=6)
COST = cost_of(COUNT)
#: Covers one request of at most ten tokens, and not two: each takes 100 or somewhat more.
FOR_ONE = 190
ASKED = chat(max_tokens=10)
PARALLEL = 200
#: Within how many seconds anything that is waited for happens, also where the machine is busy.
PATIENCE_S = 60.0
UNPRICED = PRICED.replace(", price: {input: 2, output: 10}", "")


@pytest.fixture
async def branch(tmp_path: Path) -> AsyncIterator[Bank]:
    async with bank(tmp_path) as made:
        made["a"].script(
            openai_completion(counted(COUNT.prompt, COUNT.completion)), model="m", repeat_last=True
        )
        yield made


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def spent(branch: Bank) -> dict[str, tuple[int, int]]:
    """Of each period's kind: what was spent, and what is still reserved."""
    rows = await branch.table("budgets")
    return {
        row["period"].partition(":")[0]: (row["spent_microusd"], row["reserved_microusd"])
        for row in rows
    }


@pytest.mark.parametrize("period", ["day", "month", "total"])
async def test_a_spent_budget_is_told_so_that_nobody_asks_again(branch: Bank, period: str) -> None:
    key = await branch.make_key(**{f"budget_{period}_microusd": FOR_ONE})
    first, refused = [await branch.ask_as(key, ASKED) for _ in range(2)]
    rows = await branch.ended(2)
    assert (200, 429) == (first.status, refused.status)
    assert ("insufficient_quota",) * 2 == (refused.error["type"], refused.error["code"])
    assert "false" == refused.headers["x-should-retry"]
    assert "retry-after" not in refused.headers
    assert {period: (COST, 0)} == await spent(branch)
    assert [200, 429] == [row["status"] for row in rows]
    assert [COST, 0] == [row["cost_microusd"] for row in rows]
    assert 1 == branch.calls["a"]


async def test_the_tightest_of_several_budgets_decides(branch: Bank) -> None:
    key = await branch.make_key(
        budget_day_microusd=FOR_ONE, budget_month_microusd=10**9, budget_total_microusd=10**9
    )
    assert [200, 429] == [(await branch.ask_as(key, ASKED)).status for _ in range(2)]
    await branch.ended(2)
    assert {"day": (COST, 0), "month": (COST, 0), "total": (COST, 0)} == await spent(branch)


async def test_two_hundred_at_once_and_money_for_one(branch: Bank) -> None:
    gate = Gate()
    branch["a"].script((Hold(gate), *whole()), model="other", repeat_last=True)
    key = await branch.make_key(budget_total_microusd=FOR_ONE)
    body = {**ASKED, "model": "other"}
    lines = [branch.begin(body, authorization=f"Bearer {key}") for _ in range(PARALLEL)]
    await until_true(lambda: sum(line.task.done() for line in lines) == PARALLEL - 1, 30)
    gate.open()
    answers = [await answer_of(line) for line in lines]
    assert [200] + [429] * (PARALLEL - 1) == sorted(answer.status for answer in answers)
    assert 1 == branch.calls["a"]
    await branch.ended(PARALLEL)
    assert [0] == [reserved for _, reserved in (await spent(branch)).values()]


async def test_a_stream_is_reserved_for_as_long_as_it_runs(branch: Bank) -> None:
    key = await branch.make_key(budget_total_microusd=FOR_ONE)
    branch["a"].script((Hang(),), model="other")
    line = branch.begin({**streamed(max_tokens=10), "model": "other"},
                        authorization=f"Bearer {key}")  # fmt: skip
    await until_true(lambda: bool(branch.requests("a")))
    assert 429 == (await branch.ask_as(key, ASKED)).status
    line.leave()
    rows = await branch.ended(2)
    assert {"total": (sum(row["cost_microusd"] for row in rows), 0)} == await spent(branch)


async def test_what_fails_costs_nothing(branch: Bank) -> None:
    key = await branch.make_key(budget_total_microusd=FOR_ONE)
    branch["a"].script(openai_error(400), model="other", repeat_last=True)
    for _ in range(3):
        assert 400 == (await branch.ask_as(key, {**ASKED, "model": "other"})).status
        await until_settled(branch)
    assert {"total": (0, 0)} == await spent(branch)
    assert 200 == (await branch.ask_as(key, ASKED)).status


async def until_settled(branch: Bank) -> None:
    """Wait until no reservation stands any more."""
    read = functools.partial(sqlite_rows, branch.database, "budgets")
    await until_true(lambda: not any(row["reserved_microusd"] for row in read()))


async def test_no_money_lets_nothing_through(branch: Bank) -> None:
    key = await branch.make_key(budget_day_microusd=0)
    assert 429 == (await branch.ask_as(key, ASKED)).status
    assert branch.asked == []


async def test_what_has_no_price_is_not_for_keys_with_a_budget(tmp_path: Path) -> None:
    async with bank(tmp_path, UNPRICED) as branch:
        branch.script(a=whole())
        bound, free = await branch.make_key(budget_day_microusd=10**9), await branch.make_key()
        refused, answered = await branch.ask_as(bound, ASKED), await branch.ask_as(free, ASKED)
    assert (403, "model_not_priced") == (refused.status, refused.error["code"])
    assert 200 == answered.status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "m", "prompt": "Hello?", "max_tokens": 20}),
        (RESPONSES_PATH, {"model": "m", "input": "Hello?", "max_output_tokens": 20}),
        (MESSAGES_PATH, {**ASKED, "max_tokens": 20}),
        ("/v1/rerank", {"model": "m", "query": "Hello?", "max_tokens": 20}),
    ],
)
async def test_no_door_leads_around_the_budget(
    branch: Bank, path: str, body: dict[str, Any]
) -> None:
    key = await branch.make_key(budget_total_microusd=FOR_ONE)
    answer = await branch.ask_as(key, body, path)
    assert 429 == answer.status
    assert "insufficient_quota" in answer.body.decode() or path == MESSAGES_PATH
    assert "false" == answer.headers["x-should-retry"]
    assert branch.asked == []


# -- as operators run it


@pytest.mark.slow
def test_openais_sdk_does_not_ask_again(tmp_path: Path) -> None:
    with provider() as upstream:
        front = office(tmp_path, upstream)
        key = front.make_key("--budget-total-usd", "0.000001")
        with front.open() as gateway:
            with (
                openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=5) as client,
                pytest.raises(openai.RateLimitError) as caught,
            ):
                client.chat.completions.create(**ASKED)
            rows = ended_rows(front.rows, 1)
        assert "insufficient_quota" == caught.value.code
        assert [429] == [row["status"] for row in rows]
    assert 0 == calls(upstream)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
def test_four_processes_with_money_for_one_request(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    name = postgres.create_database()
    shared = {
        "DATABASE_URL": postgres.url(name),
        "DATA_DIR": str(tmp_path),
        "REDIS_URL": redis.url,
        "KEY_SECRET": KEY_SECRET,
    }
    gate = Gate()
    with provider() as upstream, ExitStack() as stack:
        upstream.script((Hold(gate), *whole()), repeat_last=True)
        front = office(tmp_path, upstream, **shared)
        key = front.make_key("--budget-total-usd", f"0.{FOR_ONE:06}", "--requests-per-minute",
                             "1000")  # fmt: skip
        with ThreadPoolExecutor(4) as starters:
            gateways = list(starters.map(lambda _: stack.enter_context(front.open()), range(4)))
        urls = [f"{gateway.base_url}/chat/completions" for gateway in gateways]
        barrier = threading.Barrier(PARALLEL)

        def ask(number: int) -> int:
            barrier.wait(PATIENCE_S)
            deadline = time.monotonic() + PATIENCE_S
            # On a busy machine 200 of them may wait longer for their turn than is given to a
            # database that is away: those are told so, and ask again.
            while (status := exchange(urls[number % 4], ASKED, key=key).status) == 503:
                assert time.monotonic() < deadline
                time.sleep(0.5)  # what it had promised is given back by then
            if status != 200:
                refused.release()
            return status

        refused = threading.Semaphore(0)
        with ThreadPoolExecutor(PARALLEL) as clients:
            asked = [clients.submit(ask, number) for number in range(PARALLEL)]
            for _ in range(PARALLEL - 1):
                assert refused.acquire(timeout=PATIENCE_S)
            gate.open()
            statuses = sorted(future.result() for future in asked)
        assert [200] + [429] * (PARALLEL - 1) == statuses
        assert 1 == calls(upstream)
        ended_rows(lambda: postgres_rows(postgres, name), PARALLEL, PATIENCE_S)
        (budget,) = postgres_rows(postgres, name, "budgets")
        assert 0 == budget["reserved_microusd"]
        assert 0 < budget["spent_microusd"] <= FOR_ONE
