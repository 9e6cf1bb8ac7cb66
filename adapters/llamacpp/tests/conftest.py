"""Fixtures of the local adapter's tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.llamacpp.tests.local_models import make_adapter, worker_processes
from adapters.llamacpp.tests.make_gguf import write_scripted
from one_api_llamacpp.adapter import LlamaCppAdapter

AdapterFactory = Callable[..., LlamaCppAdapter]
ModelWriter = Callable[..., Path]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty directory for models."""
    directory = tmp_path / "models"
    directory.mkdir()
    return directory


@pytest.fixture
def write_model(models: Path) -> ModelWriter:
    """Writes a model that answers a given text into `models`."""

    def write(name: str, text: str = "Hello there!", **options: Any) -> Path:
        path = models / f"{name}.gguf"
        write_scripted(path, text, **options)
        return path

    return write


@pytest.fixture
async def local(models: Path) -> AsyncGenerator[AdapterFactory, None]:
    """Makes adapters over `models`, closed after the test, which may leave no process behind."""
    made: list[LlamaCppAdapter] = []

    def make(**variables: str) -> LlamaCppAdapter:
        made.append(make_adapter(models, **variables))
        return made[-1]

    yield make
    for adapter in made:
        await adapter.close()
    assert worker_processes() == []
