"""Secrets are planted wherever one can get in; none is in what a real gateway writes."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import watched
from tests.e2e.distributions import install
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess, run_to_end
from tests.e2e.scenes import Scene
from tests.scripted_upstream import ScriptedUpstream, json_reply, sse_reply

pytestmark = pytest.mark.slow

# None of these looks like a key to any pattern.
API_KEY = "canary0api0key0of0a0client"
ADMIN_KEY = "canary0admin0key0of0operator"
KEY_SECRET = "canary0secret0that0keys0are0hashed0with"
CREDENTIAL = "canary0credential0openai"
FILE_CREDENTIAL = "canary0credential0of0the0file"
LEAKY_CREDENTIAL = "canary0credential0leaky"
# These are nobody's: their looks or their places tell what they are.
STRANGE_KEY = "sk-canary-4f0f2b7c9d1e"
BEARER = "canary9bearer9token9of9nobody"
BODY = "canary-body-of-a-client"

SECRETS = (
    API_KEY,
    ADMIN_KEY,
    KEY_SECRET,
    CREDENTIAL,
    FILE_CREDENTIAL,
    LEAKY_CREDENTIAL,
    STRANGE_KEY,
    BEARER,
    BODY,
)
#: What would steer a terminal, forge a line or turn text around.
NASTY = "\x1b[31m\r\nforged: line\u202e\u2028\x9b\x7f\u200b"

LEAKY = f"""
from pydantic import Field, SecretStr
from one_api.adapter import AdapterSettings, BaseModelAdapter, ModelInfo

class Settings(AdapterSettings):
    api_key: SecretStr = Field(SecretStr(""), validation_alias="LEAKY_API_KEY")

class Leaky(BaseModelAdapter):
    Settings = Settings

    async def list_models(self):
        return [ModelInfo(id="leaky", owned_by="third-party")]

    async def generate_completion(self, request, call):
        key = self.settings.api_key.get_secret_value()
        self.context.logger.debug("asked with %s", {{"Authorization": "Bearer {BEARER}"}})
        self.context.logger.warning("url https://user:{BEARER}@host/x?key={BEARER}")
        try:
            raise LookupError(f"x-api-key: {BEARER} and {{key}}")
        except LookupError as exc:
            raise RuntimeError(f"cannot ask with {{key}}: {{call.model}}" + {NASTY!r}) from exc
        yield
