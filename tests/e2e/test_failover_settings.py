"""The numbers of breakers and of the retry budget, by who was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import PAIR, World, chat, until, whole, world, written
from tests.scripted_upstream import openai_error

ADMIN = "an-admin-key-0001"
A_MODELS = '"${A_URL}", models: [m]'


def with_breaker(terms: str) -> str:
    """A pair whose first one has a breaker of these terms."""
    return PAIR.replace(A_MODELS, f"{A_MODELS}, breaker: {{{terms}}}")


def with_group(terms: str) -> str:
    """A pair whose group says these terms."""
    return f"groups: {{default: {{breaker: {{{terms}}}}}}}{PAIR}"


async def administer(scene: World, path: str, method: str = "GET") -> Answer:
    return await scene.ask(b"", path, method=method, authorization=f"Bearer {ADMIN}")


@pytest.mark.parametrize(
    ("text", "settings", "failures"),
    [
        (PAIR, {}, 5),
        (PAIR, {"breaker_failures": 2}, 2),
        (with_group("failures: 3"), {"breaker_failures": 2}, 3),
        (with_breaker("failures: 1"), {"breaker_failures": 2}, 1),
        (with_breaker("failures: 99, min_requests: 4, ratio: 1"), {}, 4),
        (PAIR, {"breaker_failures": 99, "breaker_min_requests": 3}, 3),
    ],
    ids=["default", "setting", "group", "entry", "ratio of an entry", "setting of requests"],
)
async def test_what_is_down_is_left_alone_after_so_many_failures(
    tmp_path: Path, text: str, settings: dict[str, Any], failures: int
) -> None:
    async with world(tmp_path, text, **settings) as scene:
        scene.script(a=openai_error(500), b=whole())

        for _ in range(failures + 3):
            assert 200 == (await scene.ask(chat())).status

        assert {"a": failures, "b": failures + 3} == scene.calls


@pytest.mark.parametrize(("ratio", "calls"), [("0.25", 4), ("0.75", 8)])
async def test_what_fails_now_and_then_is_left_alone_by_its_share(
    tmp_path: Path, ratio: str, calls: int
) -> None:
    async with world(tmp_path, with_breaker(f"ratio: {ratio}, min_requests: 4")) as scene:
        scene["a"].script(*[whole(), openai_error(500)] * 4)
        scene.script(b=whole())

        for _ in range(8):
            await scene.ask(chat())

        assert calls == scene.calls["a"]


async def test_it_is_asked_again_after_a_cooldown_of_its_own(tmp_path: Path) -> None:
    async with world(tmp_path, with_breaker("failures: 1, cooldown: 0.05, growth: 1")) as scene:
        scene["a"].script(openai_error(500), openai_error(500), openai_error(500), whole())
        scene["a"].script(whole(), repeat_last=True)
        scene.script(b=whole())
        fine: list[str] = []

        async def ask() -> None:
            fine.append((await scene.ask(chat())).headers["x-one-api-deployment"])

        await until(lambda: fine[-1:] == ["a/m"], ask)

        assert 4 == scene.calls["a"]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, ["a", "b"]),
        ({"retry_min": 0}, ["a"]),
        ({"retry_min": 0, "retry_ratio": 1.0}, ["a", "b"]),
        ({"retry_min": 1, "retry_ratio": 0.0}, ["a", "b"]),
    ],
    ids=["default", "none", "all", "one"],
)
async def test_there_are_as_many_retries_as_the_settings_say(
    tmp_path: Path, settings: dict[str, Any], asked: list[str]
) -> None:
    async with world(tmp_path, PAIR, **settings) as scene:
        scene.script(a=openai_error(500), b=whole())

        answer = await scene.ask(chat())

        assert (200 if "b" in asked else 500) == answer.status
        assert asked == scene.asked


async def test_the_operator_sees_the_numbers_in_force(tmp_path: Path) -> None:
    settings = {"admin_key": ADMIN, "breaker_window_s": 9, "retry_ratio": 0.25, "retry_min": 7}
    async with world(tmp_path, with_breaker("failures: 2, cooldown: 4"), **settings) as scene:
        told = (await administer(scene, "/admin/deployments")).json

        usual = {
            "failures": 5,
            "ratio": 0.5,
            "min_requests": 20,
            "window_s": 9.0,
            "cooldown_s": 30.0,
            "growth": 2.0,
            "max_cooldown_s": 300.0,
        }
        assert {"a/m": {**usual, "failures": 2, "cooldown_s": 4.0}, "b/m": usual} == {
            row["name"]: row["breaker_rule"] for row in told["data"] if row["model"] == "m"
        }
        budget = {"ratio": 0.25, "min_retries": 7, "requests": 0, "retries": 0, "limit": 7}
        assert budget == told["retry_budget"]


async def test_a_reload_puts_other_numbers_in_force(tmp_path: Path) -> None:
    async with world(tmp_path, with_breaker("failures: 1"), admin_key=ADMIN) as scene:
        scene.script(a=openai_error(500), b=whole())
        await scene.ask(chat())
        await scene.ask(chat())
        assert 1 == scene.calls["a"]
        urls = {name: scene[name].url for name in "ab"}
        written(tmp_path, with_breaker("failures: 3"), urls)

        changes = (await administer(scene, "/admin/reload", "POST")).json["changes"]
        for _ in range(5):
            await scene.ask(chat())

        assert ["upstream a: changed breaker"] == changes
        assert 1 + 3 == scene.calls["a"]
