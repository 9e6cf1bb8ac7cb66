"""Real worker processes over tiny models: answers, ends, and what the parent makes of them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from adapters.llamacpp.tests.local_models import LOGGER, make_request, text_of, usage_of
from adapters.llamacpp.tests.make_gguf import write_bert, write_scripted
from one_api.adapter import (
    Call,
    Clock,
    CompletionRequest,
    EmbeddingRequest,
    Event,
    Finish,
    InvalidRequest,
    NoDeploymentAvailable,
    Notice,
    Start,
    TextDelta,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamRateLimited,
)
from one_api_llamacpp.worker_client import FIRST_DELAY_S, HEALTHY_S, Worker
from one_api_llamacpp.worker_settings import WorkerSettings

pytestmark = pytest.mark.llamacpp

CALL = Call(model="test")
HELLO = "Hello there, the world is the world: Grüße, 世界 👋 and bye."


class SteppedClock(Clock):
    """Time passes when somebody sleeps, and what they sleep for is noted."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.slept_s: list[float] = []
        self.changed = asyncio.Condition()
        #: While it is clear, sleepers go on sleeping.
        self.lets_go = asyncio.Event()
        self.lets_go.set()

    @override
    def now_s(self) -> float:
        return self.time_s

    @override
    def monotonic_s(self) -> float:
        return self.time_s

    @override
    async def sleep(self, delay_s: float) -> None:
        async with self.changed:
            self.slept_s.append(delay_s)
            self.changed.notify_all()
        await self.lets_go.wait()
        self.time_s += delay_s


