"""Two adapters for one provider, its native one and a row of another's table: one is served."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint

import pytest
from pydantic import SecretStr

from one_api.adapter import BaseModelAdapter, UpstreamSettings
from one_api.discovery import build_upstream, entry_for
from one_api.registry import ModelRegistry
from one_api_ollama import OllamaAdapter
from one_api_openai import OpenAIAdapter
from tests.adapters_in_test import context

POINTS = [
    EntryPoint(name, f"one_api_{name}:{cls.__name__}", "one_api.adapters")
    for name, cls in (("ollama", OllamaAdapter), ("openai", OpenAIAdapter))
]
LOCAL = "http://127.0.0.1:11434"


def loaded(environment: Mapping[str, str], allowed: list[str] | None = None) -> ModelRegistry:
    registry = ModelRegistry()
    registry.load(environment=environment, context=context, allowed=allowed, found=POINTS)
    return registry


def adapters_of(registry: ModelRegistry) -> dict[str, BaseModelAdapter]:
    return {name: registry.adapter(name) for name, _, _ in registry.adapters()}


@pytest.mark.parametrize("path", ["", "/", "/v1"])
@pytest.mark.parametrize(
    ("allowed", "kind"),
    [
        (None, OllamaAdapter),
        (["ollama", "openai"], OllamaAdapter),
        (["ollama"], OllamaAdapter),
        (["openai", "ollama"], OpenAIAdapter),
        (["openai"], OpenAIAdapter),
    ],
    ids=["by name", "native first", "native only", "row first", "row only"],
)
def test_one_of_the_two_is_served_wherever_the_url_leads(
    path: str, allowed: list[str] | None, kind: type[BaseModelAdapter]
) -> None:
    registry = loaded({"OLLAMA_BASE_URL": f"{LOCAL}{path}"}, allowed)
    adapters = adapters_of(registry)

    assert ["ollama"] == list(adapters)
    assert isinstance(adapters["ollama"], kind)
    assert registry.is_ready()


def test_the_other_rows_are_served_beside_it() -> None:
    registry = loaded({"OLLAMA_BASE_URL": LOCAL, "OPENAI_API_KEY": "k", "VLLM_BASE_URL": LOCAL})
    adapters = adapters_of(registry)

    assert {"ollama", "openai", "vllm"} == set(adapters)
    assert isinstance(adapters["ollama"], OllamaAdapter)
    assert ["loaded", "loaded"] == [entry.state for entry in registry.entries]
    assert registry.is_ready()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OLLAMA_BASE_URL": LOCAL},
        {"OLLAMA_API_KEY": "k"},
        {"OLLAMA_BASE_URL": LOCAL, "OLLAMA_API_KEY": "k"},
        {"OLLAMA_MODELS": "/var/lib/ollama/models"},
    ],
    ids=" ".join,
)
def test_both_are_switched_on_by_the_same(environment: dict[str, str]) -> None:
    """Else some variables would lead to another API than others."""
    native = adapters_of(loaded(environment, ["ollama"]))
    row = adapters_of(loaded(environment, ["openai"]))

    assert native.keys() == row.keys()


@pytest.mark.parametrize(
    ("asked", "base_url", "kind"),
    [
        ("ollama", f"{LOCAL}/v1", OllamaAdapter),
        ("ollama", "", OllamaAdapter),
        (None, f"{LOCAL}/v1", OpenAIAdapter),
    ],
    ids=["by name", "by name alone", "by address"],
)
@pytest.mark.parametrize("allowed", [None, ["openai", "ollama"]], ids=["by name", "row first"])
def test_an_upstream_that_asks_for_ollama_gets_the_native_api(
    allowed: list[str] | None, asked: str | None, base_url: str, kind: type[BaseModelAdapter]
) -> None:
    entries = loaded({}, allowed).entries
    upstream = UpstreamSettings(provider=asked or "", base_url=base_url, api_key=SecretStr("key-k"))
    adapter = build_upstream(entry_for(entries, asked), "gpu", upstream, context("gpu"), 10.0)

    assert isinstance(adapter, kind)
