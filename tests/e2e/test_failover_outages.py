"""Outages, by the providers' own record: what clients see of them, and what calls they cost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import (
    ALONE,
    CALLER_KEY,
    PAIR,
    World,
    chat,
    until,
    whole,
    world,
)
from tests.scripted_upstream import Pause, Reply, openai_error

#: How many clients ask at the same time, and how often they ask together.
CLIENTS, BURST = 20, 3_000
MOST_AMPLIFICATION = 1.10


async def burst(scene: World, clients: int, goes_on: Callable[[], bool]) -> list[Answer]:
    """The answers to as many clients as ask one request after the other."""
    answers: list[Answer] = []

    async def client() -> None:
        while goes_on():
            answers.append(await scene.ask(chat()))

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


def slowly(reply: Reply) -> Reply:
    """A reply that takes a moment, so that requests overlap."""
    return (Pause(0.02), *reply)


@pytest.mark.slow
async def test_half_of_the_first_ones_replies_fail_and_nobody_notices(tmp_path: Path) -> None:
    """F21: at least 99 % succeed, and the providers get at most a tenth more calls than that."""
    async with world(tmp_path, PAIR) as scene:
        flaky = itertools.cycle([slowly(openai_error(503)), slowly(whole())])
        # More than it will be asked for.
        scene["a"].script(*itertools.islice(flaky, 20_000))
        scene.script(b=slowly(whole()))
        # As many as come in half a minute: those of the first moment may not be asked twice, until
        # the retry budget has seen how much goes well.
        left = iter(range(BURST))

        answers = await burst(scene, CLIENTS, lambda: next(left, None) is not None)

        succeeded = sum(answer.status == 200 for answer in answers)
        calls = scene.calls
        assert len(answers) == BURST
        assert succeeded >= 0.99 * len(answers), f"{succeeded} of {len(answers)}, {calls}"
        assert calls.total() <= MOST_AMPLIFICATION * len(answers), f"{len(answers)}, {calls}"


@pytest.mark.slow
async def test_an_outage_of_all_there_is_is_not_amplified_and_ends_with_it(tmp_path: Path) -> None:
    """F21: 300 requests, hardly more calls, and the first success opens the way again."""
    async with world(tmp_path, ALONE) as scene:
        scene["a"].script(*[slowly(openai_error(500))] * 340)
        left = iter(range(300))

        answers = await burst(scene, CLIENTS, lambda: next(left, None) is not None)

        assert [500] * 300 == [answer.status for answer in answers]
        assert scene.calls["a"] <= MOST_AMPLIFICATION * 300

        # What is left of the outage, and then the provider is back.
        scene.script(a=whole())
        fine: list[Answer] = []

        async def ask() -> None:
            answer = await scene.ask(chat())
            fine.append(answer)

        await until(lambda: bool(fine) and fine[-1].status == 200, ask, timeout_s=10)
        assert [200] * 5 == [(await scene.ask(chat())).status for _ in range(5)]


async def test_a_pair_that_is_down_costs_each_request_little(tmp_path: Path) -> None:
    """Both fail at once: breakers end the retries, and the last one is never left alone."""
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=openai_error(500), b=openai_error(500))

        for _ in range(40):
            assert 500 == (await scene.ask(chat())).status

        # Five for each breaker, then one for each request.
        assert scene.calls.total() <= 40 + 10
        assert CALLER_KEY not in "".join(
            str(request.headers) for name in "ab" for request in scene.requests(name)
        )
