"""The parent's side of one local model: a worker process, started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import count
from typing import Final, Self

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    Clock,
    CompletionRequest,
    EmbeddingRequest,
    Embeddings,
    Event,
    GatewayError,
    JsonObject,
    NoDeploymentAvailable,
    Notice,
    Reading,
    RequestTooLarge,
    UnsupportedParameter,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamInvalidResponse,
)
from one_api_llamacpp import frames
from one_api_llamacpp.frames import Count, Degraded, Item, MalformedFrame, Vectors
from one_api_llamacpp.inbox import Inbox
from one_api_llamacpp.worker_process import WorkerProcess
from one_api_llamacpp.worker_readings import WorkerReadings
from one_api_llamacpp.worker_settings import WorkerSettings

#: How long to wait before a worker that ended is started again, in seconds: at first, at most.
FIRST_DELAY_S: Final = 0.5
MAX_DELAY_S: Final = 30.0
#: A worker that ran so long was healthy: its end does not count with those before.
HEALTHY_S: Final = 60.0

Notify = Callable[[Notice], None]


class Worker:
    """One loaded model. Made by `open`, on the event loop that uses it; ended by `close`."""

    def __init__(
        self, settings: WorkerSettings, *, clock: Clock, notify: Notify, logger: logging.Logger
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._notify = notify
        self._logger = logger
        self._ids = count(1)
        self._inboxes: dict[int, Inbox[Item]] = {}
        self._readings = WorkerReadings(settings.name)
        #: None while there is none to ask.
        self._process: WorkerProcess | None = None
        self._ready_at_s = 0.0
        self._supervision: asyncio.Task[None] | None = None
        self._is_closed = False
        #: Most tokens of prompt and completion together.
        self.context_tokens = 0

    @classmethod
    async def open(
        cls, settings: WorkerSettings, *, clock: Clock, notify: Notify, logger: logging.Logger
    ) -> Self:
        """A worker that has loaded its model.

        Raises: UpstreamError when it cannot; the reason is logged.
        """
        worker = cls(settings, clock=clock, notify=notify, logger=logger)
        process = await worker._launch()
        worker._supervision = asyncio.create_task(worker._supervise(process))
        return worker

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked now."""
        return self._process is not None

    @property
    def memory_bytes(self) -> int:
        """What the process last said it holds of the machine's memory; 0 while there is none."""
        return self._readings.memory_bytes if self.is_alive else 0

    @property
    def pid(self) -> int | None:
        """The number of the process, if there is one to ask."""
        return self._process.pid if self._process is not None else None

    async def generate(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[Event, None]:
        """The events of the answer; closing the generator ends it within one evaluation.

        Raises: InvalidRequest, UpstreamRateLimited when too many wait, NoDeploymentAvailable while
        the worker is started again, UpstreamDisconnected when it ends, UpstreamError.
        """
        async with aclosing(self._answer("chat", request.to_wire(), call)) as events:
            async for event in events:
                yield event

    async def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """The events of a legacy completion; as `generate`."""
        async with aclosing(self._answer("completion", request.to_wire(), call)) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        """The vectors for `request`, each of length 1, cut to `dimensions` where that is asked.

        Raises: as `generate`.
        """
        vectors: list[Sequence[float]] = []
        tokens = 0
        async with aclosing(self._ask("embedding", request.to_wire(), call)) as items:
            async for item in items:
                if isinstance(item, Vectors):
                    vectors += item.vectors
                elif isinstance(item, Count):
                    tokens = item.tokens
        if len(vectors) != len(request.inputs):
            raise UpstreamInvalidResponse(f"{self._called} sent another number of vectors.")
        return Embeddings(vectors=vectors, prompt_tokens=tokens)

    async def count_tokens(self, request: ChatCompletionRequest, call: Call) -> int:
        """How many tokens the prompt of `request` has.

        Raises: as `generate`.
        """
        async with aclosing(self._ask("count", request.to_wire(), call)) as items:
            async for item in items:
                if isinstance(item, Count):
                    return item.tokens
        raise UpstreamInvalidResponse(f"{self._called} sent no count.")

    def readings(self) -> Iterable[Reading]:
        """What the worker is doing, as numbers; counters go on over its restarts."""
        return self._readings.told(is_alive=self.is_alive)

    async def close(self) -> None:
        """End the process; requests that are being answered end with NoDeploymentAvailable."""
        self._is_closed = True
        if self._supervision is not None:
            self._supervision.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervision
        self._end_all(self._unavailable())

    @property
    def _called(self) -> str:
        return f"The local model '{self._settings.name}'"

    async def _answer(self, kind: str, body: JsonObject, call: Call) -> AsyncGenerator[Event, None]:
        async with aclosing(self._ask(kind, body, call)) as items:
            async for item in items:
                if isinstance(item, Degraded):
                    self._note(item, call)
                elif isinstance(item, Vectors | Count):
                    raise UpstreamInvalidResponse(f"{self._called} sent no events.")
                else:
                    yield item

    def _note(self, degraded: Degraded, call: Call) -> None:
        for parameter in degraded.parameters:
            if call.strict_params:
                raise UnsupportedParameter(
                    f"The chat template of local model '{self._name}' has no place for all of "
                    f"'{parameter}'.",
                    param=parameter,
                )
            if parameter not in call.degraded:
                call.degraded.append(parameter)

    async def _ask(self, kind: str, body: JsonObject, call: Call) -> AsyncGenerator[Item, None]:
        """What the worker answers to one request; closing the generator cancels it there."""
        process = self._process
        if process is None:
            raise self._unavailable()
        id_ = next(self._ids)
        try:
            process.post({"kind": kind, "id": id_, "caller": call.caller, "body": body})
        except MalformedFrame as exc:
            raise RequestTooLarge("The request is too large for a local model.") from exc
        inbox = self._inboxes[id_] = Inbox()
        try:
            await process.drain()
            while items := await inbox.receive():
                for item in items:
                    yield item
        finally:
            del self._inboxes[id_]
            if not inbox.is_closed:
                process.post({"kind": "cancel", "id": id_})

    async def _supervise(self, process: WorkerProcess) -> None:
        """Serve with `process`, and after its end with the next one, until cancelled."""
        delay_s = FIRST_DELAY_S
        while True:
            began_s = self._clock.monotonic_s()
            reason = await self._serve(process)
            if self._clock.monotonic_s() - began_s >= HEALTHY_S:
                delay_s = FIRST_DELAY_S
            self._logger.error("The worker of local model '%s' ended: %s", self._name, reason)
            self._tell(f"Its worker ended: {reason}. Started again in {delay_s:g} s.")
            process, delay_s = await self._restart(delay_s)
            self._tell("Its worker is running again.", is_recovery=True)

    async def _serve(self, process: WorkerProcess) -> str:
        """Hand on what `process` answers until it ends; why it did."""
        reason = ""
        try:
            while (message := await process.receive()) is not None:
                self._take(message)
        except MalformedFrame as exc:
            reason = f"it sent {exc}"
            process.kill()
        finally:
            self._process = None
            await process.close()
        self._end_all(UpstreamDisconnected(f"{self._called} broke off its answer."))
        return reason or process.post_mortem()

    async def _restart(self, delay_s: float) -> tuple[WorkerProcess, float]:
        """A new process, and how long to wait before the one after it."""
        self._readings.restart()
        while True:
            self._ready_at_s = self._clock.monotonic_s() + delay_s
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)
            try:
                return await self._launch(), delay_s
            except GatewayError as exc:
                self._logger.warning("%s Next try in %g s.", exc.message, delay_s)

    async def _launch(self) -> WorkerProcess:
        """A process that has loaded the model."""
        try:
            process = await WorkerProcess.start(self._logger)
        except OSError as exc:
            raise UpstreamError(f"{self._called} cannot be loaded: no process for it.") from exc
        try:
            process.post({"kind": "load", "settings": self._settings.to_wire()})
            await self._load(process)
        except BaseException:
            process.kill()
            await process.close()
            raise
        self._process = process
        return process

    async def _load(self, process: WorkerProcess) -> None:
        try:
            message = await process.receive()
            if message is not None and message["kind"] == "loaded":
                self.context_tokens = int(message["context_tokens"])
                self._readings.take(message)
                return
            if message is not None:
                raise frames.error_from_wire(message["error"])
        except (MalformedFrame, KeyError, TypeError, ValueError) as exc:
            self._logger.error("Local model '%s' cannot be loaded: %r", self._name, exc)
            raise UpstreamError(f"{self._called} cannot be loaded.") from exc
        await process.close()
        self._logger.error(
            "Local model '%s' ended its process while it was loaded: %s",
            self._name,
            process.post_mortem(),
        )
        raise UpstreamError(
            f"{self._called} cannot be loaded: its file is damaged or memory is short."
        )

    def _take(self, message: JsonObject) -> None:
        if message["kind"] == "readings":
            self._readings.take(message)
            return
        if message["kind"] != "answers":
            raise MalformedFrame("a frame of an unknown kind")
        for answer in frames.answers_from_wire(message):
            inbox = self._inboxes.get(answer.id)  # a cancelled request has none
            if inbox is not None:
                inbox.put(answer.items)
                if answer.is_last:
                    inbox.close(answer.error)

    def _end_all(self, error: GatewayError) -> None:
        for inbox in self._inboxes.values():
            inbox.close(error)

    def _unavailable(self) -> GatewayError:
        if self._is_closed:
            return NoDeploymentAvailable(f"{self._called} is being unloaded.", retry_after_s=1.0)
        wait_s = self._ready_at_s - self._clock.monotonic_s()
        return NoDeploymentAvailable(
            f"{self._called} is being started again.", retry_after_s=max(1.0, wait_s)
        )

    @property
    def _name(self) -> str:
        return self._settings.name

    def _tell(self, message: str, *, is_recovery: bool = False) -> None:
        self._notify(
            Notice(
                kind="worker_crashed",
                subject=self._name,
                message=message,
                is_recovery=is_recovery,
            )
        )
