"""Many requests on one loop: what belongs to one is never seen by another."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator

import flask

from one_api.runtime import StreamingResponse
from one_api.runtime.asgi import ASGIBridge
from tests.runtime.apps import new_app
from tests.runtime.line import HOST, served

REQUESTS = 200
_canary: contextvars.ContextVar[str] = contextvars.ContextVar("canary", default="none")


def _all_three() -> set[str]:
    return {flask.request.headers["x-canary"], flask.g.canary, _canary.get()}


async def test_two_hundred_requests_at_once_keep_to_themselves() -> None:
    app = new_app()
    chance = random.Random(7)  # noqa: S311 - the same turns in every run
    meeting = asyncio.Barrier(REQUESTS)
    seen: dict[str, set[str]] = {}

    @app.before_request
    async def begin() -> None:
        flask.g.canary = flask.request.headers["x-canary"]
        _canary.set(flask.g.canary)
        await asyncio.sleep(0)

    @app.after_request
    def end(response: flask.Response) -> flask.Response:
        seen[flask.g.canary] |= _all_three()
        response.headers["x-canary"] = flask.request.headers["x-canary"]
        return response

    @app.post("/<kind>")
    async def view(kind: str) -> flask.Response:
        mine = seen.setdefault(flask.g.canary, set())
        await meeting.wait()
        for _ in range(5):
            mine |= _all_three()
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        mine |= _all_three()
        told = flask.request.get_data()
        if kind == "plain":
            return flask.Response(told)

        async def chunks() -> AsyncGenerator[bytes, None]:
            for at in range(len(told)):
                await asyncio.sleep(0)
                mine.add(_canary.get())
                yield told[at : at + 1]

        return StreamingResponse(chunks(), content_type="text/plain")

    bridge = ASGIBridge(app)
    lines = await asyncio.gather(
        *(
            served(
                bridge,
                "/plain" if at % 2 else "/stream",
                method="POST",
                body=f"body {at}".encode(),
                headers=[HOST, (b"x-canary", str(at).encode())],
            )
            for at in range(REQUESTS)
        )
    )

    assert {str(at): {str(at)} for at in range(REQUESTS)} == seen
    assert [f"body {at}".encode() for at in range(REQUESTS)] == [line.body for line in lines]
    assert [str(at) for at in range(REQUESTS)] == [line.headers["x-canary"] for line in lines]
    assert "none" == _canary.get()
    assert not flask.has_request_context()


async def test_view_that_fails_leaves_no_context_behind() -> None:
    app = new_app()

    @app.post("/")
    async def fail() -> str:
        await asyncio.sleep(0)
        raise RuntimeError("a bug")

    bridge = ASGIBridge(app)

    async def ask() -> bool:
        await bridge_serves_500(bridge)
        return flask.has_request_context()

    assert [False] * 20 == await asyncio.gather(*(ask() for _ in range(20)))


async def bridge_serves_500(bridge: ASGIBridge) -> None:
    assert 500 == (await served(bridge, method="POST")).status


async def test_sync_and_async_hooks_mix() -> None:
    """Flask's own order of hooks holds, whichever of them await."""
    app = new_app()
    order: list[str] = []

    @app.before_request
    def sync_before() -> None:
        order.append("sync before")

    @app.before_request
    async def async_before() -> None:
        await asyncio.sleep(0)
        order.append("async before")

    @app.after_request
    async def async_after(response: flask.Response) -> flask.Response:
        await asyncio.sleep(0)
        order.append("async after")
        return response

    @app.teardown_request
    async def async_teardown(error: BaseException | None) -> None:
        await asyncio.sleep(0)
        order.append("async teardown")

    @app.get("/")
    def view() -> str:
        order.append("view")
        return "done"

    line = await served(ASGIBridge(app))

    assert b"done" == line.body
    assert ["sync before", "async before", "view", "async after", "async teardown"] == order
