"""`one-api` as operators type it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import one_api
from tests.e2e.conftest import ALL_MODELS, RunHere, StartGateway
from tests.e2e.gateways import BIN, clean_environment, run_to_end
from tests.e2e.scenes import Scene
from tests.scripted_upstream import openai_error, refusing_url, sse_reply


def test_version(run_here: RunHere) -> None:
    result = run_here("--version")
    assert (0, f"one-api, version {one_api.__version__}\n") == (result.exit_code, result.output)


def test_the_module_runs_as_the_command_does(tmp_path: Path) -> None:
    told = subprocess.run(
        [f"{BIN}/python", "-m", "one_api", "--help"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, {}),
        capture_output=True,
        check=True,
    ).stdout
    for command in (b"serve", b"models", b"adapters", b"chat", b"config"):
        assert command in told


def test_models_are_listed_by_asking_the_providers(
    run_here: RunHere, providers: Mapping[str, str]
) -> None:
    result = run_here("models", **providers)
    rows = [line.split() for line in result.output.splitlines()]
    assert 0 == result.exit_code
    assert ["MODEL", "ADAPTER", "OWNED", "BY"] == rows[0]
    assert sorted(ALL_MODELS) == sorted(row[0] for row in rows[1:])
    assert ["acme/vision:v2", "openai", "scripted"] in rows


def test_a_provider_that_cannot_list_does_not_hide_the_others(run_here: RunHere) -> None:
    with refusing_url() as nobody:
        result = run_here("models", OPENAI_BASE_URL=nobody)
    assert 0 == result.exit_code
    assert "echo" in result.stdout
    assert "openai: The provider cannot be reached." in result.stderr


def test_adapters_are_listed_with_how_to_switch_them_on(run_here: RunHere) -> None:
    result = run_here("adapters")
    rows = {line.split()[0]: line for line in result.output.splitlines()}
    assert 0 == result.exit_code
    assert " loaded " in rows["echo"]
    assert " available " in rows["openai"]
    assert "OPENAI_API_KEY" in rows["openai"]
    assert "CLAUDE_API_KEY" in rows["claude"]


def test_chat_prints_the_answer(tmp_path: Path) -> None:
    ended = run_to_end(["chat", "echo", "Good morning, gateway"], tmp_path)
    assert (0, "Good morning, gateway\n", "") == (ended.returncode, ended.stdout, ended.stderr)


def test_chat_tells_an_error_in_one_line(
    run_here: RunHere, providers: Mapping[str, str], openai_scene: Scene
) -> None:
    openai_scene.script(openai_error(429, "slow down"))
    result = run_here("chat", openai_scene.model, "Hello?", **providers)
    assert (1, "") == (result.exit_code, result.stdout)
    assert "Error: rate_limit_exceeded: slow down" in result.stderr
    assert "Traceback" not in result.stderr


def test_chat_that_is_cut_is_no_success(
    run_here: RunHere, providers: Mapping[str, str], claude_scene: Scene
) -> None:
    claude_scene.script(sse_reply(claude_scene.begun()))
    result = run_here("chat", claude_scene.model, "Hello?", **providers)
    assert 1 == result.exit_code
    assert "Error: " in result.stderr


@pytest.mark.parametrize("has_key", [False, True], ids=["open", "with keys"])
def test_the_banners_curl_line_works(start_gateway: StartGateway, has_key: bool) -> None:
    """It is the first thing a newcomer does."""
    key = "first-key-of-the-operator"
    gateway = start_gateway({"API_KEYS": key} if has_key else {})
    lines = gateway.log.split("Try it:\n", 1)[1].splitlines()
    command = "\n".join(lines[:2]).replace("<key>", key)
    assert key not in gateway.log
    told = subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout
    assert '"content":"Hello"' in told


def test_reload_says_what_it_needs(run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("one_api.cli.find_spec", lambda name: None)
    result = run_here("serve", "--reload")
    assert 2 == result.exit_code
    assert "one-api-gateway[reload]" in result.output
