"""The shelf's memory: a budget that always holds, and models that leave it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.shelf_models import (
    MIB,
    SIZES_MB,
    Loader,
    SetClock,
    ShelfFactory,
    closed_shelves,
    new_shelf,
    settled,
    use,
)
from one_api.adapter import UpstreamError, UpstreamOverloaded


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
