"""Reading the file of upstreams again while streams run: nothing is dropped, all or nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.conftest import API_KEY, StartGateway
from tests.e2e.exchanges import Answer, exchange, stream
from tests.e2e.gateways import GatewayProcess, Server
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    Gate,
    Hold,
    ScriptedUpstream,
    openai_chunks,
    openai_completion,
    openai_frames,
    sse_reply,
)

# Each starts gateways of its own, to change what they read.
pytestmark = pytest.mark.slow

ADMIN_KEY = "the-key-of-the-operator"
#: How long a signal may take to have its effect, in seconds.
PATIENCE_S = 10.0

Trigger = Callable[[GatewayProcess], None]


def hang_up(gateway: GatewayProcess) -> None:
    os.kill(gateway.pid, signal.SIGHUP)


def post(gateway: GatewayProcess) -> None:
    told = exchange(f"{gateway.url}/admin/reload", b"", key=ADMIN_KEY)
    assert 200 == told.status, told.body
    assert {"upstream old: removed", "upstream new: added"} == set(told.json["changes"])


def ask(gateway: GatewayProcess, model: str) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello?"}]}
    return exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)


class File:
    """A file of upstreams, each with a model of its own name, all at one provider."""

    def __init__(self, directory: Path, provider: ScriptedUpstream) -> None:
        self.path = directory / "upstreams.yaml"
        self._provider = provider

    def hold(self, *names: str) -> None:
        entries = [
            f"  - {{name: {name}, adapter: openai, sk: sk-of-{name}-upstream,"
            f' endpoint: "{self._provider.url}/v1", models: [{name}-model]}}\n'
            for name in names
        ]
        self.write(f"authorization: {API_KEY}\nupstreams:\n{''.join(entries)}")

    def write(self, text: str) -> None:
        """Replace the file as editors do: whoever reads has the old text or the new one."""
        draft = self.path.with_suffix(".new")
        draft.write_text(text)
        draft.chmod(0o600)
        draft.rename(self.path)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"UPSTREAMS_FILE": str(self.path), "ADMIN_KEY": ADMIN_KEY}


@pytest.fixture
def provider() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, provider: ScriptedUpstream) -> File:
    file = File(tmp_path, provider)
    file.hold("old")
    return file


def wait_for_log(gateway: GatewayProcess, text: str, times: int = 1) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while gateway.log.count(text) < times:
        assert time.monotonic() < deadline, f"{text!r} is not logged {times} times:\n{gateway.log}"
        time.sleep(0.02)


def wait_until_served(gateway: GatewayProcess, model: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while ask(gateway, model).status != 200:
        assert time.monotonic() < deadline, f"{model} is not served:\n{gateway.log}"
        time.sleep(0.02)


def check_reload_under_a_stream(
    gateway: GatewayProcess, file: File, provider: ScriptedUpstream, trigger: Trigger, workers: int
) -> None:
    """Remove the upstream of a stream under way: the stream ends well, new work is elsewhere."""
    gate = Gate()
    frames = openai_frames(openai_chunks(HELLO))
    provider.script(sse_reply([*frames[:2], Hold(gate), *frames[2:]]), model="old-model")
    provider.script(openai_completion(HELLO), model="new-model", repeat_last=True)
    body = {"model": "old-model", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    with stream(f"{gateway.base_url}/chat/completions", body, key=API_KEY) as response:
        begun = response.read1()
        file.hold("new")
        trigger(gateway)
        wait_for_log(gateway, "reloaded: upstream new: added", workers)
        # Whichever worker takes them: all have changed, and none was replaced.
        for _ in range(4 * workers):
            assert 404 == ask(gateway, "old-model").status
            assert 200 == ask(gateway, "new-model").status
        gate.open()
        whole = Answer(response.status, {}, begun + response.read())
    assert "[DONE]" == whole.events[-1]
    text = "".join(
        choice["delta"].get("content") or ""
        for event in whole.events[:-1]
        for choice in event["choices"]
    )
    assert HELLO.text == text
    assert "sk-of-" not in gateway.log
    assert workers == gateway.log.count("listening on http://")


@pytest.mark.parametrize("trigger", [hang_up, post])
@pytest.mark.parametrize("workers", [1, 2])
def test_removed_upstream_finishes_its_streams(
    start_gateway: StartGateway,
    file: File,
    provider: ScriptedUpstream,
    trigger: Trigger,
    workers: int,
) -> None:
    gateway = start_gateway({**file.environment, "WORKERS": str(workers)})
    wait_for_log(gateway, "listening on http://", workers)

    check_reload_under_a_stream(gateway, file, provider, trigger, workers)

    gateway.terminate()
    assert 0 == gateway.wait_exit()
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("server", ["one-api", "uvicorn"])
def test_wrong_file_changes_nothing(
    start_gateway: StartGateway, file: File, provider: ScriptedUpstream, server: Server
) -> None:
    provider.script(openai_completion(HELLO), path=CHAT_PATH, repeat_last=True)
    gateway = start_gateway(file.environment, server=server)
    file.write("upstreams:\n  - {name: new, adapter: openai, weight: heavy}\n")

    hang_up(gateway)
    wait_for_log(gateway, "nothing is reloaded: ")
    told = exchange(f"{gateway.url}/admin/reload", b"", key=ADMIN_KEY)

    assert gateway.has_logged(f"{file.path}:2: upstreams[0].weight")
    assert 400 == told.status
    assert f"{file.path}:2: upstreams[0].weight" in told.error["message"]
    assert 200 == ask(gateway, "old-model").status
    file.hold("old", "new")
    hang_up(gateway)
    wait_until_served(gateway, "new-model")


def test_keys_of_clients_change_with_the_file(start_gateway: StartGateway, file: File) -> None:
    gateway = start_gateway(file.environment)
    models = f"{gateway.base_url}/models"
    assert 200 == exchange(models, key=API_KEY).status
    file.write("authorization: another-key-of-a-caller\nupstreams: [{adapter: echo}]\n")

    told = exchange(f"{gateway.url}/admin/reload", b"", key=ADMIN_KEY)

    assert "authorization: changed" in told.json["changes"]
    assert "another-key" not in told.body.decode()
    assert 200 == exchange(models, key="another-key-of-a-caller").status
    assert 401 == exchange(models, key=API_KEY).status


def test_admin_key_in_the_file_is_refused(start_gateway: StartGateway, file: File) -> None:
    gateway = start_gateway(file.environment)
    file.write(f"authorization: {ADMIN_KEY}\nupstreams: [{{adapter: echo}}]\n")

    told = exchange(f"{gateway.url}/admin/reload", b"", key=ADMIN_KEY)

    assert 400 == told.status
    assert "ADMIN_KEY: " in told.error["message"]
    assert 200 == exchange(f"{gateway.base_url}/models", key=API_KEY).status


def test_gateway_without_a_file_survives_the_signal(start_gateway: StartGateway) -> None:
    gateway = start_gateway({"API_KEYS": API_KEY, "ADMIN_KEY": ADMIN_KEY})

    hang_up(gateway)
    wait_for_log(gateway, "nothing is reloaded: UPSTREAMS_FILE: ")
    told = exchange(f"{gateway.url}/admin/reload", b"", key=ADMIN_KEY)

    assert 400 == told.status
    assert "UPSTREAMS_FILE" in told.error["message"]
    assert 200 == ask(gateway, "echo").status
