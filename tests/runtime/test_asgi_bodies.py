"""Request bodies on ASGI: what the servers leave to the application."""

from __future__ import annotations

import asyncio

import flask
import orjson
import pytest

from one_api.runtime import GatewayFlask
from one_api.runtime.asgi import ASGIBridge
from one_api.runtime.body import BodyLimits
from tests.runtime.apps import new_app
from tests.runtime.line import HOST, Line, served

LIMITS = BodyLimits(max_bytes=10, deadline_s=0.02)
PATIENT = BodyLimits(max_bytes=10, deadline_s=30)


@pytest.fixture
def app() -> GatewayFlask:
    app = new_app()

    @app.post("/")
    async def echo() -> flask.Response:
        await asyncio.sleep(0)
        return flask.Response(flask.request.get_data())

    return app


def length(size: int | str) -> tuple[bytes, bytes]:
    return b"content-length", str(size).encode()


async def test_body_in_pieces_arrives_whole(app: GatewayFlask) -> None:
    line = Line(ASGIBridge(app, PATIENT), method="POST", body=None)
    for piece in (b"ab", b"", b"cd"):
        line.say(piece, more=True)
    line.say(b"e")

    assert b"abcde" == (await line.until_served()).body


@pytest.mark.parametrize("size", [0, 1, 10])
async def test_body_up_to_the_limit_is_taken(app: GatewayFlask, size: int) -> None:
    line = await served(
        ASGIBridge(app, PATIENT), method="POST", body=b"x" * size, headers=[HOST, length(size)]
    )

    assert (200, b"x" * size) == (line.status, line.body)


async def test_declared_length_over_the_limit_is_refused_unread(app: GatewayFlask) -> None:
    line = await served(
        ASGIBridge(app, PATIENT), method="POST", body=None, headers=[HOST, length(11)]
    )

    assert 413 == line.status
    assert 0 == line.received


@pytest.mark.parametrize("declared", [None, "3", "-1", "many"])
async def test_body_over_the_limit_is_refused_as_soon_as_it_is(
    app: GatewayFlask, declared: str | None
) -> None:
    """A declared length is a claim; and a body without an end must not be read to its end."""
    headers = [HOST] if declared is None else [HOST, length(declared)]
    line = Line(ASGIBridge(app, PATIENT), method="POST", body=None, headers=headers)
    line.say(b"x" * 6, more=True)
    line.say(b"x" * 6, more=True)

    await line.until_served()

    assert 413 == line.status
    assert "request_too_large" == orjson.loads(line.body)["error"]["code"]


async def test_body_over_the_limit_in_one_piece_is_refused(app: GatewayFlask) -> None:
    assert 413 == (await served(ASGIBridge(app, PATIENT), method="POST", body=b"x" * 11)).status


@pytest.mark.parametrize("begun", [b"x", None], ids=["stalled", "never-begun"])
async def test_body_that_does_not_come_times_out(app: GatewayFlask, begun: bytes | None) -> None:
    line = Line(ASGIBridge(app, LIMITS), method="POST", body=None)
    if begun is not None:
        line.say(begun, more=True)

    await line.until_served()

    assert 408 == line.status
    assert "request_timeout" == orjson.loads(line.body)["error"]["code"]


@pytest.mark.parametrize("begun", [b"x", None], ids=["mid-body", "before-body"])
async def test_client_that_leaves_before_its_body_ends_is_not_served(
    app: GatewayFlask, begun: bytes | None
) -> None:
    line = Line(ASGIBridge(app, PATIENT), method="POST", body=None)
    if begun is not None:
        line.say(begun, more=True)
    line.leave()

    await line.until_served()

    assert None is line.status
    assert 0 == app.drain.running


async def test_length_that_views_see_is_the_real_one() -> None:
    app = new_app()

    @app.post("/")
    def tell() -> str:
        return str(flask.request.content_length)

    line = await served(ASGIBridge(app), method="POST", body=b"abc", headers=[HOST, length(2)])

    assert b"3" == line.body
