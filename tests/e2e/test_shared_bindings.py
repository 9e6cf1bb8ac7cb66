"""Stored responses, asked for at another gateway than the one that they came through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.counters.redis_server import RedisServer, running_redis
from tests.e2e.failover_scenes import PAIR, RESPONSES_PATH, world
from tests.scripted_upstream import json_reply, openai_error, sse_frame, sse_reply

pytestmark = pytest.mark.redis
ASKED = {"model": "m", "input": "Hello?"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def response_of(name: str) -> dict[str, Any]:
    """A response that a provider has stored."""
    return {"id": f"resp_{name}", "object": "response", "status": "completed", "output": []}


def elsewhere(tmp_path: Path) -> Path:
    """A directory for another gateway's file."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
async def test_what_follows_a_response_goes_where_it_is_from_any_gateway(
    tmp_path: Path, redis: RedisServer, is_stream: bool
) -> None:
    id_ = f"shared_{is_stream}"
    made = json_reply(200, response_of(id_))
    if is_stream:
        names = ("response.created", "response.completed")
        events = [{"type": name, "response": response_of(id_)} for name in names]
        made = sse_reply(
            [sse_frame(event, name) for event, name in zip(events, names, strict=True)]
        )
    settings = {"redis_url": redis.url}
    async with world(tmp_path, PAIR, **settings) as scene:
        text = PAIR.replace("${A_URL}", scene["a"].url).replace("${B_URL}", scene["b"].url)
        async with world(elsewhere(tmp_path), text, **settings) as other:
            scene["a"].script(openai_error(500))
            scene["b"].script(made)
            await scene.ask({**ASKED, "stream": is_stream}, RESPONSES_PATH)
            scene.script(a=json_reply(200, response_of("a")), b=json_reply(200, response_of("b")))

            following = {**ASKED, "previous_response_id": f"resp_{id_}"}
            followed = await other.ask(following, RESPONSES_PATH)
            fetched = await other.ask(b"", f"{RESPONSES_PATH}/resp_{id_}", method="GET")
            unknown = await other.ask({**ASKED, "previous_response_id": "resp_0"}, RESPONSES_PATH)

            assert ["resp_b", "resp_b"] == [followed.json["id"], fetched.json["id"]]
            assert "resp_a" == unknown.json["id"]
            assert ["a", "b", "b", "b", "a"] == scene.asked


async def test_an_upstream_that_another_gateway_lacks_is_not_asked_for(
    tmp_path: Path, redis: RedisServer
) -> None:
    settings = {"redis_url": redis.url}
    async with world(tmp_path, PAIR, **settings) as scene:
        text = PAIR.replace("${A_URL}", scene["a"].url).replace("${B_URL}", scene["b"].url)
        renamed = text.replace("name: b,", "name: c,")
        async with world(elsewhere(tmp_path), renamed, **settings) as other:
            scene["a"].script(openai_error(500))
            scene["b"].script(json_reply(200, response_of("lacking")))
            await scene.ask(ASKED, RESPONSES_PATH)
            scene.script(a=json_reply(200, response_of("a")))

            following = {**ASKED, "previous_response_id": "resp_lacking"}
            answer = await other.ask(following, RESPONSES_PATH)

            assert "resp_a" == answer.json["id"]


async def test_without_redis_each_gateway_knows_what_it_has_seen(tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis:
        async with world(tmp_path, PAIR, redis_url=redis.url) as scene:
            redis.stop()
            scene["a"].script(openai_error(500))
            scene["b"].script(json_reply(200, response_of("kept")))
            await scene.ask(ASKED, RESPONSES_PATH)
            scene.script(a=json_reply(200, response_of("a")), b=json_reply(200, response_of("b")))

            following = {**ASKED, "previous_response_id": "resp_kept"}
            answer = await scene.ask(following, RESPONSES_PATH)

            assert "resp_b" == answer.json["id"]
