"""One model answering one request after the other, on a thread of its own.

The thread loads the model, is the only one to compute with it, and frees it: llama.cpp's contexts
are not thread-safe, and each thread that computes gets its own pool of OpenMP threads.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from one_api.adapter import (
    Event,
    GatewayError,
    InternalError,
    NoDeploymentAvailable,
    Start,
    UpstreamOverloaded,
)
from one_api_llamacpp.language_model import Interrupted, LanguageModel
from one_api_llamacpp.mailbox import Mailbox
from one_api_llamacpp.prompt import Prompt
from one_api_llamacpp.reply import Reply


@dataclass(eq=False, slots=True)
class _Job:
    prompt: Prompt
    mailbox: Mailbox[Event]


class SerialEngine:
    """Answers prompts in the order they came; made by `open`, ended by `close`."""

    def __init__(
        self,
        load: Callable[[], LanguageModel],
        *,
        name: str,
        queue_limit: int,
        logger: logging.Logger,
    ) -> None:
        self._load = load
        self._name = name
        self._queue_limit = queue_limit
        self._logger = logger
        self._loaded: Future[LanguageModel] = Future()
        # Guards the three that follow, and orders `interrupt` with the change of jobs.
        self._turn = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: _Job | None = None
        self._is_closed = False
        self._answer_s = 1.0
        # A daemon: a process that is told to end does not wait for an answer to be complete.
        self._thread = threading.Thread(target=self._run, name=f"llamacpp-{name}", daemon=True)

    @classmethod
    async def open(
        cls,
        load: Callable[[], LanguageModel],
        *,
        name: str,
        queue_limit: int,
        logger: logging.Logger,
    ) -> Self:
        """An engine whose model `load` has loaded, on the engine's thread.

        At most `queue_limit` requests wait while one is answered.
        Raises: whatever `load` raises.
        """
        engine = cls(load, name=name, queue_limit=queue_limit, logger=logger)
        engine._thread.start()
        try:
            await asyncio.wrap_future(engine._loaded)
        except asyncio.CancelledError:
            engine._stop()
            raise
        return engine

    @property
    def model(self) -> LanguageModel:
        """The loaded model; only its methods for any thread may be called."""
        return self._loaded.result(timeout=0)

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        """The events of one answer; closing the generator ends or unqueues it.

        Raises: UpstreamOverloaded when the queue is full, NoDeploymentAvailable when the model is
        being unloaded, UpstreamError when it fails.
        """
        job = _Job(prompt, Mailbox(asyncio.get_running_loop()))
        self._submit(job)
        try:
            while events := await job.mailbox.receive():
                for event in events:
                    yield event
        finally:
            self._withdraw(job)

    async def close(self) -> None:
        """End the running answer, fail the waiting ones, free the model and its thread."""
        self._stop()
        await asyncio.to_thread(self._thread.join)

    # On the event loop

    def _submit(self, job: _Job) -> None:
        with self._turn:
            if self._is_closed:
                raise self._unloaded()
            if len(self._waiting) + (self._running is not None) > self._queue_limit:
                raise UpstreamOverloaded(
                    f"The local model '{self._name}' is busy and {self._queue_limit} requests "
                    "wait for it already.",
                    retry_after_s=max(1.0, self._answer_s),
                )
            self._waiting.append(job)
            self._turn.notify()

    def _withdraw(self, job: _Job) -> None:
        with self._turn:
            if job is self._running:
                self.model.interrupt()
            elif job in self._waiting:
                self._waiting.remove(job)

    def _stop(self) -> None:
        with self._turn:
            self._is_closed = True
            if self._running is not None:
                self.model.interrupt()
            while self._waiting:
                self._waiting.popleft().mailbox.close(self._unloaded())
            self._turn.notify()

    def _unloaded(self) -> GatewayError:
        return NoDeploymentAvailable(
            f"The local model '{self._name}' is being unloaded.", retry_after_s=1.0
        )

    # On the engine's thread

    def _run(self) -> None:
        if not self._loaded.set_running_or_notify_cancel():
            return
        try:
            model = self._load()
        except Exception as exc:  # noqa: BLE001 - whoever waits for the load must hear of it
            self._loaded.set_exception(exc)
            return
        with closing(model):
            self._loaded.set_result(model)
            while (job := self._next(model)) is not None:
                began = time.monotonic()
                self._answer(model, job)
                # A moving average over about four answers: one place in the queue per answer.
                self._answer_s += (time.monotonic() - began - self._answer_s) / 4

    def _next(self, model: LanguageModel) -> _Job | None:
        with self._turn:
            self._running = None
            self._turn.wait_for(lambda: self._waiting or self._is_closed)
            if self._is_closed:
                return None
            self._running = self._waiting.popleft()
            # The interruption of the job before must not hit this one.
            model.allow()
            return self._running

    def _answer(self, model: LanguageModel, job: _Job) -> None:
        try:
            for events in _generate(model, job.prompt):
                job.mailbox.put(events)
            job.mailbox.close()
        except Interrupted:
            job.mailbox.close(self._unloaded())  # read only if it was not the reader who left
        except GatewayError as exc:
            job.mailbox.close(exc)
        except Exception:
            # A fault of ours must end this answer, not the thread that all others wait for.
            self._logger.exception("Local model '%s' failed", self._name)
            model.rewind(())
            job.mailbox.close(InternalError("The local model failed to answer."))


def _generate(model: LanguageModel, prompt: Prompt) -> Iterator[Sequence[Event]]:
    """The events of one answer, in the batches that single tokens make certain."""
    cached = model.rewind(prompt.tokens)
    reply = Reply(prompt, cached_tokens=cached)
    yield (Start(),)
    with closing(model.sampler(prompt.sampling)) as sampler:
        for at in range(cached, len(prompt.tokens), model.batch_tokens):
            model.evaluate(prompt.tokens[at : at + model.batch_tokens])
        while not reply.finished:
            token = sampler.sample()
            if model.ends_turn(token):
                yield reply.end_turn()
                return
            yield reply.take(model.piece(token))
            if not reply.finished:
                model.evaluate((token,))
