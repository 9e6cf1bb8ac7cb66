"""Streams on ASGI: order, cancellation, keep-alives, early opening and the drain."""

from __future__ import annotations

import asyncio
from typing import Any

import flask
import orjson
import pytest

from one_api.errors import UpstreamError
from one_api.runtime import GatewayFlask, StreamingResponse, open_early
from one_api.runtime.asgi import ASGIBridge
from tests.runtime.apps import Source, add_stream, new_app
from tests.runtime.line import Line, served

PING = b": ping\n\n"


@pytest.fixture
async def source() -> Source:
    await asyncio.sleep(0)
    return Source()


@pytest.fixture
def app(source: Source) -> GatewayFlask:
    app = new_app()
    add_stream(app, source.chunks)
    return app


class TestStream:
    async def test_pieces_leave_as_they_come(self, app: GatewayFlask, source: Source) -> None:
        line = Line(ASGIBridge(app), "/stream")

        for piece in (b"a", b"b"):
            source.give(piece)
            await line.until(lambda: line.pieces[-1:] == [piece])  # noqa: B023 - awaited at once
        source.give(None)
        await line.until_served()

        assert (200, b"ab") == (line.status, line.body)
        assert "text/event-stream" == line.headers["content-type"]
        assert "content-length" not in line.headers
        assert line.is_complete
        assert ["ended"] == source.endings

    async def test_stream_without_pieces_is_complete(
        self, app: GatewayFlask, source: Source
    ) -> None:
        source.give(None)

        line = await served(ASGIBridge(app), "/stream")

        assert (200, b"", True) == (line.status, line.body, line.is_complete)

    async def test_bug_in_a_stream_cuts_it(self, app: GatewayFlask, source: Source) -> None:
        """Only an unfinished body tells an HTTP client that something is missing."""
        source.give(b"a", RuntimeError("a bug"))
        line = Line(ASGIBridge(app), "/stream")

        with pytest.raises(RuntimeError, match="a bug"):
            await line.until_served()

        assert (b"a", False) == (line.body, line.is_complete)
        assert ["RuntimeError"] == source.endings
        assert 0 == app.drain.running

    async def test_head_does_not_begin_the_stream(self, app: GatewayFlask, source: Source) -> None:
        line = await served(ASGIBridge(app), "/stream", method="HEAD")

        assert (200, b"", True) == (line.status, line.body, line.is_complete)
        assert not source.waiting.is_set()


class TestClientLeaves:
    async def test_leaving_before_the_first_byte_cancels_the_view(self) -> None:
        app = new_app()
        begun, endings = asyncio.Event(), []

        @app.post("/")
        async def wait() -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                endings.append("cancelled")
                raise
            return "never"

        line = Line(ASGIBridge(app), method="POST")
        await begun.wait()
        line.leave()
        await line.until_served()

        assert ["cancelled"] == endings
        assert None is line.status
        assert 0 == app.drain.running

    @pytest.mark.parametrize("pieces", [[], [b"a"]], ids=["before-content", "after-content"])
    async def test_leaving_a_stream_closes_its_generator(
        self, app: GatewayFlask, source: Source, pieces: list[bytes]
    ) -> None:
        source.give(*pieces)
        line = Line(ASGIBridge(app), "/stream")
        await line.until(lambda: line.status == 200 and line.pieces == pieces)
        await source.waiting.wait()
        line.leave()

        await line.until_served()

        assert ["CancelledError"] == source.endings
        assert not line.is_complete
        assert 0 == app.drain.running

    async def test_server_that_cancels_is_obeyed(self, app: GatewayFlask, source: Source) -> None:
        """A cancellation from elsewhere is not taken for a client that left."""
        line = Line(ASGIBridge(app), "/stream")
        await source.waiting.wait()
        line.task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await line.until_served()
        assert ["CancelledError"] == source.endings


class TestKeepAlive:
    async def test_silence_is_filled_with_keep_alives(self, source: Source) -> None:
        app = new_app()
        add_stream(app, source.chunks, keep_alive=PING, keep_alive_s=0.001)
        line = Line(ASGIBridge(app), "/stream")

        await line.until(lambda: line.pieces.count(PING) >= 2)
        source.give(b"a")
        await line.until(lambda: b"a" in line.pieces)
        pings = line.pieces.count(PING)
        await line.until(lambda: line.pieces.count(PING) > pings)
        source.give(b"b", None)
        await line.until_served()

        assert [b"a", b"b"] == [piece for piece in line.pieces if piece not in (PING, b"")]

    async def test_nothing_is_sent_after_the_end(self, source: Source) -> None:
        app = new_app()
        add_stream(app, source.chunks, keep_alive=PING, keep_alive_s=0.0)
        source.give(*[b"x"] * 50, None)

        line = await served(ASGIBridge(app), "/stream")  # Line refuses what comes too late.
        await asyncio.sleep(0.005)

        assert b"x" * 50 == line.body.replace(PING, b"")
        assert line.is_complete

    async def test_no_keep_alive_means_none(self, app: GatewayFlask, source: Source) -> None:
        line = Line(ASGIBridge(app), "/stream")
        await source.waiting.wait()
        source.give(None)

        assert b"" == (await line.until_served()).body


def add_early_view(app: GatewayFlask, answer: asyncio.Future[Any], delay_s: float) -> None:
    """`POST /` opens its stream after `delay_s` and answers with what the test says."""

    @app.post("/")
    async def early() -> flask.Response:
        head = StreamingResponse(
            None, content_type="text/event-stream", keep_alive=PING, keep_alive_s=60
        )
        head.headers["x-head"] = "early"
        open_early(flask.request.environ, delay_s, head)
        result = await answer
        if isinstance(result, Exception):
            raise result
        response: flask.Response = result
        return response


