from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from adapters.llamacpp.tests.local_models import LOGGER, NoNetwork
from one_api.adapter import (
    AdapterContext,
    Clock,
    ModelNotFound,
    NoDeploymentAvailable,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.gguf_header import GGUFHeader
from one_api_llamacpp.shelf import FAILURE_S, Shelf, ShelfLimits

MIB = 1024 * 1024
SIZES_MB = {"a": 10, "b": 20, "c": 30, "d": 40}


class SetClock(Clock):
    """Time that passes when it is told to, for all who sleep."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    @override
    def now_s(self) -> float:
        return self.time_s

    @override
    def monotonic_s(self) -> float:
        return self.time_s

    @override
    async def sleep(self, delay_s: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time_s + delay_s, woken))
        await woken

    async def advance(self, by_s: float) -> None:
        self.time_s += by_s
        due = [one for one in self._sleepers if one[0] <= self.time_s]
        self._sleepers = [one for one in self._sleepers if one[0] > self.time_s]
        for _, woken in due:
            if not woken.cancelled():
                woken.set_result(None)
        await settled()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Loaded:
    """A model in memory."""

    def __init__(self, loader: Loader, model_id: str) -> None:
        self.id = model_id
        self._loader = loader
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def close(self) -> None:
        await self.may_close.wait()
        self._loader.present.remove(self)


class Loader:
    """Loads models `a` to `d` of 10, 20, 30 and 40 MiB when `may_load` is set."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.retired: list[str] = []
        self.present: list[Loaded] = []
        self.most_mb = 0
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.begun, self.retiring = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None
        self.version = 0

    def find(self, model_id: str) -> ModelFile:
        if model_id not in SIZES_MB:
            raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")
        return ModelFile(
            id=model_id,
            path=Path(f"/models/{model_id}.gguf"),
            header=GGUFHeader({}),
            created=self.version,
        )

    def measure(self, file: ModelFile) -> int:
        return SIZES_MB[file.id] * MIB

    async def load(self, file: ModelFile) -> Loaded:
        self.loads.append(file.id)
        self.begun.set()
        await self.may_load.wait()
        if self.error is not None:
            raise self.error
        model = Loaded(self, file.id)
        self.present.append(model)
        self.most_mb = max(self.most_mb, sum(SIZES_MB[each.id] for each in self.present))
        return model

    def retire(self, model: Loaded) -> None:
        self.retired.append(model.id)
        self.retiring.set()

    @property
    def ids(self) -> list[str]:
        return sorted(model.id for model in self.present)


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def new_shelf(loader: Loader, clock: Clock, memory_mb: int, **limits: Any) -> Shelf[Loaded]:
    return Shelf(
        find=loader.find,
        measure=loader.measure,
        load=loader.load,
        retire=loader.retire,
        limits=ShelfLimits(memory_bytes=memory_mb * MIB, **limits),
        context=AdapterContext(http=NoNetwork(), logger=LOGGER, clock=clock),
    )


ShelfFactory = Callable[..., Shelf[Loaded]]


@pytest.fixture
async def make_shelf(loader: Loader, clock: SetClock) -> AsyncGenerator[ShelfFactory, None]:
    """Makes shelves, closed after the test, which may leave no model and no task behind."""
    shelves: list[Shelf[Loaded]] = []

    def make(memory_mb: int = 1000, **limits: Any) -> Shelf[Loaded]:
        shelves.append(new_shelf(loader, clock, memory_mb, **limits))
        return shelves[-1]

    yield make
    for shelf in shelves:
        await shelf.close()
    assert [] == loader.present
    await settled()
    assert {asyncio.current_task()} == asyncio.all_tasks()


async def use(shelf: Shelf[Loaded], model_id: str) -> str:
    async with shelf.lease(model_id) as model:
        return model.id


class TestLoading:
    async def test_a_model_is_loaded_once_however_many_wait(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.may_load.clear()
        tasks = [asyncio.create_task(use(shelf, "a")) for _ in range(10)]
        await loader.begun.wait()
        loader.may_load.set()
        assert ["a"] * 10 == [await task for task in tasks]
        assert ["a"] == loader.loads
        assert (1, 0) == (shelf.loads, shelf.unloads)

    async def test_a_request_that_leaves_does_not_stop_the_load_for_the_others(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.may_load.clear()
        leaving, staying = (asyncio.create_task(use(shelf, "a")) for _ in range(2))
        await loader.begun.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        loader.may_load.set()
        assert "a" == await staying
        assert ["a"] == loader.loads

    async def test_an_unknown_model_is_not_found(self, make_shelf: ShelfFactory) -> None:
        with pytest.raises(ModelNotFound, match="'/etc/passwd'"):
            await use(make_shelf(), "/etc/passwd")

    async def test_a_load_is_told_in_the_log(
        self, make_shelf: ShelfFactory, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, LOGGER.name):
            await use(make_shelf(), "a")
        told = [record.message for record in caplog.records]
        assert [
            "Loading local model 'a': file 0 MiB, memory 10 MiB",
            "Loaded local model 'a' in 0.0 s",
        ] == told


class TestFailures:
    async def test_a_failed_load_is_remembered_for_a_while(
        self, loader: Loader, clock: SetClock, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.error = UpstreamError("broken")
        for _ in range(3):
            with pytest.raises(UpstreamError, match="broken"):
                await use(shelf, "a")
        assert ["a"] == loader.loads
        assert 0 == shelf.memory_bytes
        loader.error = None
        assert "b" == await use(shelf, "b")
        await clock.advance(FAILURE_S)
        assert "a" == await use(shelf, "a")

    async def test_a_changed_file_is_tried_at_once(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.error = UpstreamError("broken")
        with pytest.raises(UpstreamError):
            await use(shelf, "a")
        loader.error, loader.version = None, 1
        assert "a" == await use(shelf, "a")

    async def test_the_remembered_failure_says_when_to_try_again(
        self, loader: Loader, clock: SetClock, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.error = UpstreamError("broken")
        with pytest.raises(UpstreamError):
            await use(shelf, "a")
        await clock.advance(5)
        with pytest.raises(UpstreamError) as caught:
            await use(shelf, "a")
        assert FAILURE_S - 5 == caught.value.retry_after_s

    async def test_an_accident_is_not_remembered(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.error = RuntimeError("a mistake of ours")
        with pytest.raises(RuntimeError):
            await use(shelf, "a")
        loader.error = None
        assert "a" == await use(shelf, "a")


class TestRoom:
    async def test_the_models_unused_longest_make_room(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(65)
        for model_id in ("a", "b", "c", "a", "d"):
            await use(shelf, model_id)
        assert ["b", "c"] == loader.retired
        assert ["a", "d"] == loader.ids
        assert 50 * MIB == shelf.memory_bytes
        assert 2 == shelf.unloads

    async def test_what_is_in_use_stays_and_the_next_is_told_to_wait(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(40)
        await use(shelf, "a")
        async with shelf.lease("c"):
            with pytest.raises(UpstreamOverloaded) as caught:
                await use(shelf, "b")
            assert {"Retry-After": "5"} == caught.value.headers()
            assert ["a", "c"] == loader.ids  # nothing leaves in vain
        assert "b" == await use(shelf, "b")
        assert ["a", "c"] == loader.retired

    async def test_a_model_under_load_is_in_use(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(40)
        loader.may_load.clear()
        first = asyncio.create_task(use(shelf, "c"))
        await loader.begun.wait()
        with pytest.raises(UpstreamOverloaded):
            await use(shelf, "b")
        loader.may_load.set()
        assert "c" == await first

    async def test_a_pinned_model_never_leaves(
        self, loader: Loader, clock: SetClock, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(60, pinned=frozenset({"b"}), idle_unload_s=10)
        await use(shelf, "b")
        await use(shelf, "a")
        await use(shelf, "d")
        assert ["a"] == loader.retired
        with pytest.raises(UpstreamOverloaded):
            async with shelf.lease("d"):
                await use(shelf, "a")
        await clock.advance(1000)
        assert ["b"] == loader.ids

    async def test_what_can_never_fit_is_an_error_and_no_reason_to_unload(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(39)
        await use(shelf, "a")
        with pytest.raises(UpstreamError, match=r"takes 40 MiB.*39 MiB.*LOCAL_MEMORY_MB"):
            await use(shelf, "d")
        assert ["a"] == loader.ids

    async def test_a_load_waits_until_the_memory_is_free(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(45)
        await use(shelf, "d")
        (leaving,) = loader.present
        leaving.may_close.clear()
        coming = asyncio.create_task(use(shelf, "c"))
        await loader.retiring.wait()
        # Fits by the count, as does what waits already; the memory is not there yet.
        also = asyncio.create_task(use(shelf, "a"))
        await settled()
        assert ["d"] == loader.loads
        leaving.may_close.set()
        assert ["c", "a"] == [await coming, await also]
        assert 40 == loader.most_mb

    @given(
        steps=st.lists(
            st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), min_size=1, max_size=30
        ),
        memory_mb=st.integers(10, 100),
    )
    async def test_the_budget_holds_whatever_is_asked(
        self, steps: list[tuple[str, int]], memory_mb: int
    ) -> None:
        loader = Loader()
        shelf = new_shelf(loader, SetClock(), memory_mb)

        async def ask(model_id: str, turns: int) -> None:
            try:
                async with shelf.lease(model_id) as model:
                    assert model in loader.present
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    assert model in loader.present
            except UpstreamOverloaded:
                pass  # the others may leave no room
            except UpstreamError:
                assert SIZES_MB[model_id] > memory_mb

        await asyncio.gather(*(ask(*step) for step in steps))
        assert loader.most_mb <= memory_mb
        assert shelf.memory_bytes == sum(SIZES_MB[each] * MIB for each in loader.ids)
        await shelf.close()
        assert [] == loader.present


class TestIdling:
    async def test_a_model_nobody_asks_for_is_unloaded(
        self, loader: Loader, clock: SetClock, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(idle_unload_s=60)
        await use(shelf, "a")
        await settled()
        await clock.advance(40)
        await use(shelf, "a")
        await clock.advance(40)
        assert ["a"] == loader.ids
        await clock.advance(20)
        assert [] == loader.ids
        assert "a" == await use(shelf, "a")
        assert ["a", "a"] == loader.loads

    async def test_a_long_answer_is_use(
        self, loader: Loader, clock: SetClock, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf(idle_unload_s=60)
        async with shelf.lease("a"):
            for _ in range(5):
                await clock.advance(60)
            assert ["a"] == loader.ids
        await clock.advance(59)
        assert ["a"] == loader.ids
        for _ in range(2):
            await clock.advance(60)
        assert [] == loader.ids

    async def test_without_a_limit_it_stays(
        self, loader: Loader, clock: SetClock, make_shelf: ShelfFactory
    ) -> None:
        await use(make_shelf(), "a")
        await clock.advance(1e9)
        assert ["a"] == loader.ids


class TestClosing:
    async def test_a_closed_shelf_gives_nothing_more(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        assert "a" == await use(shelf, "a")
        await shelf.close()
        assert ([], ["a"]) == (loader.present, loader.retired)
        with pytest.raises(NoDeploymentAvailable):
            await use(shelf, "a")

    async def test_a_load_under_way_ends_and_who_waits_is_told(
        self, loader: Loader, make_shelf: ShelfFactory
    ) -> None:
        shelf = make_shelf()
        loader.may_load.clear()
        waiting = asyncio.create_task(use(shelf, "a"))
        await loader.begun.wait()
        await shelf.close()
        with pytest.raises(NoDeploymentAvailable):
            await waiting
        assert [] == loader.present
