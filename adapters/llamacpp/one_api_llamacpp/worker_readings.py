"""The numbers of one worker, kept by its parent over the lives of the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from one_api.adapter import JsonObject, Reading
from one_api_llamacpp.frames import MalformedFrame

Kind = Literal["gauge", "counter"]

#: What a worker tells, by name: whether it only grows, and what it is.
READINGS: Final[dict[str, tuple[Kind, str]]] = {
    "local_active_sequences": ("gauge", "Answers that a local model works on together"),
    "local_waiting_requests": ("gauge", "Requests that wait for a local model"),
    "local_tokens_per_second": ("gauge", "Completion tokens per second of a local model, lately"),
    "local_cache_tokens": ("gauge", "Tokens in the memory of a local model"),
    "local_cache_capacity_tokens": ("gauge", "Tokens that the memory of a local model holds"),
    "local_worker_memory_bytes": ("gauge", "Resident memory of a local model's process"),
    "local_prompt_tokens_total": ("counter", "Prompt tokens that a local model evaluated"),
    "local_reused_tokens_total": ("counter", "Prompt tokens that needed no evaluation"),
    "local_completion_tokens_total": ("counter", "Completion tokens that a local model made"),
    "local_preemptions_total": ("counter", "Answers put off because the memory was full"),
}
_MEMORY: Final = "local_worker_memory_bytes"


class WorkerReadings:
    """The latest numbers of the worker of `model`."""

    def __init__(self, model: str) -> None:
        self._labels = {"model": model}
        self._latest: dict[str, float] = {}
        #: What the processes before counted.
        self._before: dict[str, float] = {}
        self._restarts = 0

    @property
    def memory_bytes(self) -> int:
        """What the process held when it last told."""
        return int(self._latest.get(_MEMORY, 0))

    def take(self, message: JsonObject) -> None:
        """Note the numbers in a worker's message.

        Raises: MalformedFrame.
        """
        values = message.get("readings")
        if not isinstance(values, dict):
            raise MalformedFrame("readings without numbers")
        for name in READINGS.keys() & values.keys():
            if not isinstance(values[name], int | float):
                raise MalformedFrame("readings without numbers")
            self._latest[name] = values[name]

    def restart(self) -> None:
        """The process ended, and with it what it counted."""
        self._restarts += 1
        for name, value in self._latest.items():
            if READINGS[name][0] == "counter":
                self._before[name] = self._before.get(name, 0) + value
        self._latest = {}

    def told(self, *, is_alive: bool) -> Iterator[Reading]:
        """The numbers; those of the moment only while there is a process."""
        for name, (kind, help_) in READINGS.items():
            if kind == "counter":
                value = self._before.get(name, 0) + self._latest.get(name, 0)
            else:
                value = self._latest.get(name, 0) if is_alive else 0
            yield Reading(name=name, value=value, help=help_, kind=kind, labels=self._labels)
        yield Reading(
            name="local_worker_restarts_total",
            value=self._restarts,
            help="Times that the process of a local model was started again",
            kind="counter",
            labels=self._labels,
        )
