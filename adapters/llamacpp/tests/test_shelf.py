"""The shelf as those see it who ask for models: loads, failures and its closing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from adapters.llamacpp.tests.local_models import LOGGER
from adapters.llamacpp.tests.shelf_models import (
    Loader,
    SetClock,
    ShelfFactory,
    closed_shelves,
    use,
)
from one_api.adapter import ModelNotFound, NoDeploymentAvailable, UpstreamError
from one_api_llamacpp.shelf import FAILURE_S


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def make_shelf(loader: Loader, clock: SetClock) -> AsyncGenerator[ShelfFactory, None]:
    """Makes shelves, closed after the test, which may leave no model and no task behind."""
    async with closed_shelves(loader, clock) as make:
        yield make


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
