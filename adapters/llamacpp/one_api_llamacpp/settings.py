"""The variables of the local adapter: where models lie and how much of the machine they get."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from one_api.adapter import AdapterSettings


class LocalSettings(AdapterSettings):
    """`LOCAL_*` variables; sizes are in tokens, models, requests or threads as their names say."""

    hint: ClassVar[str] = "set LOCAL_MODELS_ENABLED=true and put .gguf files into LOCAL_MODELS_DIR"

    enabled: bool = Field(default=False, validation_alias="LOCAL_MODELS_ENABLED")
    directory: Path = Field(default=Path("./models"), validation_alias="LOCAL_MODELS_DIR")
    #: Most tokens of prompt and completion together; less where the model was trained on less.
    #: Its memory is taken in full when a model is loaded.
    context_tokens: Annotated[int, Field(ge=64, le=1_048_576)] = Field(
        default=8192, validation_alias="LOCAL_CONTEXT_TOKENS"
    )
    #: Threads that compute; 0 means all cores but one.
    threads: Annotated[int, Field(ge=0, le=512)] = Field(
        default=0, validation_alias="LOCAL_THREADS"
    )
    #: Layers kept on a GPU; -1 means all. A build without GPU support ignores it.
    gpu_layers: Annotated[int, Field(ge=-1, le=10_000)] = Field(
        default=-1, validation_alias="LOCAL_GPU_LAYERS"
    )
    #: Requests that may wait for one model while it answers another.
    queue: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=16, validation_alias="LOCAL_QUEUE"
    )
    #: Models in memory at once; the one unused longest leaves for the next.
    max_loaded: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, validation_alias="LOCAL_MAX_LOADED"
    )

    @override
    def is_configured(self) -> bool:
        return self.enabled

    @property
    def compute_threads(self) -> int:
        """How many threads compute.

        One core stays free by default: llama.cpp's threads meet at a barrier several hundred
        times per token, and a barrier that shares its core with the gateway costs a time slice.
        """
        return self.threads or max(1, _usable_cores() - 1)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