"""


@pytest.fixture(scope="module", params=["json", "console"])
def gateway(
    request: pytest.FixtureRequest,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
    claude_upstream: ScriptedUpstream,
) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("canaries")
    install(
        directory / "site",
        "leaky",
        adapters={"leaky": "leaky:Leaky"},
        files={"leaky.py": LEAKY},
    )
    upstreams = directory / "upstreams.yaml"
    upstreams.write_text(
        f"upstreams: [{{name: filed, adapter: openai, sk: {FILE_CREDENTIAL}, models: [filed],"
        f" endpoint: '{claude_upstream.url}'}}]"
    )
    upstreams.chmod(0o600)
    environment = {
        **providers,
        "PYTHONPATH": str(directory / "site"),
        "API_KEYS": API_KEY,
        "ADMIN_KEY": ADMIN_KEY,
        "KEY_SECRET": KEY_SECRET,
        "OPENAI_API_KEY": CREDENTIAL,
        "LEAKY_API_KEY": LEAKY_CREDENTIAL,
        "UPSTREAMS_FILE": str(upstreams),
        "REQUEST_LOG": "full",
        "DEBUG": "true",
        "LOG_FORMAT": request.param,
    }
    with watched(pytestconfig, directory, environment) as process:
        yield process


#: What else is asked than chats, by its door.
DOORS: dict[str, dict[str, Any]] = {
    "completions": {"prompt": BODY, "messages": None},
    "embeddings": {"input": BODY, "messages": None},
    "messages": {"max_tokens": 9},
    "messages/count_tokens": {},
    "rerank": {"query": BODY},
    "responses": {"input": BODY, "messages": None},
}


def ask(
    gateway: GatewayProcess,
    model: str,
    key: str = API_KEY,
    door: str = "chat/completions",
    **more: Any,
) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": BODY}], **more}
    url = f"{gateway.base_url}/{door}?key={BEARER}&token={STRANGE_KEY}"
    headers = {"x-api-key": key, "Authorization": f"Bearer {BEARER}", "Cookie": f"s={BEARER}"}
    return exchange(url, body, headers=headers).status


def break_everything(gateway: GatewayProcess, scene: Scene, claude: ScriptedUpstream) -> None:
    """Ask in every way that a secret could come by."""
    quoted = f"the key {CREDENTIAL} may not: Bearer {BEARER}, {STRANGE_KEY}"
    for status in (400, 401, 429, 500):
        scene.script(scene.refused(status, quoted))
        ask(gateway, scene.model)
    scene.script(json_reply(200, {"error": {"message": quoted, "code": 400}}))
    ask(gateway, scene.model)
    scene.script(sse_reply([*scene.begun(), scene.error_frame(quoted)]))
    ask(gateway, scene.model, stream=True)
    scene.script(scene.whole(), scene.streamed())
    ask(gateway, scene.model)
    ask(gateway, scene.model, stream=True)
    for door, fields in DOORS.items():
        for status in (400, 404):
            scene.script(scene.refused(status, quoted))
            assert ask(gateway, scene.model, door=door, **fields) >= 400 or "count" in door
        assert 401 == ask(gateway, scene.model, key=STRANGE_KEY, door=door, **fields)
    claude.script(
        json_reply(401, {"error": {"message": f"wrong: {FILE_CREDENTIAL}"}}), model="filed"
    )
    ask(gateway, "filed")
    assert 502 == ask(gateway, "leaky")
    ask(gateway, "leaky", stream=True)
    # Names, ids and whole bodies that are secrets, or nasty.
    ask(gateway, STRANGE_KEY)
    ask(gateway, API_KEY)
    ask(gateway, f"no-such-model{NASTY}")
    assert 401 == ask(gateway, "echo", key=STRANGE_KEY)
    exchange(f"{gateway.base_url}/chat/completions", BODY.encode(), key=API_KEY)
    exchange(f"{gateway.url}/admin/{STRANGE_KEY}", key=ADMIN_KEY)
    exchange(f"{gateway.url}/admin/keys", {"name": STRANGE_KEY + NASTY}, key=ADMIN_KEY)
    exchange(f"{gateway.base_url}/models/{STRANGE_KEY}", key=API_KEY)
    exchange(f"{gateway.base_url}/models", headers={"x-request-id": STRANGE_KEY}, key=API_KEY)
    with closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)) as connection:
        connection.request("GET", f"/v1/x?api_key={STRANGE_KEY}", headers={"x-api-key": BEARER})
        connection.getresponse().read()


def test_no_canary_is_in_the_log(
    gateway: GatewayProcess,
    openai_scene: Scene,
    claude_upstream: ScriptedUpstream,
) -> None:
    break_everything(gateway, openai_scene, claude_upstream)
    gateway.terminate()
    assert 0 == gateway.wait_exit()
    log = gateway.log

    assert [] == [secret for secret in SECRETS if secret in log]
    # The paths were taken: what surrounded the secrets is there.
    assert log.count("[redacted]") >= 10
    assert "cannot ask with [redacted]" in log
    assert "RuntimeError" in log
    assert "asked with {'Authorization': 'Bearer [redacted]'}" in log
    # Nothing steers a terminal, and no value begins a line.
    assert not set("\x1b\r\x7f\x9b\u202e\u2028\u200b") & set(log)
    assert [] == [line for line in log.splitlines() if line.startswith("forged")]
    if "{" == log.splitlines()[-1][0]:
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        named = [line["model"] for line in lines if line.get("model", "").startswith("no-such")]
        assert [f"no-such-model{NASTY}"] == named


@pytest.mark.parametrize(
    "variables",
    [
        {"API_KEYS": f"{API_KEY} {BEARER}"},
        {"ADMIN_KEY": "canary0"},
        {"API_KEYS": ADMIN_KEY, "ADMIN_KEY": ADMIN_KEY},
        {"DATABASE_URL": f"mysql://u:{BEARER}@h/d"},
        {"REDIS_URL": f"http://u:{BEARER}@h"},
        {"PORT": STRANGE_KEY},
        {"LOG_FORMAT": STRANGE_KEY},
        {"TRACING": STRANGE_KEY},
        {"OPENAI_API_KEY": CREDENTIAL, "OPENAI_BASE_URL": f"{STRANGE_KEY}"},
    ],
    ids=lambda variables: "-".join(variables),
)
def test_no_canary_is_in_what_a_wrong_setting_is_told_with(
    variables: dict[str, str], tmp_path: Path
) -> None:
    done = run_to_end(["serve"], tmp_path, {"DEBUG": "true", **variables})

    assert done.returncode not in (0, -signal.SIGKILL)
    told = done.stdout + done.stderr
    assert told
    values = (API_KEY, ADMIN_KEY, CREDENTIAL, STRANGE_KEY, BEARER, "canary0")
    assert [] == [value for value in values if value in told]
