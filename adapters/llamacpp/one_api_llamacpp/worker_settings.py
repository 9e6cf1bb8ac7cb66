"""What one worker process is told to load, and how."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

KVType = Literal["f16", "q8_0"]
FlashAttention = Literal["auto", "on", "off"]
Kind = Literal["chat", "embedding"]
Pooling = Literal["model", "mean", "cls", "last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """One model and what it gets of the machine.

    `context_tokens` are shared by all sequences of the model, of which `parallel` are answered at
    a time; one of them may use all, up to what the model was trained on. `threads` compute when
    there is one token to compute and `batch_threads` when there are more (0: as many).
    `batch_tokens` is the most one evaluation takes and `micro_batch_tokens` the most it computes
    at once. `queue` requests may wait.

    A `chat` model embeds too, in a second context that is made when it is first asked to; an
    `embedding` model only embeds. `pooling` `model` is the file's own kind, the mean where it
    names none. `chat_template` replaces the file's.
    """

    path: Path
    name: str
    context_tokens: int = 8192
    parallel: int = 8
    threads: int = 1
    batch_threads: int = 0
    gpu_layers: int = 0
    batch_tokens: int = 512
    micro_batch_tokens: int = 512
    kv_type: KVType = "f16"
    flash_attention: FlashAttention = "auto"
    queue: int = 32
    kind: Kind = "chat"
    pooling: Pooling = "model"
    chat_template: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return {**asdict(self), "path": str(self.path)}

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """The settings in an object that `to_wire` made."""
        return cls(**{**fields, "path": Path(fields["path"])})
