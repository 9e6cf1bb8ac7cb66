"""Providers that are all down, and one that is slow: what clients are told, and who is asked.

Figures F31 and F32, by counts and never by a clock: what must not wait is answered while the
providers that would have to answer first are still holding their replies back.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.e2e.failover_scenes import (
    ALONE,
    PAIR,
    World,
    answer_of,
    chat,
    said,
    until,
    whole,
    world,
)
from tests.scripted_upstream import Gate, Hold, openai_completion, openai_error, refusing_url

A_MODELS = '"${A_URL}", models: [m]'


async def nothing() -> None:
    """What there is to do while something is waited for."""


async def until_asked(scene: World, name: str, times: int) -> None:
    """Wait until a provider has got so many requests."""

    await until(lambda: scene.calls[name] >= times, nothing)


class TestAllDown:
    """F31."""

    async def test_nobody_is_asked_while_all_of_them_asked_to_wait(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            down = openai_error(503, headers={"Retry-After": "40"})
            scene.script(a=down, b=down)
            await scene.ask(chat())

            answers = [await scene.ask(chat()) for _ in range(20)]

            assert {(503, "no_deployment_available")} == {
                (answer.status, answer.json["error"]["code"]) for answer in answers
            }
            assert all(1 <= int(answer.headers["retry-after"]) <= 40 for answer in answers)
            assert {"a": 1, "b": 1} == scene.calls

    async def test_what_was_killed_is_told_as_that(self, tmp_path: Path) -> None:
        """With open breakers too: the last one is always asked."""
        with refusing_url() as nobody:
            text = PAIR.replace("${A_URL}", nobody).replace("${B_URL}", nobody)
            async with world(tmp_path, text, breaker_failures=1) as scene:
                first = await scene.ask(chat())
                assert 502 == first.status

                answers = [await scene.ask(chat()) for _ in range(20)]

                assert {(502, "upstream_unreachable")} == {
                    (answer.status, answer.json["error"]["code"]) for answer in answers
                }

    async def test_one_request_at_a_time_finds_out(self, tmp_path: Path) -> None:
        """All others are answered while it is on its way."""
        gate = Gate()
        text = PAIR.replace(
            A_MODELS, f"{A_MODELS}, breaker: {{failures: 1, cooldown: 0.02, growth: 1}}"
        )
        async with world(tmp_path, text) as scene:
            scene["a"].script(openai_error(500), (Hold(gate), *whole("from a")))
            scene["a"].script(whole("from a"), repeat_last=True)
            scene.script(b=whole("from b"))
            await scene.ask(chat())
            probe: list[asyncio.Task[object]] = []

            async def ask() -> None:
                probe.append(asyncio.create_task(scene.ask(chat())))
                await asyncio.sleep(0.01)

            await until(lambda: scene.calls["a"] == 2, ask)
            answers = await asyncio.gather(*(scene.ask(chat()) for _ in range(20)))

            assert {"b/m"} == {answer.headers["x-one-api-deployment"] for answer in answers}
            assert 2 == scene.calls["a"]

            gate.open()
            await asyncio.gather(*probe)
            assert "a/m" == (await scene.ask(chat())).headers["x-one-api-deployment"]


class TestSlowSuccess:
    """F32."""

    @pytest.mark.parametrize("cap", [1, 3])
    async def test_no_more_wait_for_it_than_its_limit_and_others_are_answered(
        self, tmp_path: Path, cap: int
    ) -> None:
        gate = Gate()
        text = PAIR.replace(A_MODELS, f"{A_MODELS}, limits: {{concurrent_requests: {cap}}}")
        async with world(tmp_path, text) as scene:
            scene.script(a=(Hold(gate), *whole("from a")), b=whole("from b"))
            waiting = [scene.begin(chat()) for _ in range(cap)]
            await until_asked(scene, "a", cap)

            answers = await asyncio.gather(*(scene.ask(chat()) for _ in range(20)))

            assert {"b/m"} == {answer.headers["x-one-api-deployment"] for answer in answers}
            assert {"a": cap, "b": 20} == scene.calls
            gate.open()
            slow = [(await answer_of(line)).headers["x-one-api-deployment"] for line in waiting]
            assert ["a/m"] * cap == slow

    async def test_alone_at_its_limit_it_is_told_at_once(self, tmp_path: Path) -> None:
        gate = Gate()
        text = ALONE.replace(A_MODELS, f"{A_MODELS}, limits: {{concurrent_requests: 1}}")
        async with world(tmp_path, text) as scene:
            scene.script(a=(Hold(gate), *openai_completion(said("from a"))))
            waiting = scene.begin(chat())
            await until_asked(scene, "a", 1)

            answer = await scene.ask(chat())

            assert (503, "no_deployment_available") == (
                answer.status,
                answer.json["error"]["code"],
            )
            gate.open()
            assert 200 == (await answer_of(waiting)).status
            assert {"a": 1} == scene.calls

    @pytest.mark.parametrize("strategy", ["least_busy", "lowest_latency"])
    async def test_requests_go_round_the_one_that_keeps_others_waiting(
        self, tmp_path: Path, strategy: str
    ) -> None:
        gate = Gate()
        text = f"groups: {{default: {{strategy: {strategy}}}}}{PAIR}"
        async with world(tmp_path, text) as scene:
            scene.script(a=(Hold(gate), *whole("from a")), b=whole("from b"))
            waiting: list[asyncio.Task[object]] = []

            async def ask() -> None:
                waiting.append(asyncio.create_task(scene.ask(chat())))

            await until(lambda: scene.calls["a"] == 1, ask)
            await until(lambda: sum(task.done() for task in waiting) >= len(waiting) - 1, nothing)

            for _ in range(20):
                assert "b/m" == (await scene.ask(chat())).headers["x-one-api-deployment"]

            assert 1 == scene.calls["a"]
            gate.open()
            await asyncio.gather(*waiting)
