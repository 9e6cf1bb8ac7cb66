"""A stream without content for long is opened with a keep-alive; errors then come inside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.conftest import API_KEY, watched
from tests.e2e.exchanges import stream
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    Chunk,
    EndChunks,
    Gate,
    Hang,
    Hold,
    openai_error,
    openai_frames,
    sse_reply,
)

PING = b": ping\n\n"


@pytest.fixture(scope="module")
def early_gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
) -> Iterator[GatewayProcess]:
    early = {
        "STREAM_OPEN_AFTER_S": "0.1",
        "FIRST_CONTENT_TIMEOUT_S": "1",
        "KEEP_ALIVE_S": "0.1",
        "CORS_ORIGINS": "https://app.example",
    }
    directory = tmp_path_factory.mktemp("early")
    with watched(pytestconfig, directory, {**providers, **early}) as process:
        yield process


def test_a_silent_stream_gets_keep_alives(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    gate = Gate()
    begun, rest = openai_scene.begun(), openai_frames()[len(openai_scene.begun()) :]
    held = sse_reply(begun)[:-1]
    openai_scene.script((*held, Hold(gate), *(Chunk(frame) for frame in rest), EndChunks()))
    body = openai_scene.ask(stream=True, stream_options={"include_usage": True})
    with stream(url_of(early_gateway), body, key=API_KEY) as response:
        text = b""
        while not text.endswith(PING * 2):
            text += response.read1()
        gate.open()
        text += response.read()
    assert b"".join(openai_frames()) == text.replace(PING, b"")


def url_of(gateway: GatewayProcess) -> str:
    return f"{gateway.base_url}/chat/completions"


def test_the_head_and_a_ping_come_before_the_provider_answers(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    gate = Gate()
    openai_scene.script((Hold(gate), *openai_scene.streamed()))
    body = openai_scene.ask(stream=True, stream_options={"include_usage": True})
    headers = {"x-request-id": "req-early", "Origin": "https://app.example"}
    with stream(url_of(early_gateway), body, headers=headers, key=API_KEY) as response:
        assert 200 == response.status
        assert PING == response.read1()
        gate.open()
        assert b"".join(openai_frames()) == response.read()
    given = {name.lower(): value for name, value in response.getheaders()}
    assert "text/event-stream; charset=utf-8" == given["content-type"]
    assert "req-early" == given["x-request-id"]
    assert "no" == given["x-accel-buffering"]
    assert "https://app.example" == given["access-control-allow-origin"]


def test_an_error_after_the_opening_is_told_inside_the_stream(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    gate = Gate()
    openai_scene.script((Hold(gate), *openai_error(429, "slow down")))
    with stream(url_of(early_gateway), openai_scene.ask(stream=True), key=API_KEY) as response:
        assert PING == response.read1()
        gate.open()
        rest = response.read()
    assert 200 == response.status
    assert rest.startswith(b'data: {"error":{"message":"slow down",')
    assert rest.endswith(b"}}\n\n")
    assert 1 == rest.count(b"data:")


def test_a_timeout_after_the_opening_is_told_inside_the_stream(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(sse_reply([*openai_scene.opening(), Hang()]))
    with stream(url_of(early_gateway), openai_scene.ask(stream=True), key=API_KEY) as response:
        body = response.read()
    assert body.startswith(PING)
    assert b'"code":"timeout"' in body
    assert b"[DONE]" not in body
    openai_scene.request.wait_closed()


def test_a_client_that_leaves_after_the_opening_frees_the_provider(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script((Hang(),))
    with stream(url_of(early_gateway), openai_scene.ask(stream=True), key=API_KEY) as response:
        assert PING == response.read1()
    openai_scene.request.wait_closed(1.0)


def test_a_prompt_error_is_still_an_http_status(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_error(400, "no"))
    with stream(url_of(early_gateway), openai_scene.ask(stream=True), key=API_KEY) as response:
        assert 400 == response.status
