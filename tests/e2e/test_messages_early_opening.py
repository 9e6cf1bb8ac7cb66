"""Silent streams at the Anthropic door: opened with a named ping, and errors named inside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.conftest import API_KEY, watched
from tests.e2e.exchanges import stream
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    Gate,
    Hold,
    anthropic_events,
    anthropic_frames,
    anthropic_stream,
    openai_error,
)

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.fixture(scope="module")
def early_gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
) -> Iterator[GatewayProcess]:
    early = {"STREAM_OPEN_AFTER_S": "0.1"}
    directory = tmp_path_factory.mktemp("early_messages")
    with watched(pytestconfig, directory, {**providers, **early}) as process:
        yield process


def test_a_ping_comes_before_the_provider_answers(
    early_gateway: GatewayProcess, claude_scene: Scene
) -> None:
    gate = Gate()
    claude_scene.script((Hold(gate), *anthropic_stream()))
    body = claude_scene.ask(stream=True, max_tokens=9)
    with stream(f"{early_gateway.base_url}/messages", body, key=API_KEY) as response:
        assert 200 == response.status
        assert PING == response.read1()
        gate.open()
        assert b"".join(anthropic_frames(anthropic_events())) == response.read()


def test_an_error_after_the_opening_is_a_named_event(
    early_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    """Clients drop events without a name, and would wait for a beginning that never comes."""
    gate = Gate()
    openai_scene.script((Hold(gate), *openai_error(429, "slow down")))
    body = openai_scene.ask(stream=True, max_tokens=9)
    with stream(f"{early_gateway.base_url}/messages", body, key=API_KEY) as response:
        assert PING == response.read1()
        gate.open()
        rest = response.read()
    assert rest.startswith(
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error"'
    )
    assert rest.endswith(b"}\n\n")
    assert 1 == rest.count(b"data:")