class Nursery:
    """Opens workers, and knows what they told the operator."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = SteppedClock()
        self.notices: list[Notice] = []
        self.noticed = asyncio.Event()
        self.workers: list[Worker] = []

    async def open(self, text: str = HELLO, *, endless: bool = False, **changes: Any) -> Worker:
        path = self.directory / "test.gguf"
        if not path.exists():
            write_scripted(path, text, endless=endless, context=8192 if endless else 512)
        settings = WorkerSettings(**{"path": path, "name": "test", "parallel": 4, **changes})
        worker = await Worker.open(settings, clock=self.clock, notify=self._take, logger=LOGGER)
        self.workers.append(worker)
        return worker

    def _take(self, notice: Notice) -> None:
        self.notices.append(notice)
        self.noticed.set()

    async def until_noticed(self, count: int) -> None:
        while len(self.notices) < count:
            self.noticed.clear()
            await self.noticed.wait()


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncGenerator[Nursery, None]:
    """Workers for the test, which may not take long nor leave a process behind."""
    nursery = Nursery(tmp_path)
    async with asyncio.timeout(60):
        yield nursery
        nursery.clock.lets_go.set()
        pids = [worker.pid for worker in nursery.workers]
        for worker in nursery.workers:
            await worker.close()
    assert [] == [pid for pid in pids if pid is not None and is_running(pid)]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def ask(worker: Worker, content: str = "hi", **fields: Any) -> list[Event]:
    request = make_request(content, **fields)
    return [event async for event in worker.generate(request, CALL)]


async def first_text(answering: AsyncGenerator[Event, None]) -> None:
    async for event in answering:
        if isinstance(event, TextDelta):
            return


def killed(worker: Worker) -> int:
    pid = worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_an_answer_crosses_the_pipe_unchanged(nursery: Nursery) -> None:
    worker = await nursery.open()
    events = await ask(worker)
    assert Start() == events[0]
    assert HELLO == text_of(events)
    assert usage_of(events).completion_tokens > 10


async def test_sixteen_answers_at_once_are_each_what_they_are_alone(nursery: Nursery) -> None:
    worker = await nursery.open(parallel=16)
    prompts = ["user number " + "x" * number for number in range(16)]
    alone = [await ask(worker, prompt, temperature=0) for prompt in prompts]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(worker, prompt, temperature=0)) for prompt in prompts]
    assert [text_of(events) for events in alone] == [text_of(task.result()) for task in tasks]


async def test_choices_are_numbered_and_count_their_prompt_once(nursery: Nursery) -> None:
    worker = await nursery.open()
    one, three = await ask(worker), await ask(worker, n=3)
    finishes = [event.choice for event in three if isinstance(event, Finish)]
    assert [0, 1, 2] == sorted(finishes)
    for choice in range(3):
        texts = [e.text for e in three if isinstance(e, TextDelta) and e.choice == choice]
        assert HELLO == "".join(texts)
    assert usage_of(one).prompt_tokens == usage_of(three).prompt_tokens
    assert 3 * usage_of(one).completion_tokens == usage_of(three).completion_tokens


async def test_raw_prompts_are_continued_each(nursery: Nursery) -> None:
    worker = await nursery.open("one two three four")
    request = CompletionRequest.from_wire({"prompt": ["a", "b"], "max_tokens": 2})
    events = [event async for event in worker.complete(request, CALL)]
    texts = ["", ""]
    for event in events:
        if isinstance(event, TextDelta):
            texts[event.choice] += event.text
    assert ["one two"] * 2 == texts


async def test_a_prompt_is_counted_as_it_is_charged(nursery: Nursery) -> None:
    worker = await nursery.open()
    charged = usage_of(await ask(worker, "count me")).prompt_tokens
    assert charged == await worker.count_tokens(make_request("count me"), CALL)


@pytest.mark.parametrize("kind", ["chat", "embedding"])
async def test_a_model_embeds_whether_it_chats_or_not(nursery: Nursery, kind: str) -> None:
    if kind == "embedding":
        write_bert(nursery.directory / "test.gguf", ["hello", "there"])
    worker = await nursery.open(kind=kind)
    given = [f"hello {'there ' * number}" for number in range(70)]
    request = EmbeddingRequest.from_wire({"model": "test", "input": given})
    one, other = await asyncio.gather(worker.embed(request, CALL), worker.embed(request, CALL))
    assert (70, one.prompt_tokens) == (len(one.vectors), other.prompt_tokens)
    for vector, twin in zip(one.vectors, other.vectors, strict=True):
        assert pytest.approx(vector, abs=2e-4) == twin
        assert pytest.approx(1) == math.hypot(*vector)
    if kind == "embedding":
        with pytest.raises(InvalidRequest, match="only makes embeddings"):
            await ask(worker)


async def test_the_callers_mistake_is_told_as_such(nursery: Nursery) -> None:
    worker = await nursery.open()
    with pytest.raises(InvalidRequest) as caught:
        await ask(worker, logit_bias={"99999": 1})
    assert ("logit_bias", 400) == (caught.value.param, caught.value.status)
    assert HELLO == text_of(await ask(worker))


async def test_a_client_that_leaves_frees_its_place(nursery: Nursery) -> None:
    worker = await nursery.open("on and on", endless=True, parallel=1, queue=0)
    async with aclosing(worker.generate(make_request(), CALL)) as answering:
        await first_text(answering)
        with pytest.raises(UpstreamRateLimited) as caught:
            await ask(worker)
        assert (429, True) == (caught.value.status, (caught.value.retry_after_s or 0) >= 1)
    await until(lambda: answers(worker))


async def answers(worker: Worker) -> bool:
    try:
        return text_of(await ask(worker, max_tokens=2)) == "on and"
    except UpstreamRateLimited:
        return False


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    while not await condition():  # noqa: ASYNC110 - what another process does sets no event here
        await asyncio.sleep(0.01)


async def test_a_killed_worker_breaks_off_its_answers_and_comes_back(nursery: Nursery) -> None:
    worker = await nursery.open("on and on", endless=True)
    nursery.clock.lets_go.clear()
    async with aclosing(worker.generate(make_request(), CALL)) as answering:
        await first_text(answering)
        first = killed(worker)
        with pytest.raises(UpstreamDisconnected) as broken:
            async for _ in answering:
                pass
    assert broken.value.status == 502
    await nursery.until_noticed(1)
    with pytest.raises(NoDeploymentAvailable) as refused:
        await ask(worker)
    assert (503, "1") == (refused.value.status, refused.value.headers()["Retry-After"])
    assert (False, 0) == (worker.is_alive, worker.memory_bytes)
    nursery.clock.lets_go.set()
    await nursery.until_noticed(2)
    assert text_of(await ask(worker, max_tokens=2)) == "on and"
    assert worker.pid not in (None, first)
    assert [("worker_crashed", "test", False), ("worker_crashed", "test", True)] == [
        (notice.kind, notice.subject, notice.is_recovery) for notice in nursery.notices
    ]
    assert "signal 9" in nursery.notices[0].message


async def test_a_worker_that_keeps_ending_is_left_longer_alone(nursery: Nursery) -> None:
    worker = await nursery.open()
    for crash in range(3):
        killed(worker)
        await nursery.until_noticed(2 * crash + 2)
    assert [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S] == nursery.clock.slept_s
    nursery.clock.time_s += HEALTHY_S
    killed(worker)
    await nursery.until_noticed(8)
    assert nursery.clock.slept_s[-1] == FIRST_DELAY_S


async def test_a_worker_whose_file_is_gone_is_tried_again_until_it_is_back(
    nursery: Nursery,
) -> None:
    worker = await nursery.open()
    path = nursery.directory / "test.gguf"
    path.rename(path.with_suffix(".away"))
    killed(worker)
    async with nursery.clock.changed:
        await nursery.clock.changed.wait_for(lambda: len(nursery.clock.slept_s) >= 3)
    path.with_suffix(".away").rename(path)
    await nursery.until_noticed(2)
    assert HELLO == text_of(await ask(worker))


async def test_counters_go_on_over_a_restart(nursery: Nursery) -> None:
    def counted() -> dict[str, float]:
        return {r.name: r.value for r in worker.readings() if r.kind == "counter"}

    async def has_told() -> bool:
        return counted()["local_completion_tokens_total"] >= expected

    worker = await nursery.open()
    expected = usage_of(await ask(worker)).completion_tokens
    await until(has_told)
    killed(worker)
    await nursery.until_noticed(2)
    assert counted()["local_completion_tokens_total"] >= expected
    assert counted()["local_worker_restarts_total"] == 1
    expected += usage_of(await ask(worker)).completion_tokens
    await until(has_told)


async def test_closing_ends_what_runs_and_the_process(nursery: Nursery) -> None:
    worker = await nursery.open("on and on", endless=True)
    pid = worker.pid
    assert pid is not None
    async with aclosing(worker.generate(make_request(), CALL)) as answering:
        await first_text(answering)
        await worker.close()
        assert not is_running(pid)
        with pytest.raises(NoDeploymentAvailable):
            async for _ in answering:
                pass
    with pytest.raises(NoDeploymentAvailable, match="unloaded"):
        await ask(worker)
    assert [] == nursery.notices


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def rename_a_tensor(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"output_norm", b"output_morn"))


def fill_with_noise(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[40:4000] = bytes(range(256)) * 15 + bytes(120)
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, rename_a_tensor, fill_with_noise, remove])
async def test_a_file_that_cannot_be_loaded_is_a_clear_error_and_no_process(
    nursery: Nursery, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = nursery.directory / "test.gguf"
    write_scripted(path, HELLO)
    damage(path)
    settings = WorkerSettings(path=path, name="test")
    with pytest.raises(UpstreamError, match="'test' cannot be loaded") as caught:
        await Worker.open(settings, clock=nursery.clock, notify=print, logger=LOGGER)
    assert str(nursery.directory) not in caught.value.message
    assert "cannot be loaded" in caplog.text or "ended its process" in caplog.text


async def test_a_template_that_is_none_is_told(nursery: Nursery) -> None:
    with pytest.raises(UpstreamError, match="template is wrong"):
        await nursery.open(chat_template="{% if %}")


async def test_llama_cpp_logs_to_the_parents_logger_only(
    nursery: Nursery, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER.name)
    await nursery.open()
    assert "llama.cpp: llama_model_loader: loaded meta data" in caplog.text
    assert "Loading local model 'test': 100 %" in caplog.text
    assert ("", "") == capfd.readouterr()
