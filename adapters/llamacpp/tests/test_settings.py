from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.llamacpp.tests.local_models import NoNetwork
from one_api.adapter import AdapterContext, ConfigurationError, UpstreamSettings
from one_api_llamacpp.adapter import LlamaCppAdapter
from one_api_llamacpp.settings import LocalSettings


@pytest.mark.parametrize(
    "environment",
    [{}, {"LOCAL_MODELS_ENABLED": "false"}, {"LOCAL_MODELS_DIR": "/models"}],
    ids=["nothing", "off", "only a directory"],
)
def test_no_adapter_unless_local_models_are_enabled(environment: dict[str, str]) -> None:
    context = AdapterContext(http=NoNetwork(), logger=logging.getLogger(__name__))
    assert LlamaCppAdapter.build("llamacpp", environment, context) == {}


def test_defaults_are_those_of_the_documentation() -> None:
    settings = LocalSettings.from_environment({"LOCAL_MODELS_ENABLED": "true"})
    assert settings.is_configured()
    assert Path("models") == settings.directory
    assert (
        settings.context_tokens,
        settings.threads,
        settings.gpu_layers,
        settings.queue,
        settings.max_loaded,
    ) == (8192, 0, -1, 16, 2)
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    for field, (variable,) in LocalSettings.variables().items():
        default = LocalSettings.model_fields[field].default
        shown = str(default).lower() if isinstance(default, bool) else default
        shown = f"./{shown}" if isinstance(shown, Path) else shown
        assert f"| `{variable}` | `{shown}` |" in readme


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOCAL_CONTEXT_TOKENS", "63"),
        ("LOCAL_THREADS", "-1"),
        ("LOCAL_GPU_LAYERS", "all"),
        ("LOCAL_QUEUE", "-1"),
        ("LOCAL_MAX_LOADED", "0"),
        ("LOCAL_MODELS_ENABLED", "perhaps"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        LocalSettings.from_environment({variable: value})


def test_threads_left_alone_are_all_cores_but_one_and_at_least_one() -> None:
    assert LocalSettings().compute_threads >= 1
    assert LocalSettings(threads=3).compute_threads == 3


def test_an_upstream_is_set_up_by_options_alone(tmp_path: Path) -> None:
    context = AdapterContext(http=NoNetwork(), logger=logging.getLogger(__name__))
    options = {"directory": str(tmp_path), "context_tokens": "512"}
    upstream = UpstreamSettings(provider="llamacpp", options=options)

    settings = LlamaCppAdapter.build_upstream("local", upstream, context).settings

    assert isinstance(settings, LocalSettings)
    assert (tmp_path, 512) == (settings.directory, settings.context_tokens)


@pytest.mark.parametrize(
    ("upstream", "field"),
    [
        (UpstreamSettings(provider="llamacpp", api_key=SecretStr("key")), "sk"),
        (UpstreamSettings(provider="llamacpp", base_url="http://a.example"), "endpoint"),
        (UpstreamSettings(provider="llamacpp", options={"queue": "-1"}), "options.queue"),
        (UpstreamSettings(provider="llamacpp", options={"other": "1"}), "options.other"),
    ],
    ids=["key", "endpoint", "wrong value", "unknown option"],
)
def test_a_wrong_upstream_names_its_field(upstream: UpstreamSettings, field: str) -> None:
    context = AdapterContext(http=NoNetwork(), logger=logging.getLogger(__name__))
    with pytest.raises(ConfigurationError) as caught:
        LlamaCppAdapter.build_upstream("local", upstream, context)
    assert field == caught.value.variable
