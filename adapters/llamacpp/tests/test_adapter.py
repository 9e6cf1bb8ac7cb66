"""The adapter over real models: what is listed, loaded, answered, counted and told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest

from adapters.llamacpp.tests.local_models import LOGGER, NoNetwork, ask, make_request, text_of
from adapters.llamacpp.tests.make_gguf import write_bert
from one_api.adapter import (
    AdapterContext,
    Call,
    CompletionRequest,
    EmbeddingRequest,
    InvalidRequest,
    ModelNotFound,
    NoDeploymentAvailable,
    Notice,
    SupportsCompletions,
    SupportsEmbeddings,
    SupportsHealthProbe,
    SupportsReadings,
    SupportsTokenCounting,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.adapter import LlamaCppAdapter
from one_api_llamacpp.worker_client import Worker

pytestmark = pytest.mark.llamacpp

Start = Callable[..., LlamaCppAdapter]


class Operator:
    """Who is told of what happens."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self._told = asyncio.Event()

    def notify(self, notice: Notice) -> None:
        self.notices.append(notice)
        self._told.set()

    async def until_told(self, count: int) -> None:
        while len(self.notices) < count:
            self._told.clear()
            await self._told.wait()


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
async def start(models: Path, operator: Operator) -> AsyncGenerator[Start, None]:
    """Makes adapters over `models`, closed after the test."""
    made: list[LlamaCppAdapter] = []

    def make(**variables: str) -> LlamaCppAdapter:
        environment = {"LOCAL_MODELS_DIR": str(models), "LOCAL_THREADS": "1", **variables}
        context = AdapterContext(http=NoNetwork(), logger=LOGGER, notify=operator.notify)
        adapter = LlamaCppAdapter.build("llamacpp", environment, context)["llamacpp"]
        assert isinstance(adapter, LlamaCppAdapter)
        made.append(adapter)
        return adapter

    async with asyncio.timeout(60):
        yield make
        for adapter in made:
            await adapter.close()


def reading(adapter: LlamaCppAdapter, name: str) -> float:
    """The sum of the readings called `name`."""
    return sum(each.value for each in adapter.readings() if each.name == name)


def worker_of(adapter: LlamaCppAdapter, model_id: str) -> Worker:
    worker = adapter._shelf.loaded(model_id)
    assert worker is not None
    return worker


def test_it_can_all_that_is_optional(start: Start) -> None:
    adapter = start()
    for ability in (
        SupportsCompletions,
        SupportsEmbeddings,
        SupportsHealthProbe,
        SupportsReadings,
        SupportsTokenCounting,
    ):
        assert isinstance(adapter, ability)


async def test_a_newcomer_talks_to_the_demo_model(start: Start) -> None:
    adapter = start(LOCAL_MODELS_DIR="/nowhere")
    assert ["tiny-chat"] == [model.id for model in await adapter.list_models()]
    for asked, expected in (
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Say this is a test", "this is a test"),
        ("Count to 5", "1, 2, 3, 4, 5"),
    ):
        assert expected == text_of(await ask(adapter, "tiny-chat", asked, temperature=0))


async def test_models_are_answered_by_processes_of_their_own(
    start: Start, models: Path, write_model: Callable[..., Path]
) -> None:
    write_model("one", "I am the first")
    write_model("two", "I am the second")
    adapter = start()
    answers = await asyncio.gather(*(ask(adapter, name) for name in ("one", "two", "one")))
    assert ["I am the first", "I am the second", "I am the first"] == list(map(text_of, answers))
    pids = {worker_of(adapter, name).pid for name in ("one", "two")}
    assert 2 == len(pids - {os.getpid(), None})
    assert 2 == reading(adapter, "local_models")


