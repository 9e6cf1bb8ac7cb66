"""What requests hold while they run, and what they leave: no more than is still needed."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.failover_scenes import (
    ALONE,
    World,
    answer_of,
    begun,
    chat,
    streamed,
    whole,
    world,
)
from tests.scripted_upstream import (
    DONE,
    HELLO,
    Gate,
    Hold,
    Reply,
    anthropic_events,
    anthropic_frames,
    openai_frames,
    sse_reply,
)

CLAUDE = ALONE.replace("adapter: openai", "adapter: claude").replace("/v1", "")


def large_values(size: int) -> list[str | bytes]:
    """The texts of that size that anything refers to, each once."""
    found: dict[int, str | bytes] = {}
    waiting = gc.get_objects()
    while waiting:
        for value in gc.get_referents(waiting.pop()):
            if isinstance(value, (str, bytes)) and len(value) >= size:
                found[id(value)] = value
            elif isinstance(value, (dict, tuple)) and not gc.is_tracked(value):
                waiting.append(value)  # The collector has no use for those of texts alone.
    return list(found.values())


#: More than the provider reads at once, and so has in a buffer.
SIZE = 400_000


def held_for(scene: World, others: list[str | bytes]) -> list[str]:
    """What the gateway has in memory of a large request, by the types of its texts."""
    known = {id(one) for one in (*others, scene.requests("a")[0].body)}
    return sorted(type(one).__name__ for one in large_values(SIZE) if id(one) not in known)


async def test_a_chat_holds_its_message_and_what_was_sent_of_it(tmp_path: Path) -> None:
    gate, others = Gate(), large_values(SIZE)
    async with world(tmp_path, ALONE) as scene:
        scene.script(a=(Hold(gate), *whole()))
        line = scene.begin(chat("?" * SIZE))
        await scene["a"].until_requests(1)

        held = held_for(scene, others)

        gate.open()
        await answer_of(line)
    # It may have to be sent again; of the client's JSON nothing is left.
    assert ["bytes", "str"] == held


async def test_a_stream_holds_its_message_alone(tmp_path: Path) -> None:
    """From which tokens are estimated, where no provider counts them."""
    gate, others = Gate(), large_values(SIZE)
    async with world(tmp_path, ALONE) as scene:
        scene.script(a=sse_reply([*begun("Hi"), Hold(gate), DONE]))
        line = scene.begin(streamed("?" * SIZE))
        await line.until(lambda: b"Hi" in line.body)

        held = held_for(scene, others)

        gate.open()
        await answer_of(line)
    assert ["str"] == held


@contextmanager
def uncollected() -> Iterator[Counter[str]]:
    """Counts the instances of our classes that only a collector would get rid of."""
    garbage: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    flags = gc.get_debug()
    try:
        yield garbage
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = [type(one) for one in gc.garbage]
        garbage.update(kind.__qualname__ for kind in kinds if kind.__module__.startswith("one_api"))
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize(
    ("file", "request_body", "reply"),
    [
        pytest.param(ALONE, chat(), whole(), id="a whole chat"),
        pytest.param(ALONE, streamed(), sse_reply(openai_frames()), id="a stream that is relayed"),
        pytest.param(
            CLAUDE,
            streamed(),
            sse_reply(anthropic_frames(anthropic_events(HELLO))),
            id="a stream that is converted",
        ),
    ],
)
async def test_what_has_ended_needs_no_collector(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    request_body: dict[str, Any],
    reply: Reply,
) -> None:
    """Else each request stays for thousands of others, which is what a process grows by."""
    # Looked at at once, as requests are that take as long as models do.
    monkeypatch.setattr("one_api.runtime.asgi._WATCH_AFTER_S", 0.0)
    async with world(tmp_path, file) as scene:
        scene.script(a=reply)
        await served(scene, request_body)  # with what is made once
        with uncollected() as garbage:
            for _ in range(3):
                await served(scene, request_body)
    assert {} == garbage


async def served(scene: World, body: dict[str, Any]) -> None:
    answer = await answer_of(scene.begin(body))
    assert 200 == answer.status
    await asyncio.sleep(0)  # what was cancelled ends in a turn of the loop
