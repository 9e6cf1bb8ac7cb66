"""A client that leaves takes its request along: the provider's connection is closed at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from tests.e2e.conftest import API_KEY
from tests.e2e.exchanges import exchange, raw_request, sent, stream
from tests.e2e.gateways import GatewayProcess, Server
from tests.e2e.scenes import Scene
from tests.scripted_upstream import HELLO, Gate, Hang, Hold, Reply, sse_reply

#: Seconds within which a provider must notice; far below any timeout of the gateway.
SOON_S = 1.0


@pytest.fixture(params=["one-api", "uvicorn"])
def asgi_gateway(request: pytest.FixtureRequest) -> GatewayProcess:
    """The servers that can tell of a client's leaving while nothing is sent to it."""
    found: GatewayProcess = request.getfixturevalue("shared_gateway")(request.param)
    return found


def leave_while_waiting(gateway: GatewayProcess, scene: Scene, *, is_stream: bool) -> None:
    body = json.dumps(scene.ask(stream=is_stream)).encode()
    with sent(gateway.url, raw_request("/v1/chat/completions", body, API_KEY)) as sock:
        scene.wait_for_request()
        sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("has_head", [False, True], ids=["before the head", "after the opening"])
def test_leaving_before_the_first_token_frees_the_provider(
    asgi_gateway: GatewayProcess, scene: Scene, has_head: bool, is_stream: bool
) -> None:
    reply: Reply = sse_reply([*scene.opening(), Hang()]) if has_head else (Hang(),)
    scene.script(reply)
    leave_while_waiting(asgi_gateway, scene, is_stream=is_stream)
    scene.request.wait_closed(SOON_S)


def test_leaving_midway_frees_the_provider(asgi_gateway: GatewayProcess, scene: Scene) -> None:
    scene.script(sse_reply([*scene.begun(), Hang()]))
    url = f"{asgi_gateway.base_url}/chat/completions"
    with stream(url, scene.ask(stream=True), key=API_KEY) as response:
        arrived = b""
        while HELLO.words[-1].encode() not in arrived:
            arrived += response.read1()
    scene.request.wait_closed(SOON_S)


@pytest.mark.parametrize("server", ["gunicorn", "flask"])
def test_leaving_midway_frees_the_provider_with_the_next_word_on_wsgi(
    shared_gateway: Callable[[Server], GatewayProcess], openai_scene: Scene, server: Server
) -> None:
    """WSGI learns that a client left only by writing to it."""
    gateway = shared_gateway(server)
    gate = Gate()
    frame = openai_scene.begun()[-1]
    openai_scene.script(sse_reply([*openai_scene.begun(), Hold(gate), *[frame] * 10_000, Hang()]))
    url = f"{gateway.base_url}/chat/completions"
    with stream(url, openai_scene.ask(stream=True), key=API_KEY) as response:
        arrived = b""
        while HELLO.words[-1].encode() not in arrived:
            arrived += response.read1()
    gate.open()
    openai_scene.request.wait_closed()


def test_a_client_that_stays_is_not_taken_for_one_that_left(
    asgi_gateway: GatewayProcess, scene: Scene
) -> None:
    gate = Gate()
    scene.script((Hold(gate), *scene.streamed()))
    body = json.dumps(scene.ask(stream=True)).encode()
    with sent(asgi_gateway.url, raw_request("/v1/chat/completions", body, API_KEY)) as sock:
        request = scene.wait_for_request()
        assert 200 == exchange(f"{asgi_gateway.url}/health").status
        gate.open()
        lines = iter(sock.makefile("rb").readline, b"data: [DONE]\n")
        assert b"HTTP/1.1 200" in next(lines)
        assert any(HELLO.words[-1].encode() in line for line in lines)
    request.wait_finished()


def test_the_gateway_serves_on_after_many_left(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script((Hang(),), repeat_last=True)
    for _ in range(20):
        leave_while_waiting(gateway, openai_scene, is_stream=True)
    for request in openai_scene.requests:
        request.wait_closed(SOON_S)
    body = {"model": "echo", "messages": [{"role": "user", "content": "still there?"}]}
    answer = exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    assert "still there?" == answer.json["choices"][0]["message"]["content"]
