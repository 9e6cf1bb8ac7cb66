"""What a request may say of who answers it, and for how long: names, fallbacks, deadlines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.failover_scenes import (
    PAIR,
    RESPONSES_PATH,
    attempts,
    chat,
    ends_in_error,
    streamed,
    text_of,
    whole,
    world,
)
from tests.scripted_upstream import Hang, openai_error, openai_frames, sse_reply

#: Each provider has a model of its own.
APART = """
aliases:
  fast: small
  "gpt-4*": [large, other]
upstreams:
  - {name: a, adapter: openai, endpoint: "${A_URL}", models: [small, "wild-*"]}
  - {name: b, adapter: openai, endpoint: "${B_URL}", models: [large], model_map: {large: big-1}}
  - {name: c, adapter: openai, endpoint: "${C_URL}", models: [other]}
"""


@pytest.mark.parametrize(
    ("model", "asked", "called"),
    [
        ("small", "a", "small"),
        ("fast", "a", "small"),
        ("wild-goose", "a", "wild-goose"),
        ("large", "b", "big-1"),
        ("gpt-4o-mini", "b", "big-1"),
        ("b/anything", "b", "anything"),
        (None, "c", "other"),
    ],
    ids=["name", "alias", "pattern", "mapped", "alias pattern", "qualified", "default"],
)
async def test_names_lead_to_deployments(
    tmp_path: Path, model: str | None, asked: str, called: str
) -> None:
    async with world(tmp_path, APART, default_model="other") as scene:
        scene.script(a=whole(), b=whole(), c=whole())

        answer = await scene.ask({**chat(), "model": model})

        assert (200, f"{asked}/{called}") == (answer.status, attempts(answer)[0])
        assert [asked] == scene.asked
        assert called == scene.requests(asked)[0].json["model"]


async def test_targets_of_an_alias_follow_each_other(tmp_path: Path) -> None:
    async with world(tmp_path, APART) as scene:
        scene.script(b=openai_error(500), c=whole("from c"))

        answer = await scene.ask(chat(model="gpt-4o"))

        assert ("from c", "c/other", "2") == (text_of(answer), *attempts(answer))
        assert ["b", "c"] == scene.asked


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"models": ["small", "large", "other"]}, {}),
        ({"model": "small", "models": ["large", "other"]}, {}),
        ({"model": "small"}, {"x_one_api_fallbacks": "large, other"}),
        ({"model": "small", "models": ["large"]}, {"x_one_api_fallbacks": "other"}),
    ],
    ids=["models alone", "model and models", "header", "both"],
)
async def test_fallbacks_are_tried_in_order(
    tmp_path: Path, body: dict[str, Any], headers: dict[str, str]
) -> None:
    async with world(tmp_path, APART) as scene:
        scene.script(a=openai_error(500), b=openai_error(429), c=whole("from c"))
        request = {"messages": [{"role": "user", "content": "Hello?"}], **body}

        answer = await scene.ask(request, **headers)

        assert ("from c", "3") == (text_of(answer), attempts(answer)[1])
        assert ["a", "b", "c"] == scene.asked
        assert "big-1" == scene.requests("b")[0].json["model"]
        assert all("models" not in scene.requests(name)[0].json for name in "abc")


async def test_fallbacks_do_not_answer_for_the_callers_mistake(tmp_path: Path) -> None:
    async with world(tmp_path, APART) as scene:
        scene.script(a=openai_error(400))

        answer = await scene.ask(chat(model="small", models=["large"]))

        assert (400, ["a"]) == (answer.status, scene.asked)


@pytest.mark.parametrize("pin", ["b", "b/m"])
async def test_a_pinned_deployment_is_the_only_one_asked(tmp_path: Path, pin: str) -> None:
    async with world(tmp_path, PAIR) as scene:
        scene.script(b=openai_error(429, headers={"Retry-After": "30"}))

        answer = await scene.ask(chat(), x_one_api_deployment=pin)

        assert 429 == answer.status
        assert ["b"] == scene.asked


async def test_a_pin_that_does_not_serve_the_model_is_the_callers_mistake(tmp_path: Path) -> None:
    async with world(tmp_path, APART) as scene:
        answer = await scene.ask(chat(model="small"), x_one_api_deployment="b")

        assert (400, "x-one-api-deployment") == (answer.status, answer.error["param"])
        assert [] == scene.asked


async def test_a_strategy_may_be_asked_for(tmp_path: Path) -> None:
    async with world(tmp_path, PAIR) as scene:
        scene.script(a=whole(), b=whole())

        for _ in range(4):
            await scene.ask(chat(), x_one_api_strategy="round_robin")

        assert ["a", "b", "a", "b"] == scene.asked


async def test_routing_headers_are_for_those_who_may(tmp_path: Path) -> None:
    async with world(tmp_path, PAIR, routing_headers=False) as scene:
        answer = await scene.ask(chat(), x_one_api_deployment="b")

        assert (403, "x-one-api-deployment") == (answer.status, answer.error["param"])
        assert [] == scene.asked


class TestDeadlines:
    """F13."""

    @pytest.mark.parametrize("path", ["/v1/chat/completions", RESPONSES_PATH, "/v1/messages"])
    @pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
    async def test_a_request_ends_in_504_by_its_deadline(
        self, tmp_path: Path, path: str, is_stream: bool
    ) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=(Hang(),), b=whole())
            body = {**chat(stream=is_stream), "input": "Hello?", "max_tokens": 9}
            began_at = asyncio.get_running_loop().time()

            answer = await scene.ask(body, path, x_request_timeout="200ms")

            took_s = asyncio.get_running_loop().time() - began_at
            assert 504 == answer.status
            assert 0.2 <= took_s < 2
            await scene.requests("a")[0].until_closed()
            assert ["a"] == scene.asked

    async def test_no_attempt_begins_after_it(self, tmp_path: Path) -> None:
        """The first one fails when there is no time left for another."""
        text = PAIR.replace(
            '"${A_URL}", models: [m]', '"${A_URL}", models: [m], timeouts: {first_content: 0.27}'
        )
        async with world(tmp_path, text) as scene:
            scene.script(a=(Hang(),), b=whole())

            answer = await scene.ask(streamed(), x_request_timeout="300ms")

            assert 504 == answer.status
            assert ["a"] == scene.asked

    async def test_there_is_time_for_another(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=openai_error(500), b=whole())

            answer = await scene.ask(chat(), x_request_timeout="10s")

            assert ("b/m", "2") == attempts(answer)

    async def test_it_ends_a_stream_too(self, tmp_path: Path) -> None:
        async with world(tmp_path, PAIR) as scene:
            scene.script(a=sse_reply([*openai_frames()[:2], Hang()]))

            answer = await scene.ask(streamed(), x_request_timeout="300ms")

            assert ends_in_error(answer)
            assert "timeout" == answer.events[-1]["error"]["code"]
            assert ["a"] == scene.asked
