"""Gateways and providers that the end-to-end tests share, started when first asked for."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import click.testing
import openai
import pytest

from one_api.cli.commands import main
from one_api.observe.log_road import close_road
from one_api.settings import Settings
from one_api_openai import PROVIDERS
from one_api_openai.adapter import variable_prefix
from tests.e2e.gateways import SERVERS, GatewayProcess, Server, running
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    MODELS_PATH,
    Reply,
    ScriptedUpstream,
    anthropic_models_reply,
    json_reply,
    models_reply,
    refusing_url,
)

API_KEY = "gateway-key-of-a-caller"
OPENAI_CREDENTIAL = "sk-scripted-openai-credential"
CLAUDE_CREDENTIAL = "sk-ant-scripted-claude-credential"
#: What the scripted providers list; ids hold what ids in the wild hold.
OPENAI_MODELS = ("gpt-scripted", "acme/coder", "llama3:8b-instruct", "acme/vision:v2")
CLAUDE_MODELS = ("claude-scripted",)
#: A model whose provider refuses every connection.
UNREACHABLE_MODEL = "unreachable"
#: Variables of adapters that a developer may have set.
ADAPTERS_VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "CLAUDE_API_KEY",
    "CLAUDE_BASE_URL",
    "CLAUDE_MODELS",
    "ECHO_DELAY_MS",
    "GEMINI_API_KEY",
    "GEMINI_BASE_URL",
    "GEMINI_MODELS",
    "GOOGLE_API_KEY",
    "LOCAL_MODELS_ENABLED",
    "OLLAMA_KEEP_ALIVE",
    *(
        f"{variable_prefix(provider)}_{name}"
        for provider in PROVIDERS
        for name in ("API_KEY", "BASE_URL", "MODELS")
    ),
)
ALL_MODELS = ("echo", *OPENAI_MODELS, *CLAUDE_MODELS, UNREACHABLE_MODEL)

#: Fixtures that start a gateway which no other test uses, or few.
GATEWAYS_OF_FEW = frozenset(
    {"early_gateway", "impatient_gateway", "open_web_gateway", "start_gateway", "web_gateway"}
)

_PROCESSES = pytest.StashKey[list[GatewayProcess]]()
_LOG_LENGTHS = pytest.StashKey[dict[GatewayProcess, int]]()


def anthropic_model_reply(name: str) -> Reply:
    """The reply of `GET /v1/models/{name}`."""
    fields = {"type": "model", "display_name": name, "created_at": "2026-06-01T00:00:00Z"}
    return json_reply(200, {"id": name, **fields})


class RunHere(Protocol):
    """Runs `one-api` in this process: the same command without the cost of a start."""

    def __call__(self, *arguments: str, **environment: str) -> click.testing.Result:
        """What `one-api ARGUMENTS` does with only `environment`, in an empty directory."""


class StartGateway(Protocol):
    """Starts a gateway that ends with the test; its log is shown when the test fails."""

    def __call__(
        self, environment: Mapping[str, str], *, server: Server = "one-api"
    ) -> GatewayProcess:
        """A gateway with only `environment`, in a directory of its own, that answers."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PROCESSES] = []
    # A test run that is told to end takes its gateways along, as one that is interrupted does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests are slow that start a gateway beside the one that most of them share.

    To start one takes two seconds of a processor.
    """
    assert isinstance(item, pytest.Function)
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    has_server = any(server in parameters for server in SERVERS if server != "one-api")
    if has_server or not GATEWAYS_OF_FEW.isdisjoint(item.fixturenames):
        item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    processes = item.config.stash[_PROCESSES]
    item.stash[_LOG_LENGTHS] = {process: len(process.log) for process in processes}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        lengths = item.stash.get(_LOG_LENGTHS, {})
        for process in item.config.stash[_PROCESSES]:
            news = process.log[lengths.get(process, 0) :]
            if news:
                report.sections.append((f"log of {process.server} at {process.url}", news))
    return report


@contextlib.contextmanager
def watched(
    config: pytest.Config,
    directory: Path,
    environment: Mapping[str, str],
    server: Server = "one-api",
) -> Iterator[GatewayProcess]:
    """A running gateway whose log is shown with every test that fails beside it."""
    with running(directory, environment, server=server) as process:
        config.stash[_PROCESSES].append(process)
        yield process


@pytest.fixture(scope="session")
def openai_upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        upstream.script(models_reply(OPENAI_MODELS), path=MODELS_PATH, repeat_last=True)
        yield upstream


@pytest.fixture(scope="session")
def claude_upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        upstream.script(anthropic_models_reply(CLAUDE_MODELS), path=MODELS_PATH, repeat_last=True)
        for name in CLAUDE_MODELS:
            path = f"{MODELS_PATH}/{name}"
            upstream.script(anthropic_model_reply(name), path=path, repeat_last=True)
        yield upstream


@pytest.fixture(scope="session")
def providers(
    openai_upstream: ScriptedUpstream, claude_upstream: ScriptedUpstream
) -> Iterator[dict[str, str]]:
    """The environment that switches the providers on, and asks callers for a key."""
    with refusing_url() as nobody:
        yield {
            "API_KEYS": API_KEY,
            # These tests script each call that a provider gets.
            "MAX_ATTEMPTS": "1",
            "OPENAI_API_KEY": OPENAI_CREDENTIAL,
            "OPENAI_BASE_URL": f"{openai_upstream.url}/v1",
            "CLAUDE_API_KEY": CLAUDE_CREDENTIAL,
            "CLAUDE_BASE_URL": claude_upstream.url,
            "VLLM_BASE_URL": nobody,
            "VLLM_MODELS": UNREACHABLE_MODEL,
        }


@pytest.fixture
def openai_scene(openai_upstream: ScriptedUpstream) -> Scene:
    return Scene(openai_upstream, "openai")


@pytest.fixture
def claude_scene(claude_upstream: ScriptedUpstream) -> Scene:
    return Scene(claude_upstream, "claude")


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunHere]:
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in (*(field.upper() for field in Settings.model_fields), *ADAPTERS_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_MODELS_ENABLED", "false")  # on by itself

    def invoke(*arguments: str, **environment: str) -> click.testing.Result:
        return click.testing.CliRunner().invoke(main, arguments, env=environment)

    yield invoke
    # The command sets up logging for its process, which is this one here.
    close_road()
    root.handlers[:], root.level = handlers, level


@pytest.fixture(params=["openai", "claude"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """A model at each scripted provider in turn."""
    found: Scene = request.getfixturevalue(f"{request.param}_scene")
    return found


@pytest.fixture(scope="session")
def shared_gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
) -> Iterator[Callable[[Server], GatewayProcess]]:
    """The gateway that all tests of one server share."""
    with contextlib.ExitStack() as stack:
        started: dict[Server, GatewayProcess] = {}

        def start(server: Server) -> GatewayProcess:
            if server not in started:
                directory = tmp_path_factory.mktemp(server)
                context = watched(pytestconfig, directory, providers, server)
                started[server] = stack.enter_context(context)
            return started[server]

        yield start


@pytest.fixture(scope="session")
def impatient_gateway(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    providers: Mapping[str, str],
) -> Iterator[GatewayProcess]:
    """A gateway that waits for providers for a fraction of a second."""
    patience = {
        "FIRST_CONTENT_TIMEOUT_S": "0.2",
        "IDLE_TIMEOUT_S": "0.3",
        "TOTAL_TIMEOUT_S": "0.4",
        "STREAM_OPEN_AFTER_S": "0",
    }
    directory = tmp_path_factory.mktemp("impatient")
    with watched(pytestconfig, directory, {**providers, **patience}) as process:
        yield process


@pytest.fixture
def gateway(shared_gateway: Callable[[Server], GatewayProcess]) -> GatewayProcess:
    """The shared gateway as `one-api serve` runs it."""
    return shared_gateway("one-api")


@pytest.fixture(params=SERVERS)
def any_gateway(
    request: pytest.FixtureRequest, shared_gateway: Callable[[Server], GatewayProcess]
) -> GatewayProcess:
    """The shared gateway of each server in turn."""
    return shared_gateway(request.param)


@pytest.fixture
def start_gateway(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartGateway]:
    with contextlib.ExitStack() as stack:

        def start(environment: Mapping[str, str], *, server: Server = "one-api") -> GatewayProcess:
            directory = tmp_path_factory.mktemp("gateway")
            return stack.enter_context(watched(pytestconfig, directory, environment, server))

        yield start


@pytest.fixture(scope="session")
def sdk() -> Iterator[Callable[[GatewayProcess], openai.OpenAI]]:
    """OpenAI's SDK for a gateway; made once for each, since making one is slow."""
    clients: dict[GatewayProcess, openai.OpenAI] = {}

    def client_of(process: GatewayProcess) -> openai.OpenAI:
        if process not in clients:
            clients[process] = openai.OpenAI(
                base_url=process.base_url, api_key=API_KEY, max_retries=0, timeout=20
            )
        return clients[process]

    yield client_of
    for client in clients.values():
        client.close()


@pytest.fixture
def client(
    gateway: GatewayProcess, sdk: Callable[[GatewayProcess], openai.OpenAI]
) -> openai.OpenAI:
    """OpenAI's SDK, talking to `gateway`."""
    return sdk(gateway)


@pytest.fixture
def any_client(
    any_gateway: GatewayProcess, sdk: Callable[[GatewayProcess], openai.OpenAI]
) -> openai.OpenAI:
    """OpenAI's SDK, talking to `any_gateway`."""
    return sdk(any_gateway)
