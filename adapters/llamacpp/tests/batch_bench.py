"""An engine over a model without llama.cpp, with what it told, and prompts for it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.llamacpp.tests.batch_models import (
    HashModel,
    ListReader,
    expected_answer,
    make_job,
)
from one_api.adapter import GatewayError
from one_api_llamacpp.batching import BatchEngine
from one_api_llamacpp.jobs import Job, Output


@dataclass
class Bench:
    """An engine with what it told."""

    model: HashModel
    queue_limit: int = 100
    now_s: float = 0.0
    outputs: list[Output] = field(default_factory=list)
    emits: int = 0
    faults: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = BatchEngine(
            self.model,
            name="test",
            queue_limit=self.queue_limit,
            emit=self._take,
            report=self.faults.append,
            clock=lambda: self.now_s,
        )

    def _take(self, outputs: Sequence[Output]) -> None:
        assert outputs
        self.emits += 1
        self.outputs += outputs

    def ask(
        self, prompt: Sequence[int] | str, *, limit: int = 20, caller: str = ""
    ) -> tuple[Job, ListReader]:
        tokens = prompt.encode() if isinstance(prompt, str) else prompt
        job, reader = make_job(tokens, limit=limit, caller=caller)
        self.engine.submit([job])
        return job, reader

    def run(self, steps: int = 10_000) -> None:
        for _ in range(steps):
            if not self.engine.step():
                return
            self.now_s += 0.01
        raise AssertionError("the engine does not come to an end")

    def error_of(self, job: Job) -> GatewayError | None:
        (last,) = [output for output in self.outputs if output.job is job and output.is_last]
        return last.error

    def begun(self) -> list[Job]:
        return [out.job for out in self.outputs if not out.events and not out.is_last]


def answered(bench: Bench, job: Job, reader: ListReader) -> bool:
    """Whether `job` came to the end that it has alone."""
    assert bench.error_of(job) is None
    return reader.tokens == expected_answer(job.tokens, job.limit)


def lasting(length: int, *, limit: int = 20, seed: int = 0) -> bytes:
    """A prompt whose answer goes on until `limit`."""
    source = random.Random(seed)  # noqa: S311 - the same prompts every time, no secrets
    while True:
        prompt = bytes(source.randrange(1, 97) for _ in range(length))
        if len(expected_answer(prompt, limit)) == limit:
            return prompt
