from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.llamacpp.tests.local_models import NoNetwork
from one_api.adapter import AdapterContext, ConfigurationError, UpstreamSettings
from one_api_llamacpp.adapter import LlamaCppAdapter
from one_api_llamacpp.settings import LocalSettings
from one_api_llamacpp.worker_settings import WorkerSettings


def test_local_models_are_on_until_they_are_switched_off() -> None:
    context = AdapterContext(http=NoNetwork(), logger=logging.getLogger(__name__))
    assert {"llamacpp"} == set(LlamaCppAdapter.build("llamacpp", {}, context))
    assert {} == LlamaCppAdapter.build("llamacpp", {"LOCAL_MODELS_ENABLED": "false"}, context)


def test_defaults_are_those_of_the_documentation() -> None:
    settings = LocalSettings.from_environment({})
    assert settings == LocalSettings()
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    for field, (variable,) in LocalSettings.variables().items():
        default = LocalSettings.model_fields[field].default
        shown = str(default).lower() if isinstance(default, bool) else default
        shown = f"./{shown}" if isinstance(shown, Path) else shown
        shown = f"{shown:g}" if isinstance(shown, float) else shown
        shown = ",".join(shown) if isinstance(shown, tuple) else shown
        cell = "" if shown == "" else f"`{shown}` "
        assert f"| `{variable}` | {cell}|" in readme


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOCAL_CONTEXT_TOKENS", "63"),
        ("LOCAL_THREADS", "-1"),
        ("LOCAL_GPU_LAYERS", "all"),
        ("LOCAL_QUEUE", "-1"),
        ("LOCAL_PARALLEL", "0"),
        ("LOCAL_BATCH_TOKENS", "1"),
        ("LOCAL_MICRO_BATCH_TOKENS", "x"),
        ("LOCAL_KV_TYPE", "f64"),
        ("LOCAL_FLASH_ATTENTION", "true"),
        ("LOCAL_MEMORY_MB", "-1"),
        ("LOCAL_IDLE_UNLOAD_S", "nan"),
        ("LOCAL_MODELS_ENABLED", "perhaps"),
    ],
)
def test_a_wrong_value_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        LocalSettings.from_environment({variable: value})


def test_a_short_kv_type_needs_flash_attention() -> None:
    short = {"LOCAL_KV_TYPE": "q8_0"}
    assert "q8_0" == LocalSettings.from_environment(short).kv_type
    with pytest.raises(ConfigurationError, match="LOCAL_FLASH_ATTENTION"):
        LocalSettings.from_environment({**short, "LOCAL_FLASH_ATTENTION": "off"})


def test_threads_left_alone_are_all_cores_but_one_and_at_least_one() -> None:
    assert LocalSettings().compute_threads >= 1
    assert LocalSettings(threads=3).compute_threads == 3


def test_memory_left_alone_is_a_part_of_the_machine() -> None:
    assert LocalSettings(memory_mb=100).memory_bytes == 100 * 1024 * 1024
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < LocalSettings().memory_bytes <= 0.75 * physical


@pytest.mark.parametrize(
    ("text", "expected"), [("a", ("a",)), (" a, b.Q4_0 ,", ("a", "b.Q4_0")), (",", ())]
)
def test_pinned_models_are_listed_with_commas(text: str, expected: tuple[str, ...]) -> None:
    assert expected == LocalSettings.from_environment({"LOCAL_PINNED": text}).pinned


def test_a_worker_is_told_what_was_set() -> None:
    settings = LocalSettings(
        parallel=3,
        context_tokens=999,
        threads=5,
        gpu_layers=7,
        batch_tokens=256,
        micro_batch_tokens=128,
        kv_type="q8_0",
        flash_attention="on",
        queue=11,
    )
    assert WorkerSettings(
        path=Path("/models/a.gguf"),
        name="a",
        parallel=3,
        context_tokens=999,
        threads=5,
        gpu_layers=7,
        batch_tokens=256,
        micro_batch_tokens=128,
        kv_type="q8_0",
        flash_attention="on",
        queue=11,
        kind="embedding",
    ) == settings.for_worker("a", Path("/models/a.gguf"), is_embedding=True)


def test_only_a_chosen_directory_is_missed() -> None:
    assert not LocalSettings().is_directory_given
    assert not LocalSettings.from_environment({"LOCAL_MODELS_DIR": "./models"}).is_directory_given
    assert LocalSettings.from_environment({"LOCAL_MODELS_DIR": "/models"}).is_directory_given


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
