"""What each response tells of its own time, at every door."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.exchanges import Answer
from tests.e2e.failover_scenes import (
    ALONE,
    EMBEDDINGS_PATH,
    RESPONSES_PATH,
    World,
    chat,
    whole,
    world,
)
from tests.e2e.test_failover_doors import COMPLETION, COMPLETIONS_PATH, EMBEDDINGS, response_of
from tests.scripted_upstream import (
    CHAT_PATH,
    MESSAGES_PATH,
    Pause,
    Reply,
    anthropic_message,
    anthropic_stream,
    json_reply,
    openai_error,
    openai_stream,
    sse_frame,
    sse_reply,
)

TIMING = re.compile(r"gateway;dur=(\d+\.\d{3})(?:, upstream;dur=(\d+\.\d{3}))?")
#: How long a provider takes before it begins to answer, in seconds.
THOUGHT_S = 0.05
CLAUDE = ALONE.replace("adapter: openai", "adapter: claude")
COUNT_PATH = f"{MESSAGES_PATH}/count_tokens"


class Door(NamedTuple):
    """A request to a door, and what the provider answers, in whichever format it is asked."""

    path: str
    reply: Reply
    text: str = ALONE
    fields: dict[str, Any] = {}  # noqa: RUF012 - read only


PROMPT: dict[str, Any] = {"messages": None, "prompt": "Hello"}
RESPONSE: dict[str, Any] = {"messages": None, "input": "Hello?"}
STREAM = {"stream": True}
LIMIT = {"max_tokens": 9}
RESPONSE_EVENTS = [
    sse_frame({"type": "response.created", "response": response_of("a")}),
    sse_frame({"type": "response.output_text.delta", "delta": "Hi", "output_index": 0}),
    sse_frame({"type": "response.completed", "response": response_of("a")}),
]
COMPLETION_EVENTS = [sse_frame(COMPLETION), b"data: [DONE]\n\n"]

DOORS = {
    "chat": Door(CHAT_PATH, whole()),
    "chat, stream": Door(CHAT_PATH, openai_stream(), fields=STREAM),
    "chat, of another format": Door(CHAT_PATH, anthropic_stream(), CLAUDE),
    "chat, stream, of another format": Door(CHAT_PATH, anthropic_stream(), CLAUDE, STREAM),
    "chat, three replies in one": Door(CHAT_PATH, anthropic_stream(), CLAUDE, {"n": 3}),
    "completions": Door(COMPLETIONS_PATH, json_reply(200, COMPLETION), fields=PROMPT),
    "completions, stream": Door(
        COMPLETIONS_PATH, sse_reply(COMPLETION_EVENTS), fields=PROMPT | STREAM
    ),
    "completions, of a chat": Door(COMPLETIONS_PATH, anthropic_stream(), CLAUDE, PROMPT),
    "embeddings": Door(
        EMBEDDINGS_PATH, json_reply(200, EMBEDDINGS), fields={"messages": None, "input": "Hello"}
    ),
    "responses": Door(RESPONSES_PATH, json_reply(200, response_of("a")), fields=RESPONSE),
    "responses, stream": Door(RESPONSES_PATH, sse_reply(RESPONSE_EVENTS), fields=RESPONSE | STREAM),
    "responses, of a chat": Door(RESPONSES_PATH, anthropic_stream(), CLAUDE, RESPONSE),
    "responses, stream, of a chat": Door(
        RESPONSES_PATH, anthropic_stream(), CLAUDE, RESPONSE | STREAM
    ),
    "messages": Door(MESSAGES_PATH, anthropic_message(), CLAUDE, LIMIT),
    "messages, stream": Door(MESSAGES_PATH, anthropic_stream(), CLAUDE, LIMIT | STREAM),
    "messages, of a chat": Door(MESSAGES_PATH, whole(), fields=LIMIT),
    "messages, stream, of a chat": Door(MESSAGES_PATH, openai_stream(), fields=LIMIT | STREAM),
    "tokens counted": Door(COUNT_PATH, json_reply(200, {"input_tokens": 3}), CLAUDE),
    "passed on": Door("/v1/rerank", json_reply(200, {"results": []})),
}
#: Those that hear of a provider's refusal as their own status.
REFUSED = {name: door._replace(reply=openai_error(400, "no")) for name, door in DOORS.items()}


def told_ms(answer: Answer) -> tuple[float, float | None]:
    """The gateway's own milliseconds and those of its providers, None where it tells none."""
    match = TIMING.fullmatch(answer.headers["server-timing"])
    assert match is not None
    assert match[1] == answer.headers["x-one-api-overhead-ms"]
    return float(match[1]), None if match[2] is None else float(match[2])


async def timed(scene: World, door: Door) -> tuple[Answer, float]:
    """The answer, and how many milliseconds it took."""
    began_s = time.perf_counter()
    answer = await scene.ask(chat(**door.fields), door.path)
    return answer, 1000 * (time.perf_counter() - began_s)


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_what_the_provider_took_is_the_providers_alone(tmp_path: Path, door: Door) -> None:
    """Whatever the machine does meanwhile, no moment is told twice, and waiting is not our own."""
    async with world(tmp_path, door.text, server_timing=True, emulate_n=True) as scene:
        scene.script(a=(Pause(THOUGHT_S), *door.reply))
        answer, took_ms = await timed(scene, door)

    assert 200 == answer.status, answer.body
    own_ms, upstream_ms = told_ms(answer)
    assert upstream_ms is not None
    assert 1000 * THOUGHT_S <= upstream_ms
    assert own_ms + upstream_ms <= took_ms


@pytest.mark.parametrize("door", REFUSED.values(), ids=REFUSED)
async def test_a_refusal_of_the_providers_is_its_time_too(tmp_path: Path, door: Door) -> None:
    async with world(tmp_path, door.text, server_timing=True, emulate_n=True) as scene:
        scene.script(a=(Pause(THOUGHT_S), *door.reply))
        answer, took_ms = await timed(scene, door)

    assert 400 == answer.status, answer.body
    own_ms, upstream_ms = told_ms(answer)
    assert upstream_ms is not None
    assert 1000 * THOUGHT_S <= upstream_ms
    assert own_ms + upstream_ms <= took_ms


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_where_nobody_may_be_asked_all_is_the_gateways_own(
    tmp_path: Path, door: Door
) -> None:
    async with world(tmp_path, door.text, server_timing=True, emulate_n=True) as scene:
        answer = await scene.ask(chat(**door.fields), door.path, authorization="Bearer nobody")
        unknown = await scene.ask(chat(**door.fields | {"model": "none"}), door.path)

    for refused, status in ((answer, 401), (unknown, 404)):
        assert status == refused.status
        own_ms, upstream_ms = told_ms(refused)
        assert own_ms > 0
        assert upstream_ms is None


async def test_what_no_deployment_can_be_asked_is_the_gateways_own_too(tmp_path: Path) -> None:
    async with world(tmp_path, CLAUDE, server_timing=True) as scene:
        answer = await scene.ask(chat(n=3))

        assert 400 == answer.status
        assert [] == scene.asked
    assert told_ms(answer)[1] is None


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
async def test_nothing_is_told_where_nobody_asked_for_it(tmp_path: Path, door: Door) -> None:
    async with world(tmp_path, door.text, emulate_n=True) as scene:
        scene.script(a=door.reply)
        answer, _ = await timed(scene, door)

    assert 200 == answer.status
    assert not {"server-timing", "x-one-api-overhead-ms"} & answer.headers.keys()
