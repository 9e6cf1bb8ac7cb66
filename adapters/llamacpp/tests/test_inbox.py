from __future__ import annotations

import asyncio

import pytest

from one_api_llamacpp.inbox import Inbox


async def test_what_arrived_meanwhile_is_received_together() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put([1])
    inbox.put([2, 3])
    assert [1, 2, 3] == await inbox.receive()


async def test_a_reader_waits_for_the_next_items() -> None:
    inbox: Inbox[int] = Inbox()
    receiving = asyncio.create_task(inbox.receive())
    await asyncio.sleep(0)
    inbox.put([])
    await asyncio.sleep(0)
    assert not receiving.done()
    inbox.put([1])
    assert [1] == await receiving


async def test_a_closed_inbox_gives_what_it_has_then_nothing() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put([1])
    inbox.close()
    assert [[1], [], []] == [await inbox.receive() for _ in range(3)]


async def test_an_error_comes_after_the_last_item_and_the_first_one_counts() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put([1])
    inbox.close(ValueError("first"))
    inbox.close(KeyError("second"))
    assert [1] == await inbox.receive()
    with pytest.raises(ValueError, match="first"):
        await inbox.receive()
