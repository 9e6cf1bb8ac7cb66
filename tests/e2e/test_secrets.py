"""What a provider quotes of our credential never reaches a client, whatever it looks like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.conftest import API_KEY, watched
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import json_reply, sse_reply

#: A credential that no pattern knows for one.
SHAPELESS = "0a1b2c3d4e5f60718293"
QUOTED = f"the key {SHAPELESS} may not do this"


@pytest.fixture(scope="module")
def gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
) -> Iterator[GatewayProcess]:
    # With a line's end, as keys are pasted.
    keys = {"OPENAI_API_KEY": f" {SHAPELESS}\n", "CLAUDE_API_KEY": f"{SHAPELESS}\r\n"}
    directory = tmp_path_factory.mktemp("secrets")
    with watched(pytestconfig, directory, {**providers, **keys}) as process:
        yield process


def ask(gateway: GatewayProcess, scene: Scene, *, stream: bool) -> tuple[int, bytes]:
    answer = exchange(f"{gateway.base_url}/chat/completions", scene.ask(stream=stream), key=API_KEY)
    return answer.status, answer.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_refusal_that_quotes_the_credential(
    gateway: GatewayProcess, scene: Scene, status: int, stream: bool
) -> None:
    scene.script(scene.refused(status, QUOTED))
    told_status, body = ask(gateway, scene, stream=stream)
    assert told_status >= 400
    assert SHAPELESS.encode() not in body


def test_the_credential_itself_is_sent_as_one(gateway: GatewayProcess, scene: Scene) -> None:
    scene.script(scene.streamed())
    assert 200 == ask(gateway, scene, stream=True)[0]
    headers = scene.request.headers
    assert SHAPELESS == (headers.get("x-api-key") or headers["authorization"].split()[1])


def test_an_error_inside_a_reply_that_quotes_the_credential(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(json_reply(200, {"error": {"message": QUOTED, "code": 400}}))
    status, body = ask(gateway, openai_scene, stream=False)
    assert 400 == status
    assert SHAPELESS.encode() not in body


def test_an_error_within_a_stream_that_quotes_the_credential(
    gateway: GatewayProcess, scene: Scene
) -> None:
    scene.script(sse_reply([*scene.begun(), scene.error_frame(QUOTED)]))
    status, body = ask(gateway, scene, stream=True)
    assert 200 == status
    assert b"[redacted] may not do this" in body
    assert SHAPELESS.encode() not in body
    assert SHAPELESS not in gateway.log
