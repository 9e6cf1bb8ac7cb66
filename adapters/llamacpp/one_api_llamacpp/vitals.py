"""How a worker is doing, in the numbers that its parent keeps."""

from __future__ import annotations

import os
import time
from typing import Final

from one_api_llamacpp.batching import BatchEngine

#: How often a busy worker tells, in seconds.
_INTERVAL_S: Final = 1.0


class Vitals:
    """Reads the numbers of this process and its engine, on the engine's thread."""

    def __init__(self) -> None:
        self._told_at_s = 0.0
        self._told_tokens = 0
        self._was_busy = False

    def is_due(self, *, is_busy: bool) -> bool:
        """Whether it is time to tell: now and then while busy, and once more when that ends."""
        if not is_busy:
            was_busy, self._was_busy = self._was_busy, False
            return was_busy
        self._was_busy = True
        return time.monotonic() - self._told_at_s >= _INTERVAL_S

    def read(self, engine: BatchEngine | None) -> dict[str, float]:
        """The numbers now, by the names under which the gateway shows them."""
        values: dict[str, float] = {"local_worker_memory_bytes": _resident_bytes()}
        if engine is None:
            return values
        now_s, tally = time.monotonic(), engine.tally
        passed_s = now_s - self._told_at_s
        rate = (tally.completion_tokens - self._told_tokens) / passed_s if engine.active else 0.0
        self._told_at_s, self._told_tokens = now_s, tally.completion_tokens
        return {
            **values,
            "local_active_sequences": engine.active,
            "local_waiting_requests": engine.waiting,
            "local_tokens_per_second": rate,
            "local_cache_tokens": engine.used_cells,
            "local_cache_capacity_tokens": engine.cells,
            "local_prompt_tokens_total": tally.prompt_tokens,
            "local_reused_tokens_total": tally.reused_tokens,
            "local_completion_tokens_total": tally.completion_tokens,
            "local_preemptions_total": tally.preemptions,
        }


def _resident_bytes() -> int:
    """Memory that this process has in RAM, the model's file as far as it was read included."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no Linux: the parent goes by the size of the file
        return 0
