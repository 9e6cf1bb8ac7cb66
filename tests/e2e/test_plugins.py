"""Adapters of third parties, installed by pip: good ones serve, bad ones harm only themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.conftest import StartGateway, watched
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess, clean_environment, run_to_end

# Each installs a package with pip, or starts gateways of its own.
pytestmark = pytest.mark.slow

PLUGINS = Path(__file__).parents[1] / "plugins"
#: What becomes of each entry point of `broken`, and what an operator reads about it.
BROKEN = {
    "absent_module": ("failed", "ModuleNotFoundError: No module named 'broken.no_such_module'"),
    "absent_name": ("failed", "has no attribute 'NoSuchName'"),
    "exits": ("failed", "SystemExit: this plugin needs a licence"),
    "not_an_adapter": ("incompatible", "not a subclass of BaseModelAdapter"),
    "other_version": ("incompatible", "adapter contract 999, this gateway has 1"),
    "raises": ("failed", "RuntimeError: libexample.so.1 was not found"),
    "raises_when_built": ("failed", "KeyError: 'SOME_TABLE'"),
}


def install(target: Path, *names: str) -> str:
    """Install packages of `tests/plugins` into `target`; the value for `PYTHONPATH`."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", *options),
            *("--target", str(target), *(str(PLUGINS / name) for name in names)),
        ],
        env=clean_environment(target.parent, {}),
        check=True,
        timeout=60,
    )
    return str(target)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A good adapter, one that takes its name, and all that cannot be loaded."""
    return install(tmp_path_factory.mktemp("site") / "plugins", "greeter", "twin", "broken")


@pytest.fixture(scope="module")
def unsound(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Adapters that load and then break the contract."""
    return install(tmp_path_factory.mktemp("site") / "unsound", "unsound")