class TestEarlyOpening:
    async def test_slow_view_is_announced_by_head_and_keep_alive(self, source: Source) -> None:
        app = new_app()
        answer = asyncio.get_running_loop().create_future()
        add_early_view(app, answer, 0.001)
        line = Line(ASGIBridge(app), method="POST")
        await line.until(lambda: PING in line.pieces)
        assert (200, "early") == (line.status, line.headers["x-head"])

        source.give(b"a", b"b", None)
        answer.set_result(StreamingResponse(source.chunks(), content_type="text/event-stream"))
        await line.until_served()

        assert PING + b"ab" == line.body
        assert line.is_complete

    async def test_error_after_opening_is_told_in_band(self) -> None:
        app = new_app()
        answer = asyncio.get_running_loop().create_future()
        add_early_view(app, answer, 0.001)
        line = Line(ASGIBridge(app), method="POST")
        await line.until(lambda: PING in line.pieces)

        answer.set_result(UpstreamError("it failed"))
        await line.until_served()

        told = line.body.removeprefix(PING)
        assert told.startswith(b"data: {")
        assert told.endswith(b"}\n\n")
        assert "it failed" == orjson.loads(told.removeprefix(b"data: "))["error"]["message"]

    async def test_quick_view_is_not_announced(self, source: Source) -> None:
        app = new_app()
        answer = asyncio.get_running_loop().create_future()
        add_early_view(app, answer, 60)
        source.give(b"a", None)
        answer.set_result(StreamingResponse(source.chunks(), content_type="text/plain"))

        line = await served(ASGIBridge(app), method="POST")

        assert ("text/plain", b"a") == (line.headers["content-type"], line.body)

    async def test_quick_error_keeps_its_status(self) -> None:
        app = new_app()
        answer = asyncio.get_running_loop().create_future()
        add_early_view(app, answer, 60)
        answer.set_result(UpstreamError("it failed"))

        assert 502 == (await served(ASGIBridge(app), method="POST")).status

    @pytest.mark.parametrize("turns", range(5))
    async def test_view_that_answers_as_its_stream_opens_does_not_start_it_twice(
        self, source: Source, turns: int
    ) -> None:
        """Opening and answering may fall together in any order."""
        app = new_app()
        loop = asyncio.get_running_loop()

        @app.post("/")
        async def early() -> flask.Response:
            head = StreamingResponse(None, content_type="text/event-stream", keep_alive=PING)
            answer = loop.create_future()
            loop.call_later(0, answer.set_result, None)
            open_early(flask.request.environ, 0, head)
            await answer
            for _ in range(turns):
                await asyncio.sleep(0)
            return StreamingResponse(source.chunks(), content_type="text/event-stream")

        source.give(b"a", b"b", None)
        line = await served(ASGIBridge(app), method="POST")  # Line refuses a wrong order.

        assert b"ab" == line.body.replace(PING, b"")

    async def test_client_that_leaves_an_opened_stream_cancels_the_view(self) -> None:
        app = new_app()
        answer = asyncio.get_running_loop().create_future()
        add_early_view(app, answer, 0.001)
        line = Line(ASGIBridge(app), method="POST")
        await line.until(lambda: PING in line.pieces)

        line.leave()
        await line.until_served()

        assert answer.cancelled()
        assert not line.is_complete


class TestDrain:
    async def test_stream_past_the_deadline_ends_with_the_last_word(self, source: Source) -> None:
        app = new_app(drain_s=0)
        add_stream(app, source.chunks, cut_off=b"data: cut\n\n")
        source.give(b"a")
        line = Line(ASGIBridge(app), "/stream")
        await line.until(lambda: line.body == b"a")

        app.drain.begin(asyncio.get_running_loop())
        await line.until_served()

        assert (b"adata: cut\n\n", True) == (line.body, line.is_complete)
        assert ["CancelledError"] == source.endings
        assert 0 == app.drain.running

    async def test_request_past_the_deadline_is_told_to_come_back(self) -> None:
        app = new_app(drain_s=0)
        begun = asyncio.Event()

        @app.post("/")
        async def wait() -> str:
            begun.set()
            await asyncio.Event().wait()
            return "never"

        line = Line(ASGIBridge(app), method="POST")
        await begun.wait()
        app.drain.begin(asyncio.get_running_loop())
        await line.until_served()

        assert (503, "1") == (line.status, line.headers["retry-after"])
        assert "server_is_shutting_down" == orjson.loads(line.body)["error"]["code"]

    async def test_opened_stream_past_the_deadline_is_told_in_band(self) -> None:
        app = new_app(drain_s=0)
        add_early_view(app, asyncio.get_running_loop().create_future(), 0.001)
        line = Line(ASGIBridge(app), method="POST")
        await line.until(lambda: PING in line.pieces)

        app.drain.begin(asyncio.get_running_loop())
        await line.until_served()

        told = orjson.loads(line.body.removeprefix(PING + b"data: "))
        assert "server_is_shutting_down" == told["error"]["code"]

    async def test_stream_within_the_deadline_ends_as_it_would(
        self, app: GatewayFlask, source: Source
    ) -> None:
        line = Line(ASGIBridge(app), "/stream")
        await source.waiting.wait()
        app.drain.begin(asyncio.get_running_loop())
        source.give(b"a", None)

        await line.until_served()

        assert (b"a", True) == (line.body, line.is_complete)
        assert ["ended"] == source.endings
