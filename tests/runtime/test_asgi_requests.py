"""Requests as views see them on ASGI, and plain responses."""

from __future__ import annotations

import asyncio
from typing import Any

import flask
import orjson
import pytest

from one_api.runtime.asgi import ASGIBridge
from tests.runtime.apps import new_app
from tests.runtime.line import HOST, Line, served


@pytest.fixture
def bridge() -> ASGIBridge:
    app = new_app()

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    async def mirror(path: str) -> flask.Response:
        await asyncio.sleep(0)
        request = flask.request
        return flask.jsonify(
            path=path,
            query=request.query_string.decode(),
            headers=dict(request.headers),
            address=request.remote_addr,
        )

    @app.get("/none")
    def none() -> tuple[str, int]:
        return "ignored", 204

    @app.get("/bug")
    async def bug() -> str:
        await asyncio.sleep(0)
        raise RuntimeError("a bug")

    return ASGIBridge(app)


async def mirrored(bridge: ASGIBridge, *headers: tuple[bytes, bytes], **scope: Any) -> Any:
    line = await served(bridge, headers=[HOST, *headers], **scope)
    assert 200 == line.status
    return orjson.loads(line.body)


async def test_names_with_underscores_do_not_pass_for_those_with_dashes(
    bridge: ASGIBridge,
) -> None:
    told = await mirrored(
        bridge, (b"x_request_id", b"spoofed"), (b"content_type", b"spoofed"), (b"x-other", b"o")
    )

    assert {"Host": "gateway.example", "X-Other": "o", "Content-Length": "0"} == told["headers"]


@pytest.mark.parametrize("order", [1, -1])
async def test_underscored_name_does_not_join_the_real_one(bridge: ASGIBridge, order: int) -> None:
    headers = [(b"x-request-id", b"real"), (b"x_request_id", b"spoofed")][::order]

    assert "real" == (await mirrored(bridge, *headers))["headers"]["X-Request-Id"]


async def test_repeated_headers_are_joined(bridge: ASGIBridge) -> None:
    told = await mirrored(
        bridge, (b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-a", b"2"), (b"cookie", b"b=2")
    )

    assert ("1,2", "a=1; b=2") == (told["headers"]["X-A"], told["headers"]["Cookie"])


@pytest.mark.parametrize(
    "host", [b"h", b"a.example:8000", b"127.0.0.1", b"[::1]", b"[::1]:80", b"my_service:80"]
)
async def test_well_formed_host_is_taken(bridge: ASGIBridge, host: bytes) -> None:
    assert 200 == (await served(bridge, headers=[(b"host", host)])).status


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"a", b"a"],
        [b"a", b"b"],
        [b"evil/x?y"],
        [b"a b"],
        [b"a@b"],
        [b"a:b"],
        [b"a:123456"],
        [b"a,b"],
        [b"a\r\nx: y"],
        ["é".encode()],
        [b"[::1"],
    ],
    ids=repr,
)
async def test_any_other_host_is_refused(bridge: ASGIBridge, hosts: list[bytes]) -> None:
    line = await served(bridge, headers=[(b"host", host) for host in hosts])

    assert 400 == line.status
    assert "invalid_request_error" == orjson.loads(line.body)["error"]["type"]


@pytest.mark.parametrize("path", ["/a", "/a//b", "/ü/日本", "/a b", "/a?b", "/a%2Fb", "/../x"])
async def test_route_comes_from_the_path_alone(bridge: ASGIBridge, path: str) -> None:
    told = await mirrored(bridge, path=path, raw_path=b"/elsewhere", root_path="/elsewhere")

    assert path == f"/{told['path']}"


async def test_query_and_address_are_passed_on(bridge: ASGIBridge) -> None:
    told = await mirrored(bridge, query_string=b"a=1&b=%C3%BC")

    assert ("a=1&b=%C3%BC", "192.0.2.7") == (told["query"], told["address"])


@pytest.mark.parametrize("server", [None, ("127.0.0.1", None), ("/run/socket", None)])
async def test_server_may_not_know_its_address(bridge: ASGIBridge, server: Any) -> None:
    assert await mirrored(bridge, server=server, client=None)


async def test_head_has_the_headers_of_get_and_no_body(bridge: ASGIBridge) -> None:
    get = await served(bridge)
    head = await served(bridge, method="HEAD")

    assert (200, b"") == (head.status, head.body)
    assert get.headers == head.headers


async def test_no_content_has_no_body(bridge: ASGIBridge) -> None:
    line = await served(bridge, "/none")

    assert (204, b"") == (line.status, line.body)


async def test_bug_in_a_view_is_a_500(bridge: ASGIBridge) -> None:
    assert 500 == (await served(bridge, "/bug")).status


async def test_unknown_route_is_a_404() -> None:
    assert 404 == (await served(ASGIBridge(new_app()))).status


async def test_websockets_are_refused(bridge: ASGIBridge) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await bridge({"type": "websocket", "path": "/"}, receive, send)

    assert ["websocket.close"] == [message["type"] for message in sent]


async def test_client_that_leaves_after_its_response_harms_nobody(bridge: ASGIBridge) -> None:
    line = await served(bridge)
    line.leave()
    await asyncio.sleep(0)

    assert line.is_complete
    assert 0 == bridge.app.drain.running


async def test_nothing_is_left_running_after_a_response(bridge: ASGIBridge) -> None:
    line = Line(bridge)
    await line.until_served()
    await asyncio.sleep(0)

    assert {asyncio.current_task()} == asyncio.all_tasks()
