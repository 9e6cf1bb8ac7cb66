"""Deadlines, which must be what `asyncio.timeout` is."""

from __future__ import annotations

import asyncio

import pytest

from one_api.deadline import Deadline


async def test_what_ends_in_time_is_left_alone() -> None:
    with Deadline(5):
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_what_takes_longer_is_ended() -> None:
    with pytest.raises(TimeoutError), Deadline(0.01):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()
    await asyncio.sleep(0)  # nothing of it comes later


async def test_errors_of_the_block_are_its_own() -> None:
    with pytest.raises(ValueError, match="mine"), Deadline(5):
        raise ValueError("mine")


async def test_an_error_that_hides_the_deadline_is_raised() -> None:
    async def hide() -> None:
        with Deadline(0.01):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("mine") from None

    with pytest.raises(ValueError, match="mine"):
        await hide()
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()


async def test_of_two_deadlines_the_first_that_passes_is_told() -> None:
    outcome = []

    async def wait_twice() -> None:
        with Deadline(0.02):
            try:
                with Deadline(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                outcome.append("inner")
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await wait_twice()
    assert ["inner"] == outcome


async def test_of_nested_deadlines_the_outer_one_ends_all() -> None:
    async def wait() -> None:
        with Deadline(0.01):
            with Deadline(5):
                await asyncio.Event().wait()
            raise AssertionError("it was ended before")

    with pytest.raises(TimeoutError):
        await wait()


async def test_whoever_cancels_the_task_is_not_taken_for_the_deadline() -> None:
    async def wait() -> None:
        with Deadline(5):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_that_is_cancelled_as_the_deadline_passes_is_cancelled() -> None:
    async def wait() -> None:
        with Deadline(0):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_kinds_nest() -> None:
    async def within_ours() -> None:
        with Deadline(0.01):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()

    async def within_theirs() -> None:
        async with asyncio.timeout(0.01):
            with Deadline(5):
                await asyncio.Event().wait()

    for wait in (within_ours, within_theirs):
        with pytest.raises(TimeoutError):
            await wait()
