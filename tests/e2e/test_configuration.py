"""Settings from the command line, the environment and `.env`; wrong ones are named, none is shown.

In this process: the command is the same, and a table of many cases stays fast.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from one_api.settings import Settings
from tests.e2e.conftest import RunHere

SECRETS = {
    "API_KEYS": "a-secret-of-a-caller",
    "OPENAI_API_KEY": "sk-secret-of-openai",
    "CLAUDE_API_KEY": "secret-of-claude",
    "REDIS_URL": "redis://user:secret-of-redis@localhost",
    "DATABASE_URL": "postgresql://user:secret-of-database@localhost/db",
}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("HOST", "0.0.0.0"),  # noqa: S104 - must be refused
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("DEBUG", "perhaps"),
        ("API_PREFIX", "/v1?x=y"),
        ("API_PREFIX", "/"),
        ("CORS_ORIGINS", "app.example"),
        ("CORS_ORIGINS", "https://app.example/path"),
        ("MAX_BODY_MB", "0"),
        ("API_KEYS", "short"),
        ("API_KEYS", "with white space"),
        ("RATE_LIMIT_ENABLED", "2 per minute"),
        ("RATE_LIMIT_REQUESTS", "0"),
        ("MAX_TOKENS", "-1"),
        ("REASONING_FIELD", "thoughts"),
        ("CONNECT_TIMEOUT_S", "0"),
        ("STREAM_OPEN_AFTER_S", "-1"),
        ("REDIS_URL", "http://localhost"),
        ("UPSTREAMS_FILE", "upstreams.yaml"),
        ("OPENAI_BASE_URL", "api.example/v1"),
        ("OPENAI_BASE_URL", "https://user:secret@api.example/v1"),
        ("CLAUDE_BASE_URL", "ftp://api.example"),
        ("ECHO_DELAY_MS", "slow"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_its_variable(
    run_here: RunHere, variable: str, value: str
) -> None:
    if variable == "HOST":
        variable, environment = "API_KEYS", {"HOST": value}
    else:
        environment = {"CLAUDE_API_KEY": "secret-of-claude", variable: value}
    for command in (("config", "check"), ("serve", "--port", "1")):
        if command[0] == "serve" and variable == "PORT":
            continue  # The command line wins, and is right.
        result = run_here(*command, **environment)
        assert 2 == result.exit_code, result.output
        assert f"Wrong setting {variable}: " in result.output
        assert "Traceback" not in result.output
        assert "secret" not in result.output


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])  # noqa: S104
def test_an_open_gateway_on_a_public_address_does_not_start(run_here: RunHere, host: str) -> None:
    result = run_here("serve", "--host", host, "--port", "1")
    assert 2 == result.exit_code
    assert "Wrong setting API_KEYS: " in result.output
    assert "--no-auth" in result.output


def test_several_processes_with_a_limit_of_their_own_each_do_not_start(run_here: RunHere) -> None:
    result = run_here("serve", "--workers", "2", RATE_LIMIT_ENABLED="true")
    assert 2 == result.exit_code
    assert "Wrong setting WORKERS: " in result.output
    assert "REDIS_URL" in result.output


def test_wrong_numbers_on_the_command_line_are_named_too(run_here: RunHere) -> None:
    result = run_here("serve", "--port", "70000")
    assert 2 == result.exit_code
    assert "Wrong setting PORT: " in result.output


@pytest.mark.parametrize("address", ["8000", "host", "host:", "host:http", ""])
def test_an_ill_formed_address_is_a_usage_error(run_here: RunHere, address: str) -> None:
    result = run_here("serve", "--addr", address)
    assert 2 == result.exit_code
    assert "HOST:PORT" in result.output


def test_right_settings_are_said_to_be_right(run_here: RunHere) -> None:
    result = run_here("config", "check", **SECRETS)
    assert (0, "The settings are right. Adapters: claude, echo, openai.\n") == (
        result.exit_code,
        result.output,
    )


def test_a_required_adapter_that_is_not_configured_is_not_right(run_here: RunHere) -> None:
    result = run_here("config", "check", ONE_API_ADAPTERS="echo,openai,no-such")
    assert 1 == result.exit_code
    assert "adapter openai is available: set OPENAI_API_KEY" in result.output
    assert "adapter no-such is failed" in result.output


def test_every_setting_is_explained_with_its_source(run_here: RunHere, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8001\nMAX_TOKENS=5\nDEFAULT_MODEL=\n")
    result = run_here(
        "config", "explain", PORT="8002", DEBUG="", CORS_ORIGINS="https://a.example, *"
    )
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines()}
    assert 0 == result.exit_code
    assert {field.upper() for field in Settings.model_fields} < set(rows)
    assert ["8002", "environment"] == rows["PORT"]
    assert ["5", ".env"] == rows["MAX_TOKENS"]
    assert ["False", "default"] == rows["DEBUG"]
    assert ["-", "default"] == rows["DEFAULT_MODEL"]
    assert ["https://a.example,*", "environment"] == rows["CORS_ORIGINS"]


@pytest.mark.parametrize(
    "command", [("config", "explain"), ("config", "check"), ("adapters",)], ids=" ".join
)
def test_no_command_shows_a_secret(run_here: RunHere, command: tuple[str, ...]) -> None:
    assert "secret" not in run_here(*command, **SECRETS).output
