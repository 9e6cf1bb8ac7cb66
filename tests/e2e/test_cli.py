"""`one-api` as operators type it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import one_api
from tests.e2e.conftest import ALL_MODELS, RunHere, StartGateway
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import BIN, GatewayProcess, clean_environment, run_to_end
from tests.e2e.scenes import Scene
from tests.scripted_upstream import ScriptedUpstream, openai_error, refusing_url, sse_reply


def test_version(run_here: RunHere) -> None:
    result = run_here("--version")
    assert (0, f"one-api, version {one_api.__version__}\n") == (result.exit_code, result.output)


@pytest.mark.slow
def test_the_module_runs_as_the_command_does(tmp_path: Path) -> None:
    told = subprocess.run(
        [f"{BIN}/python", "-m", "one_api", "--help"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, {}),
        capture_output=True,
        check=True,
    ).stdout
    commands = "serve models adapters upstreams route chat config keys logs db"
    for command in commands.encode().split():
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


@pytest.mark.slow
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
    monkeypatch.setattr("one_api.cli.serving.find_spec", lambda name: None)
    result = run_here("serve", "--reload")
    assert 2 == result.exit_code
    assert "one-api-gateway[reload]" in result.output


SECRET = "sk-a-very-secret-credential"


def write_file(directory: Path, *entries: str, head: str = "") -> str:
    """A file of upstreams; its path."""
    path = directory / "upstreams.yaml"
    path.write_text(head + "upstreams:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    path.chmod(0o600)
    return str(path)


class TestUpstreams:
    def test_each_is_asked_now(
        self, run_here: RunHere, tmp_path: Path, openai_upstream: ScriptedUpstream
    ) -> None:
        with refusing_url() as nobody:
            file = write_file(
                tmp_path,
                f"name: eu, sk: {SECRET}, endpoint: '{openai_upstream.url}/v1', weight: 2.5",
                f"name: us, endpoint: '{nobody}', models: [m, 'c-*'], group: cheap, order: 3",
            )
            result = run_here("upstreams", "--upstreams", file)

        head, eu, us = (line.split() for line in result.stdout.splitlines())
        assert 0 == result.exit_code
        assert head == [
            "NAME",
            "ADAPTER",
            "ENDPOINT",
            "CREDENTIAL",
            "GROUP",
            "ORDER",
            "WEIGHT",
            "MODELS",
            "HEALTH",
        ]
        assert ["eu", "openai", f"{openai_upstream.url}/v1", "sk-…tial"] == eu[:4]
        assert ["default", "0", "2.5", "as", "listed", "ok", "4", "models"] == eu[4:-2]
        assert ["us", "openai", nobody, "-", "cheap", "3", "1", "m,c-*"] == us[:8]
        assert "upstream_unreachable:" == us[8]
        assert SECRET not in result.output

    def test_refused_credential_is_told_and_not_shown(
        self, run_here: RunHere, tmp_path: Path
    ) -> None:
        with ScriptedUpstream() as provider:
            provider.script(openai_error(401, f"Incorrect API key: {SECRET}"))
            file = write_file(tmp_path, f"name: eu, sk: {SECRET}, endpoint: '{provider.url}/v1'")
            result = run_here("upstreams", UPSTREAMS_FILE=file)

        assert 1 == result.exit_code
        assert "upstream_authentication_error" in result.stdout
        assert SECRET not in result.output

    def test_nobody_healthy_is_no_success(self, run_here: RunHere, tmp_path: Path) -> None:
        with refusing_url() as nobody:
            file = write_file(tmp_path, f"name: us, endpoint: '{nobody}'")

            assert 1 == run_here("upstreams", UPSTREAMS_FILE=file).exit_code
            assert 0 == run_here("upstreams", "--no-probe", UPSTREAMS_FILE=file).exit_code

    def test_no_file_is_told(self, run_here: RunHere) -> None:
        result = run_here("upstreams")

        assert 1 == result.exit_code
        assert "UPSTREAMS_FILE" in result.stderr


class TestRoute:
    POOL = (
        "name: eu, adapter: echo, models: [m], price: {input: 0.25, output: 2}, group: cheap",
        "name: us, adapter: echo, models: [m, 'c-*'], order: 1, context_window: 8192",
    )
    HEAD = "groups: {cheap: {strategy: lowest_cost}}\naliases: {fast: m}\n"

    @pytest.mark.parametrize(
        ("model", "told"),
        [
            (
                "m",
                [
                    "1 eu/m cheap 0 lowest_cost 1 5/60 s 120/600 s 0.25/2 - offers the model",
                    "2 us/m default 1 ordered 1 5/60 s 120/600 s - 8192 offers the model",
                ],
            ),
            (
                "fast",
                [
                    "1 eu/m cheap 0 lowest_cost 1 5/60 s 120/600 s 0.25/2 - alias 'fast'",
                    "2 us/m default 1 ordered 1 5/60 s 120/600 s - 8192 alias 'fast' leads to 'm'",
                ],
            ),
            ("c-1", ["1 us/c-1 default 1 ordered 1 5/60 s 120/600 s - 8192 pattern 'c-*'"]),
            ("quick", ["1 echo/echo default 0 ordered 1 5/60 s 120/600 s - - alias"]),
        ],
    )
    def test_steps_are_told_in_order(
        self, run_here: RunHere, tmp_path: Path, model: str, told: list[str]
    ) -> None:
        file = write_file(tmp_path, *self.POOL, head=self.HEAD)

        result = run_here(
            "route", model, UPSTREAMS_FILE=file, MODEL_ALIASES="quick=echo", MAX_ATTEMPTS="2"
        )

        assert 0 == result.exit_code, result.output
        _, *rows, last = (" ".join(line.split()) for line in result.stdout.splitlines())
        assert len(told) == len(rows)
        assert all(row.startswith(start) for row, start in zip(rows, told, strict=True))
        assert "At most 2 of them are asked for one request." == last

    def test_guess_is_called_one(self, run_here: RunHere, tmp_path: Path) -> None:
        with refusing_url() as nobody:
            file = write_file(tmp_path, f"name: eu, endpoint: '{nobody}'")
            result = run_here("route", "anything", "--upstreams", file)

        assert 0 == result.exit_code
        assert "eu/anything" in result.stdout
        assert "a guess" in result.stdout

    def test_unknown_model_is_an_error_in_one_line(self, run_here: RunHere) -> None:
        result = run_here("route", "no-such")

        assert (1, "") == (result.exit_code, result.stdout)
        assert "Error: The model 'no-such' does not exist" in result.stderr


class TestFileOfUpstreams:
    @pytest.mark.parametrize(
        "command",
        [
            ("config", "check"),
            ("serve", "--port", "1"),
            ("upstreams",),
            ("route", "m"),
            ("models",),
            ("chat", "m", "Hi"),
        ],
        ids=" ".join,
    )
    def test_wrong_one_is_told_by_line_and_field(
        self, run_here: RunHere, tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        file = write_file(tmp_path, "adapter: echo", f"adapter: echo, name: x, weight: {SECRET}")

        result = run_here(*command, UPSTREAMS_FILE=file)

        assert 2 == result.exit_code
        assert "Wrong setting UPSTREAMS_FILE: " in result.stderr
        assert f"{file}:3: upstreams[1].weight" in result.stderr
        assert SECRET not in result.output
        assert "Traceback" not in result.output

    def test_check_counts_them(self, run_here: RunHere, tmp_path: Path) -> None:
        file = write_file(tmp_path, "adapter: echo, models: [a]", "adapter: echo, models: [b]")

        result = run_here("config", "check", "--upstreams", file)

        assert (0, "The settings are right. Adapters: echo. Upstreams: 2.\n") == (
            result.exit_code,
            result.output,
        )

    def test_its_keys_let_a_public_address_be_served(
        self, run_here: RunHere, tmp_path: Path
    ) -> None:
        entry = "adapter: echo, models: [a]"
        host = "192.0.2.1"

        bare = run_here("config", "check", HOST=host, UPSTREAMS_FILE=write_file(tmp_path, entry))
        file = write_file(tmp_path, entry, head="authorization: a-key-of-a-client\n")
        keyed = run_here("config", "check", HOST=host, UPSTREAMS_FILE=file)

        assert (2, 0) == (bare.exit_code, keyed.exit_code)
        assert "API_KEYS" in bare.output

    @pytest.mark.slow
    def test_option_wins_and_the_banner_counts(self, tmp_path: Path) -> None:
        file = write_file(
            tmp_path, "name: eu, adapter: echo, models: [a]", head="authorization: key-of-file\n"
        )
        process = GatewayProcess(
            tmp_path, {"UPSTREAMS_FILE": "/no/such"}, options=["--upstreams", file]
        )
        try:
            process.wait_until_healthy()
            models = exchange(f"{process.base_url}/models", key="key-of-file").json["data"]
            assert 401 == exchange(f"{process.base_url}/models").status
        finally:
            process.kill()
        assert ["a", "echo"] == sorted(model["id"] for model in models)
        assert f"upstreams  1 in {file}" in process.log
        assert "open to" not in process.log
