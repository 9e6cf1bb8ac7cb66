"""The variables of the local adapter: where models lie and how much of the machine they get."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from typing_extensions import override

from one_api.adapter import AdapterSettings
from one_api_llamacpp.worker_settings import FlashAttention, KVType, WorkerSettings

_MIB: Final = 1024 * 1024
#: Of the machine's memory, what models may take unless LOCAL_MEMORY_MB says otherwise.
_DEFAULT_SHARE: Final = 0.75
#: Where Linux tells how much memory a container may use.
_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def _as_ids(value: object) -> object:
    """A list of model ids, written with commas."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


class LocalSettings(AdapterSettings):
    """`LOCAL_*` variables; units are in their names."""

    hint: ClassVar[str] = "on unless LOCAL_MODELS_ENABLED=false; .gguf files in LOCAL_MODELS_DIR"

    enabled: bool = Field(default=True, validation_alias="LOCAL_MODELS_ENABLED")
    directory: Path = Field(default=Path("./models"), validation_alias="LOCAL_MODELS_DIR")
    #: Answers of one model that are worked on together.
    parallel: Annotated[int, Field(ge=1, le=256)] = Field(
        default=8, validation_alias="LOCAL_PARALLEL"
    )
    #: Tokens of prompt and completion that a model holds, of all its answers together. One answer
    #: may use all of them, up to what the model was trained on. Taken when a model is loaded.
    context_tokens: Annotated[int, Field(ge=64, le=4_194_304)] = Field(
        default=8192, validation_alias="LOCAL_CONTEXT_TOKENS"
    )
    #: Threads that compute, one token or several; 0 means all cores but one.
    threads: Annotated[int, Field(ge=0, le=512)] = Field(
        default=0, validation_alias="LOCAL_THREADS"
    )
    #: Layers kept on a GPU; -1 means all. A build without GPU support ignores it.
    gpu_layers: Annotated[int, Field(ge=-1, le=10_000)] = Field(
        default=-1, validation_alias="LOCAL_GPU_LAYERS"
    )
    #: Most tokens of one evaluation, of all answers together.
    batch_tokens: Annotated[int, Field(ge=32, le=16_384)] = Field(
        default=512, validation_alias="LOCAL_BATCH_TOKENS"
    )
    #: Most tokens of an evaluation that are computed at once.
    micro_batch_tokens: Annotated[int, Field(ge=32, le=16_384)] = Field(
        default=512, validation_alias="LOCAL_MICRO_BATCH_TOKENS"
    )
    #: How the tokens held are stored: `q8_0` needs half of the memory of `f16`.
    kv_type: KVType = Field(default="f16", validation_alias="LOCAL_KV_TYPE")
    flash_attention: FlashAttention = Field(
        default="auto", validation_alias="LOCAL_FLASH_ATTENTION"
    )
    #: Requests that may wait for one model while it works on others.
    queue: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=32, validation_alias="LOCAL_QUEUE"
    )
    #: Memory of all loaded models together; 0 means three quarters of the machine's.
    memory_mb: Annotated[int, Field(ge=0, le=16_777_216)] = Field(
        default=0, validation_alias="LOCAL_MEMORY_MB"
    )
    #: A model that nobody asked for so long is unloaded; 0 means never.
    idle_unload_s: Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)] = Field(
        default=0.0, validation_alias="LOCAL_IDLE_UNLOAD_S"
    )
    #: Models that are loaded at the start and stay.
    pinned: Annotated[tuple[str, ...], BeforeValidator(_as_ids)] = Field(
        default=(), validation_alias="LOCAL_PINNED"
    )

    @field_validator("flash_attention")
    @classmethod
    def _fits_the_kv_type(cls, value: FlashAttention, info: ValidationInfo) -> FlashAttention:
        if value == "off" and info.data.get("kv_type") == "q8_0":
            raise ValueError("LOCAL_KV_TYPE=q8_0 needs flash attention")
        return value

    @override
    def is_configured(self) -> bool:
        return self.enabled

    @property
    def is_directory_given(self) -> bool:
        """Whether somebody chose the directory, so that its absence is a mistake."""
        return bool(self.directory != type(self).model_fields["directory"].default)

    @property
    def compute_threads(self) -> int:
        """How many threads compute.

        One core stays free by default: llama.cpp's threads meet at a barrier several hundred
        times per token, and a barrier that shares its core with the gateway costs a time slice.
        """
        return self.threads or max(1, _usable_cores() - 1)

    @property
    def memory_bytes(self) -> int:
        """What all loaded models may take together, in bytes."""
        return self.memory_mb * _MIB or int(_machine_memory_bytes() * _DEFAULT_SHARE)

    def for_worker(self, name: str, path: Path, *, is_embedding: bool) -> WorkerSettings:
        """What the worker of the model in `path` is told."""
        return WorkerSettings(
            path=path,
            name=name,
            context_tokens=self.context_tokens,
            parallel=self.parallel,
            threads=self.compute_threads,
            gpu_layers=self.gpu_layers,
            batch_tokens=self.batch_tokens,
            micro_batch_tokens=self.micro_batch_tokens,
            kv_type=self.kv_type,
            flash_attention=self.flash_attention,
            queue=self.queue,
            kind="embedding" if is_embedding else "chat",
        )


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _machine_memory_bytes() -> int:
    """The memory of the machine, or of the container where that may use less."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on Windows
        physical = 8 * 1024 * _MIB
    try:
        return min(physical, int(_CGROUP_LIMIT.read_text("ascii")))
    except (OSError, ValueError):  # no Linux, no limit ("max"), or the older kind of cgroups
        return physical