@pytest.fixture(scope="module")
def sleepers(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Adapters that never come to an end."""
    return install(tmp_path_factory.mktemp("site") / "sleepers", "sleeper")


@pytest.fixture(scope="module")
def plugged_gateway(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, plugins: str
) -> Iterator[GatewayProcess]:
    with watched(
        pytestconfig, tmp_path_factory.mktemp("plugged"), {"PYTHONPATH": plugins}
    ) as process:
        yield process


@pytest.fixture(scope="module")
def unsound_gateway(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, unsound: str
) -> Iterator[GatewayProcess]:
    with watched(
        pytestconfig, tmp_path_factory.mktemp("unsound"), {"PYTHONPATH": unsound}
    ) as process:
        yield process


def say(gateway: GatewayProcess, model: str, text: str = "Ada", **fields: Any) -> Any:
    """The answer to one message; an error's body when there is one."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    return exchange(f"{gateway.base_url}/chat/completions", body)


def said(gateway: GatewayProcess, model: str, text: str = "Ada") -> str:
    content: str = say(gateway, model, text).json["choices"][0]["message"]["content"]
    return content


def readiness(gateway: GatewayProcess) -> tuple[int, dict[str, dict[str, Any]]]:
    """The status of `/health/ready`, and its rows by the adapter's name; the first wins."""
    answer = exchange(f"{gateway.url}/health/ready")
    rows: dict[str, dict[str, Any]] = {}
    for row in answer.json["adapters"]:
        rows.setdefault(row["name"], row)
    return answer.status, rows


# -- a good one


def test_an_installed_adapter_serves_without_any_change_to_the_gateway(
    plugged_gateway: GatewayProcess,
) -> None:
    with openai.OpenAI(base_url=plugged_gateway.base_url, api_key="any", max_retries=0) as client:
        ids = [model.id for model in client.models.list()]
        whole = client.chat.completions.create(
            model="greeter", messages=[{"role": "user", "content": "Ada"}]
        )
        with client.chat.completions.create(
            model="greeter/greeter", messages=[{"role": "user", "content": "Ada"}], stream=True
        ) as stream:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert ["echo", "greeter"] == ids
    assert "Hello, Ada!" == whole.choices[0].message.content == streamed


def test_an_adapter_reads_its_own_settings_from_the_same_places(
    tmp_path: Path, plugins: str
) -> None:
    (tmp_path / ".env").write_text("GREETER_GREETING=Salut\n")
    ended = run_to_end(["chat", "greeter", "Ada"], tmp_path, {"PYTHONPATH": plugins})
    assert "Salut, Ada!\n" == ended.stdout


def test_every_installed_adapter_is_listed_with_its_distribution(
    tmp_path: Path, plugins: str
) -> None:
    ended = run_to_end(["adapters"], tmp_path, {"PYTHONPATH": plugins})
    lines = ended.stdout.splitlines()
    assert 0 == ended.returncode
    for name, (state, reason) in BROKEN.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert ["broken-for-one-api", "0.1.0", state] == line.split()[1:4]
        assert reason in line
    greeters = [line.split()[1:4] for line in lines if line.startswith("greeter ")]
    assert [
        ["greeter-for-one-api", "1.2.3", "loaded"],
        ["twin-for-one-api", "9.9.9", "shadowed"],
    ] == greeters
    assert any("greeter-for-one-api declares an adapter of the same name" in line for line in lines)


# -- bad ones


def test_adapters_that_cannot_be_loaded_harm_nobody(plugged_gateway: GatewayProcess) -> None:
    """Nobody asked for them: the gateway is ready without them, and says what is wrong."""
    status, rows = readiness(plugged_gateway)
    assert 200 == status
    for name, (state, reason) in BROKEN.items():
        assert (state, False) == (rows[name]["state"], rows[name]["required"])
        assert reason in rows[name]["reason"]
        assert 0 == rows[name]["models"]
    assert ("loaded", 1) == (rows["greeter"]["state"], rows["greeter"]["models"])
    assert "still here" == said(plugged_gateway, "echo", "still here")


def test_the_reason_is_in_the_log(plugged_gateway: GatewayProcess) -> None:
    assert plugged_gateway.has_logged("adapter raises: failed: its import raised RuntimeError")


@pytest.mark.parametrize("server", ["one-api", "gunicorn"])
def test_an_adapter_that_was_asked_for_must_serve(
    start_gateway: StartGateway, plugins: str, server: Any
) -> None:
    environment = {"PYTHONPATH": plugins, "ONE_API_ADAPTERS": "greeter,raises,absent"}
    gateway = start_gateway(environment, server=server)
    status, rows = readiness(gateway)
    assert 503 == status
    assert {"greeter": "loaded", "raises": "failed", "absent": "failed", "echo": "disabled"} == {
        name: rows[name]["state"] for name in ("greeter", "raises", "absent", "echo")
    }
    assert rows["raises"]["required"]
    assert "Hello, Ada!" == said(gateway, "greeter")
    assert 404 == say(gateway, "echo").status


def test_what_is_not_on_the_list_is_not_even_imported(tmp_path: Path, sleepers: str) -> None:
    """Its import would never end."""
    environment = {"PYTHONPATH": sleepers, "ONE_API_ADAPTERS": "echo"}
    ended = run_to_end(["config", "check"], tmp_path, environment)
    assert (0, "The settings are right. Adapters: echo.\n") == (ended.returncode, ended.stdout)


def test_adapters_that_break_the_contract_are_told_apart(
    unsound_gateway: GatewayProcess,
) -> None:
    exchange(f"{unsound_gateway.base_url}/models")
    status, rows = readiness(unsound_gateway)
    assert 503 == status
    failed = {name: row["reason"] for name, row in rows.items() if row["state"] == "failed"}
    assert {
        "nonsense": "list_models() did not return ModelInfo values",
        "raises_on_listing": "list_models() raised LookupError: no table of models",
        "raises_on_start": "its start() raised PermissionError: no access to /dev/accelerator",
    } == failed
    assert "still here" == said(unsound_gateway, "echo", "still here")


def test_of_two_with_one_model_the_first_answers_and_both_are_reached(
    unsound_gateway: GatewayProcess,
) -> None:
    ids = [model["id"] for model in exchange(f"{unsound_gateway.base_url}/models").json["data"]]
    assert ["echo", "faulty", "same_model/echo"] == sorted(ids)
    assert "Ada" == said(unsound_gateway, "echo") == said(unsound_gateway, "echo/echo")
    assert "the other echo" == said(unsound_gateway, "same_model/echo")


def test_the_order_of_the_list_decides_who_is_first(
    start_gateway: StartGateway, unsound: str
) -> None:
    environment = {"PYTHONPATH": unsound, "ONE_API_ADAPTERS": "same_model,echo"}
    gateway = start_gateway(environment)
    assert "the other echo" == said(gateway, "echo")
    assert "Ada" == said(gateway, "echo/echo")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_adapter_that_raises_while_answering_is_a_502(
    unsound_gateway: GatewayProcess, stream: bool
) -> None:
    """Its own words are for the log: they may hold anything."""
    answer = say(unsound_gateway, "faulty", stream=stream)
    assert (502, "upstream_error") == (answer.status, answer.error["code"])
    assert "inner detail" not in answer.body.decode()
    assert unsound_gateway.has_logged("ZeroDivisionError: an inner detail")


def test_an_adapter_that_raises_midway_is_told_inside_the_stream(
    unsound_gateway: GatewayProcess,
) -> None:
    answer = say(unsound_gateway, "faulty", "late", stream=True)
    assert 200 == answer.status
    assert "so far so good" in answer.body.decode()
    assert "upstream_error" == answer.events[-1]["error"]["code"]
    assert "inner detail" not in answer.body.decode()


# -- those that never come to an end


def test_an_import_that_never_ends_is_given_up(tmp_path: Path, sleepers: str) -> None:
    environment = {"PYTHONPATH": sleepers, "ONE_API_ADAPTERS": "sleeps_on_import,echo"}
    ended = run_to_end(["adapters"], tmp_path, environment)
    rows = {line.split()[0]: line for line in ended.stdout.splitlines()}
    assert 0 == ended.returncode
    assert " failed " in rows["sleeps_on_import"]
    assert "its import did not end within 10 s" in rows["sleeps_on_import"]
    assert " loaded " in rows["echo"]


def test_a_provider_that_never_lists_its_models_delays_only_the_list(
    start_gateway: StartGateway, sleepers: str
) -> None:
    environment: Mapping[str, str] = {
        "PYTHONPATH": sleepers,
        "ONE_API_ADAPTERS": "hangs_on_listing,echo",
    }
    gateway = start_gateway(environment)
    assert "Ada" == said(gateway, "echo")
    assert "some-model is here" == said(gateway, "hangs_on_listing/some-model")
    assert 200 == exchange(f"{gateway.url}/health/ready").status
    ids = [model["id"] for model in exchange(f"{gateway.base_url}/models").json["data"]]
    assert ["echo"] == ids
    _, rows = readiness(gateway)
    assert "no list of models within 10 s" == rows["hangs_on_listing"]["reason"]