async def test_a_model_makes_room_for_another_and_its_counts_go_on(
    start: Start, write_model: Callable[..., Path]
) -> None:
    write_model("one", "I am the first")
    write_model("two", "I am the second")
    adapter = start(LOCAL_MEMORY_MB="150")
    await ask(adapter, "one")
    await ask(adapter, "two")
    await ask(adapter, "one")
    assert (1, 3, 2) == tuple(
        reading(adapter, f"local_{name}")
        for name in ("models", "model_loads_total", "model_unloads_total")
    )
    told = [each.labels.get("model") for each in adapter.readings()]
    assert {None, "one", "two"} == set(told)
    assert 0 < reading(adapter, "local_memory_reserved_bytes") <= 150 * 1024 * 1024


async def test_what_never_fits_and_what_has_to_wait_are_told_apart(
    start: Start, write_model: Callable[..., Path]
) -> None:
    write_model("one")
    with pytest.raises(UpstreamError, match="LOCAL_MEMORY_MB"):
        await ask(start(LOCAL_MEMORY_MB="50"), "one")
    write_model("two")
    adapter = start(LOCAL_MEMORY_MB="150", LOCAL_PINNED="two")
    await ask(adapter, "two")
    with pytest.raises(UpstreamOverloaded):
        await ask(adapter, "one")


async def test_pinned_models_are_loaded_at_the_start(
    start: Start, write_model: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    write_model("one")
    adapter = start(LOCAL_PINNED="missing,one")
    await adapter.start()
    assert adapter._pinning is not None
    await adapter._pinning
    assert worker_of(adapter, "one").is_alive
    assert "'missing' of LOCAL_PINNED is not loaded" in caplog.text


async def test_prompts_are_counted_and_texts_continued(
    start: Start, write_model: Callable[..., Path]
) -> None:
    write_model("one", "I am the first")
    adapter = start()
    call = Call(model="one")
    short, long = [
        await adapter.count_tokens(make_request(text), call) for text in ("hi", "hi " * 20)
    ]
    assert short is not None
    assert long is not None
    assert 0 < short < long
    request = CompletionRequest.from_wire({"prompt": "hi", "max_tokens": 50})
    assert "I am the first" == text_of([event async for event in adapter.complete(request, call)])


async def test_a_model_for_vectors_only_embeds(start: Start, models: Path) -> None:
    write_bert(models / "embedder.gguf", ["red", "green"])
    adapter = start()
    request = EmbeddingRequest.from_wire({"input": ["red", "green"], "model": "embedder"})
    made = await adapter.embed(request, Call(model="embedder"))
    assert 2 == len(made.vectors)
    assert 1 == pytest.approx(sum(number * number for number in made.vectors[0]))
    with pytest.raises(InvalidRequest, match="only makes embeddings"):
        await ask(adapter, "embedder")


class TestProbe:
    async def test_a_model_is_well_without_being_loaded(
        self, start: Start, write_model: Callable[..., Path]
    ) -> None:
        write_model("one")
        adapter = start()
        await adapter.probe("one", 1.0)
        assert 0 == reading(adapter, "local_models")
        with pytest.raises(ModelNotFound):
            await adapter.probe("two", 1.0)

    async def test_a_damaged_file_is_not(
        self, start: Start, write_model: Callable[..., Path]
    ) -> None:
        path = write_model("one")
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(UpstreamError, match="cut off"):
            await start().probe("one", 1.0)

    async def test_nor_is_one_whose_process_is_gone_until_it_is_back(
        self, start: Start, operator: Operator, write_model: Callable[..., Path]
    ) -> None:
        write_model("one", "I am the first")
        adapter = start()
        await ask(adapter, "one")
        pid = worker_of(adapter, "one").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await operator.until_told(1)
        with pytest.raises(NoDeploymentAvailable):
            await adapter.probe("one", 1.0)
        await operator.until_told(2)
        await adapter.probe("one", 1.0)
        assert "I am the first" == text_of(await ask(adapter, "one"))
        told = [(notice.kind, notice.subject, notice.is_recovery) for notice in operator.notices]
        assert [("worker_crashed", "one", False), ("worker_crashed", "one", True)] == told
