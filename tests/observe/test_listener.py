"""One process holds the metrics' own address, and another takes it over."""

from __future__ import annotations

import asyncio
import logging

import pytest

from one_api.observe.listener import MetricsListener
from tests.e2e.exchanges import Answer, exchange
from tests.e2e.gateways import free_port


def listener(port: int, text: str) -> MetricsListener:
    async def render(accept: str) -> tuple[bytes, str]:
        return f"{text} {accept}".encode(), "text/plain; version=0.0.4; charset=utf-8"

    return MetricsListener("127.0.0.1", port, ("/metrics", "/v1/metrics"), render)


async def get(port: int, path: str = "/metrics") -> Answer:
    url = f"http://127.0.0.1:{port}{path}"
    return await asyncio.to_thread(exchange, url, headers={"Accept": "x"})


async def test_an_address_is_held_by_one_and_taken_over_by_another() -> None:
    port = free_port()
    first, second = listener(port, "first"), listener(port, "second")
    try:
        assert [True, False] == [await first.try_open(), await second.try_open()]
        assert [True, False] == [await first.try_open(), await second.try_open()]
        answer = await get(port)
        assert b"first x" == answer.body

        await first.close()

        assert await second.try_open()
        assert b"second x" == (await get(port, "/v1/metrics")).body
    finally:
        await first.close()
        await second.close()


async def test_nothing_but_metrics_is_told_there() -> None:
    port = free_port()
    opened = listener(port, "")
    assert await opened.try_open()
    try:
        assert (
            "text/plain; version=0.0.4; charset=utf-8" == (await get(port)).headers["content-type"]
        )
        assert 404 == (await get(port, "/v1/models")).status
    finally:
        await opened.close()


async def said(port: int, *pieces: bytes) -> bytes:
    """All that is answered to `pieces`, each sent by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        pytest.param((b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",), b"200 OK", id="whole"),
        pytest.param(
            (b"GET /met", b"rics?a=b HTTP/1.1\r\nHost: a\r\n", b"\r\n"), b"200 OK", id="in pieces"
        ),
        pytest.param((b"POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n",), b"405", id="method"),
        pytest.param((b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n",), b"404", id="path"),
        pytest.param((b"no HTTP\r\n\r\n",), b"400", id="no HTTP"),
        pytest.param(
            (b"GET /metrics HTTP/1.1\r\nHost: " + b"a" * 20_000,), b"431", id="no end of it"
        ),
    ],
)
async def test_each_connection_is_answered_once_and_closed(
    pieces: tuple[bytes, ...], status: bytes
) -> None:
    port = free_port()
    opened = listener(port, "told")
    assert await opened.try_open()
    try:
        head, _, body = (await said(port, *pieces)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"Content-Length: %d" % len(body) in head
        assert (b"told " if status == b"200 OK" else b"") == body
    finally:
        await opened.close()


async def test_metrics_that_cannot_be_told_are_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(accept: str) -> tuple[bytes, str]:
        raise ValueError("a bug")

    opened = MetricsListener("127.0.0.1", port := free_port(), ("/metrics",), fail)
    assert await opened.try_open()
    try:
        told = await said(port, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 500 ")
        assert "the metrics cannot be told" in caplog.text
    finally:
        await opened.close()


async def test_head_has_no_body() -> None:
    port = free_port()
    opened = listener(port, "told")
    assert await opened.try_open()
    try:
        told = await said(port, b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert told.endswith(b"\r\n\r\n")
        assert b"Content-Length: 5" in told
    finally:
        await opened.close()


async def test_an_address_that_is_not_ours_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def render(accept: str) -> tuple[bytes, str]:
        return b"", "text/plain"

    # An address of nobody's own network: TEST-NET-1.
    opened = MetricsListener("192.0.2.1", free_port(), ("/metrics",), render)

    with caplog.at_level(logging.ERROR):
        assert [False, False] == [await opened.try_open(), await opened.try_open()]

    assert 1 == len(caplog.records)
