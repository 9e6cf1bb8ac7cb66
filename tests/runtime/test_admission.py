"""The bound on requests in flight: what is over it is refused before any of it is read."""

from __future__ import annotations

import asyncio
import json
import logging

import flask
import pytest

from one_api.runtime import Admission
from one_api.runtime.asgi import ASGIBridge
from tests.runtime.apps import new_app
from tests.runtime.line import Line, served


@pytest.fixture
def gate() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def bridge(gate: asyncio.Event) -> ASGIBridge:
    """Serves two at once; each waits for the gate."""
    app = new_app()
    app.admission = Admission(2, exempt=("/health",))

    @app.post("/wait")
    async def wait() -> str:
        await gate.wait()
        return flask.request.get_data(as_text=True)

    @app.get("/health")
    def health() -> str:
        return "alive"

    return ASGIBridge(app)


async def begun(bridge: ASGIBridge, count: int) -> list[Line]:
    lines = [Line(bridge, "/wait", method="POST", body=b"%d" % n) for n in range(count)]
    while bridge.app.drain.running < count:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    return lines


async def test_more_than_the_bound_is_refused_unread(
    bridge: ASGIBridge, gate: asyncio.Event
) -> None:
    lines = await begun(bridge, 2)

    refused = await served(bridge, "/wait", method="POST", body=None)

    told = json.loads(refused.body)["error"]
    assert (503, "1") == (refused.status, refused.headers["retry-after"])
    assert ("gateway_overloaded", "service_unavailable_error") == (told["code"], told["type"])
    assert {"message", "type", "param", "code"} == set(told)
    assert 0 == refused.received
    assert 1 == bridge.app.admission.turned_away
    gate.set()
    assert [b"0", b"1"] == [(await line.until_served()).body for line in lines]


async def test_those_whose_bodies_are_awaited_count(bridge: ASGIBridge) -> None:
    lines = [Line(bridge, "/wait", method="POST", body=None) for _ in range(2)]
    await asyncio.sleep(0)
    assert 503 == (await served(bridge, "/wait", method="POST")).status
    for line in lines:
        line.leave()
        await line.until_served()
    assert 0 == bridge.app.admission.in_flight


async def test_there_is_room_again_once_one_has_ended(
    bridge: ASGIBridge, gate: asyncio.Event
) -> None:
    (left, stays) = await begun(bridge, 2)
    left.leave()
    await left.until_served()
    (new,) = [Line(bridge, "/wait", method="POST", body=b"new")]
    gate.set()
    assert b"new" == (await new.until_served()).body
    assert b"1" == (await stays.until_served()).body


async def test_whoever_watches_is_let_in(bridge: ASGIBridge, gate: asyncio.Event) -> None:
    lines = await begun(bridge, 2)
    assert b"alive" == (await served(bridge, "/health")).body
    gate.set()
    for line in lines:
        await line.until_served()


def test_the_log_tells_of_many_at_once(caplog: pytest.LogCaptureFixture) -> None:
    admission = Admission(1)
    admission.in_flight = 1
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            assert admission.refusal("/v1/chat/completions") is not None
    assert 1 == len(caplog.records)
    assert 100 == admission.turned_away


def test_without_a_bound_all_are_let_in() -> None:
    admission = Admission()
    admission.in_flight = 10**6
    assert admission.refusal("/v1/chat/completions") is None
