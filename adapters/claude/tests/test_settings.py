from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from one_api.adapter import ConfigurationError
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


def test_importing_the_adapter_does_not_import_the_sdk() -> None:
    code = "import sys, one_api_claude; print('anthropic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
