from __future__ import annotations

import logging

import pytest
from pydantic import SecretStr

from adapters.ollama.tests.scripted import Script, as_json, connect
from one_api.adapter import AdapterContext, ConfigurationError, UpstreamSettings
from one_api_ollama import OllamaAdapter, OllamaSettings

LOCAL = "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (LOCAL, LOCAL),
        (f"{LOCAL}/", LOCAL),
        (f" {LOCAL}/v1\n", LOCAL),
        (f"{LOCAL}/api/", LOCAL),
        ("https://ollama.com", "https://ollama.com"),
        ("https://example.test/ollama/v1", "https://example.test/ollama"),
    ],
)
def test_the_url_of_either_api_names_the_server(given: str, url: str) -> None:
    assert url == OllamaSettings.from_environment({"OLLAMA_BASE_URL": given}).url


@pytest.mark.parametrize(
    ("environment", "is_on"),
    [
        ({}, False),
        ({"OLLAMA_API_KEY": "k"}, True),
        ({"OLLAMA_MODELS": "/var/models"}, False),
        ({"OLLAMA_KEEP_ALIVE": "5m"}, False),
        ({"OLLAMA_BASE_URL": LOCAL}, True),
    ],
)
def test_a_url_or_a_key_switches_the_adapter_on(environment: dict[str, str], is_on: bool) -> None:
    context = AdapterContext(http=Script(), logger=logging.getLogger("ollama"))

    assert is_on is ("ollama" in OllamaAdapter.build("ollama", environment, context))


@pytest.mark.parametrize(
    ("given", "on_wire"),
    [
        ("", None),
        ("10m", "10m"),
        ("1h30m", "1h30m"),
        ("-1m", "-1m"),
        ("0", 0),
        ("-1", -1),
        ("3600", 3600),
        ("0.5", 0.5),
    ],
)
def test_seconds_go_as_a_number_and_durations_as_text(
    given: str, on_wire: str | float | None
) -> None:
    settings = OllamaSettings.from_environment({"OLLAMA_KEEP_ALIVE": given})

    assert on_wire == settings.keep_alive_on_wire
    assert type(on_wire) is type(settings.keep_alive_on_wire)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OLLAMA_BASE_URL", "127.0.0.1:11434"),
        ("OLLAMA_BASE_URL", "http://user:secret@127.0.0.1"),
        ("OLLAMA_KEEP_ALIVE", "forever"),
        ("OLLAMA_KEEP_ALIVE", "10 m"),
        ("OLLAMA_KEEP_ALIVE", "1d"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OllamaSettings.from_environment({variable: value})

    assert variable == caught.value.variable
    assert value not in str(caught.value)


async def test_no_credential_is_sent_unless_there_is_one() -> None:
    models = as_json({"models": []})
    keyless, asked_without = connect(models)
    keyed, asked_with = connect(models, OLLAMA_API_KEY="key-of-the-operator")
    for adapter in (keyless, keyed):
        assert [] == await adapter.list_models()

    assert "Authorization" not in asked_without.requests[0].headers
    assert "Bearer key-of-the-operator" == asked_with.requests[0].headers["Authorization"]
    assert ("key-of-the-operator",) == keyed.settings.secrets()


@pytest.mark.parametrize(
    ("upstream", "url"),
    [
        (UpstreamSettings(provider="ollama"), LOCAL),
        (
            UpstreamSettings(
                provider="ollama",
                base_url="http://gpu.test:11434/v1",
                api_key=SecretStr("k"),
                options={"keep_alive": "10m"},
            ),
            "http://gpu.test:11434",
        ),
    ],
    ids=["nothing said", "all said"],
)
def test_an_entry_of_the_file_of_upstreams_makes_an_adapter(
    upstream: UpstreamSettings, url: str
) -> None:
    context = AdapterContext(http=Script(), logger=logging.getLogger("ollama"))
    adapter = OllamaAdapter.build_upstream("gpu", upstream, context)

    assert isinstance(adapter, OllamaAdapter)
    assert url == adapter.settings.url
