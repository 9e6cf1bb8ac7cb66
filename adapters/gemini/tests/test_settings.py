"""Which variables are read, and where they lead."""

from __future__ import annotations

import logging

import pytest

from adapters.gemini.tests.conftest import NoNetwork
from one_api.adapter import AdapterContext, ConfigurationError, UpstreamSettings
from one_api_gemini import GeminiAdapter, GeminiSettings
from one_api_gemini.settings import DEFAULT_BASE_URL

CONTEXT = AdapterContext(http=NoNetwork(), logger=logging.getLogger("gemini"))


@pytest.mark.parametrize(
    ("environment", "key"),
    [
        ({"GEMINI_API_KEY": "one"}, "one"),
        ({"GOOGLE_API_KEY": "two"}, "two"),
        ({"GEMINI_API_KEY": "one", "GOOGLE_API_KEY": "two"}, "one"),
        ({"GEMINI_API_KEY": " ", "GOOGLE_API_KEY": "two\n"}, "two"),
    ],
    ids=["own", "google's", "own comes first", "blank is absent"],
)
def test_either_variable_holds_the_credential(environment: dict[str, str], key: str) -> None:
    settings = GeminiSettings.from_environment(environment)

    assert key == settings.api_key.get_secret_value()
    assert settings.is_configured()


def test_without_a_credential_the_adapter_is_off() -> None:
    assert {} == GeminiAdapter.build("gemini", {}, CONTEXT)


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("https://proxy.example", "https://proxy.example/v1beta"),
        ("https://proxy.example/", "https://proxy.example/v1beta"),
        ("https://proxy.example/google", "https://proxy.example/google/v1beta"),
        ("https://proxy.example/v1beta/", "https://proxy.example/v1beta"),
        ("https://proxy.example/v1", "https://proxy.example/v1"),
        ("https://proxy.example/x/v1alpha", "https://proxy.example/x/v1alpha"),
    ],
)
def test_a_base_url_ends_in_a_version(given: str, base_url: str) -> None:
    settings = GeminiSettings.from_environment({"GEMINI_BASE_URL": given})

    assert base_url == settings.base_url


def test_the_default_base_url_is_its_own_normal_form() -> None:
    assert DEFAULT_BASE_URL == GeminiSettings.from_environment({}).base_url
    given = {"GEMINI_BASE_URL": DEFAULT_BASE_URL}
    assert DEFAULT_BASE_URL == GeminiSettings.from_environment(given).base_url


def test_a_wrong_base_url_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigurationError) as caught:
        GeminiSettings.from_environment({"GEMINI_BASE_URL": "proxy.example"})

    assert "GEMINI_BASE_URL" == caught.value.variable


def test_google_itself_is_no_upstream_without_a_key() -> None:
    with pytest.raises(ConfigurationError) as caught:
        GeminiAdapter.build_upstream("g", UpstreamSettings(provider="gemini"), CONTEXT)

    assert "sk" == caught.value.variable


def test_another_endpoint_may_be_keyless() -> None:
    upstream = UpstreamSettings(provider="gemini", base_url="http://127.0.0.1:9/v1beta")

    adapter = GeminiAdapter.build_upstream("g", upstream, CONTEXT)

    assert isinstance(adapter, GeminiAdapter)


async def test_named_models_are_offered_without_asking() -> None:
    environment = {"GEMINI_API_KEY": "k", "GEMINI_MODELS": "gemini-3.8-flash, mine ,"}
    adapter = GeminiAdapter.build("gemini", environment, CONTEXT)["gemini"]

    listed = [model.id for model in await adapter.list_models()]

    assert ["gemini-3.8-flash", "mine"] == listed
    assert "mine" == (await adapter.get_model_info("mine")).id
