from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from pydantic import SecretStr

from one_api.adapter import ConfigurationError, UpstreamSettings
from one_api_claude import ClaudeAdapter, ClaudeSettings


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({"CLAUDE_API_KEY": "a"}, "a"),
        ({"ANTHROPIC_API_KEY": "b"}, "b"),
        ({"CLAUDE_API_KEY": "a", "ANTHROPIC_API_KEY": "b"}, "a"),
        ({"CLAUDE_API_KEY": "", "ANTHROPIC_API_KEY": "b"}, "b"),
        ({}, ""),
    ],
)
def test_the_key_switches_the_adapter_on(environment: dict[str, str], key: str) -> None:
    settings = ClaudeSettings.from_environment(environment)
    assert (key, bool(key)) == (settings.api_key.get_secret_value(), settings.is_configured())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "https://api.anthropic.com/v1"),
        ({"CLAUDE_BASE_URL": "https://a.example"}, "https://a.example/v1"),
        ({"CLAUDE_BASE_URL": "https://a.example/v1/"}, "https://a.example/v1"),
        ({"CLAUDE_BASE_URL": "http://localhost:1/anthropic"}, "http://localhost:1/anthropic/v1"),
        ({"ANTHROPIC_BASE_URL": "https://b.example"}, "https://b.example/v1"),
    ],
)
def test_the_base_url_may_end_in_the_version(given: dict[str, str], expected: str) -> None:
    assert expected == ClaudeSettings.from_environment(given).base_url


@pytest.mark.parametrize("url", ["a.example", "ftp://a.example", "https://u:p@a.example"])
def test_a_wrong_base_url_names_the_variable(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CLAUDE_BASE_URL") as caught:
        ClaudeSettings.from_environment({"CLAUDE_BASE_URL": url})
    assert url not in str(caught.value)


def test_the_entry_point_leads_to_the_adapter() -> None:
    entry = EntryPoint("claude", "one_api_claude:ClaudeAdapter", "one_api.adapters")
    assert entry.load() is ClaudeAdapter


@pytest.mark.slow
def test_importing_the_adapter_does_not_import_the_sdk() -> None:
    code = "import sys, one_api_claude; print('anthropic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def upstream_of(adapter: ClaudeAdapter, **fields: Any) -> ClaudeAdapter:
    settings = UpstreamSettings(provider="claude", **fields)
    built = ClaudeAdapter.build_upstream("eu", settings, adapter.context)
    assert isinstance(built, ClaudeAdapter)
    return built


@pytest.mark.parametrize(
    ("endpoint", "base_url"),
    [
        ("", "https://api.anthropic.com/v1"),
        ("https://a.example", "https://a.example/v1"),
    ],
)
def test_an_upstream_has_its_key_and_endpoint(
    adapter: ClaudeAdapter, endpoint: str, base_url: str
) -> None:
    settings = upstream_of(
        adapter, base_url=endpoint, api_key=SecretStr("sk-ant-eu"), options={"models": "a, b"}
    ).settings

    assert base_url == settings.base_url
    assert "sk-ant-eu" == settings.api_key.get_secret_value()
    assert ("a", "b") == settings.model_names


def test_an_upstream_needs_a_key_at_anthropic_only(adapter: ClaudeAdapter) -> None:
    assert () == upstream_of(adapter, base_url="http://127.0.0.1:9").settings.secrets()
    with pytest.raises(ConfigurationError) as caught:
        upstream_of(adapter)
    assert "sk" == caught.value.variable


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"base_url": "ftp://a.example"}, "endpoint"),
        ({"options": {"organization": "x"}}, "options.organization"),
    ],
)
def test_a_wrong_upstream_names_its_field(
    adapter: ClaudeAdapter, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        upstream_of(adapter, api_key=SecretStr("sk-ant-eu"), **fields)
    assert field == caught.value.variable


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-haiku-4-5", True),
        ("claude-opus-4-5-20251101", True),
        ("claude-sonnet-4-6", False),
        ("claude-opus-5-5", False),
        ("unknown", False),
    ],
)
def test_only_models_that_take_a_prefill_continue(
    adapter: ClaudeAdapter, model: str, expected: bool
) -> None:
    assert expected is adapter.continues(model)
