"""Addresses: asked for once, by nobody's leave but the clock's."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading

import pytest

from one_api.upstream import names
from one_api.upstream.names import Names

Found = list[tuple[int, int, int, str, tuple[str, int]]]


def found(*hosts: str) -> Found:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in hosts]


class Book:
    """A look-up that counts how often it was asked, and waits until it may answer."""

    def __init__(self, *answers: Found | OSError) -> None:
        self.asked: list[tuple[str, int]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._answers = list(answers)

    def __call__(self, host: str, port: int, *rest: object) -> Found:
        self.asked.append((host, port))
        self.may_answer.wait(5)
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


async def hosts(known: Names) -> list[str]:
    return [str(address[4][0]) for address in await known.addresses("provider.test", 80)]


async def test_each_use_begins_with_another_address() -> None:
    known = Names(Book(found("a", "b", "c")))

    assert [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]] == [
        await hosts(known) for _ in range(3)
    ]


async def test_who_asks_at_the_same_time_waits_for_the_same_answer() -> None:
    book = Book(found("a"))
    book.may_answer.clear()
    known = Names(book)
    asking = [asyncio.create_task(hosts(known)) for _ in range(3)]
    await asyncio.sleep(0)
    asking[0].cancel()  # stops waiting, and does not stop the others
    await asyncio.sleep(0)
    book.may_answer.set()

    assert [["a"], ["a"]] == [await task for task in asking[1:]]
    assert asking[0].cancelled()
    assert [("provider.test", 80)] == book.asked


async def test_address_is_forgotten_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "DNS_CACHE_S", 0)
    known = Names(Book(found("a"), found("b")))

    assert [["a"], ["b"]] == [await hosts(known), await hosts(known)]


async def test_failure_is_told_to_all_who_wait_and_not_remembered() -> None:
    book = Book(OSError("no"), [], found("a"))
    known = Names(book)

    told = await asyncio.gather(hosts(known), hosts(known), return_exceptions=True)
    assert ["no", "no"] == list(map(str, told))
    with pytest.raises(OSError, match="has no address"):
        await hosts(known)
    assert ["a"] == await hosts(known)


async def test_failure_that_nobody_waits_for_is_no_news() -> None:
    """A loop tells of exceptions that were never looked at."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    book = Book(OSError("no"))
    book.may_answer.clear()
    asking = asyncio.create_task(hosts(Names(book)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    book.may_answer.set()
    for thread in threading.enumerate():
        if thread.name == "one-api-look-up-provider.test":
            await asyncio.to_thread(thread.join)
    await asyncio.sleep(0)
    gc.collect()

    assert [] == told


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_address_is_no_name(host: str) -> None:
    book = Book()

    assert host == (await Names(book).addresses(host, 80))[0][4][0]
    assert [] == book.asked
