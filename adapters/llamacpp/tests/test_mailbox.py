from __future__ import annotations

import asyncio
import threading

import pytest

from one_api_llamacpp.mailbox import Mailbox


async def receive_all(mailbox: Mailbox[int]) -> list[int]:
    received: list[int] = []
    async with asyncio.timeout(10):
        while items := await mailbox.receive():
            received += items
    return received


async def test_nothing_is_lost_or_reordered_between_threads() -> None:
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop())

    def fill() -> None:
        for at in range(0, 20_000, 2):
            mailbox.put([at, at + 1])
        mailbox.close()

    thread = threading.Thread(target=fill)
    thread.start()
    assert list(range(20_000)) == await receive_all(mailbox)
    thread.join()


async def test_items_put_before_anyone_reads_come_together() -> None:
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop())
    for item in range(1000):
        mailbox.put([item])
    assert list(range(1000)) == await mailbox.receive()


async def test_an_error_comes_after_the_last_item_and_stays() -> None:
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop())
    mailbox.put([1])
    mailbox.close(ValueError("broken"))
    assert await mailbox.receive() == [1]
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            await mailbox.receive()


async def test_no_items_do_not_wake_the_reader() -> None:
    mailbox: Mailbox[int] = Mailbox(asyncio.get_running_loop())
    reader = asyncio.create_task(mailbox.receive())
    mailbox.put([])
    await asyncio.sleep(0)
    assert not reader.done()
    mailbox.put([1])
    assert await reader == [1]


def test_a_writer_outlives_the_readers_loop() -> None:
    loop = asyncio.new_event_loop()
    mailbox: Mailbox[int] = Mailbox(loop)
    loop.close()
    mailbox.put([1])
    mailbox.close()
