"""The engine: one model, many answers, one evaluation per step for all of them.

Each step takes one token of every answer that is being generated, fills the batch up with tokens
of prompts that are being read, evaluates that, and samples. Prompts are read in pieces as long as
others are being answered, so that these do not wait. Answers share the model's memory: a new one
begins with whatever sequence holds most of its prompt, and waits if another is reading the same
prompt right now. Memory is reserved for what an answer will probably need; when it runs out all
the same, the answer begun last is put off and its tokens are evaluated again later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from one_api.adapter import (
    Event,
    GatewayError,
    InternalError,
    UpstreamRateLimited,
    UpstreamServerError,
)
from one_api_llamacpp.admission import FairQueue
from one_api_llamacpp.batch_model import BatchModel, Interrupted, MemoryFull, Part
from one_api_llamacpp.jobs import Job, Output, Run
from one_api_llamacpp.placement import Placement
from one_api_llamacpp.sequences import SequenceTable, Slot

#: How long a step may take while somebody waits for the next token of an answer, and else.
_BUSY_STEP_S: Final = 0.15
_IDLE_STEP_S: Final = 0.6
#: Fewest prompt tokens of a step: with fewer, its fixed costs are what counts.
_MIN_CHUNK: Final = 32
#: Prompt tokens of a step that is worth breaking off when the one who asked has left.
_WORTH_INTERRUPTING: Final = 64


@dataclass(slots=True)
class Tally:
    """What the engine has done so far, in tokens and times."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    completion_tokens: int = 0
    preemptions: int = 0


_Slot = Slot[Run]
#: Tokens of one answer in one evaluation.
_Share = tuple[_Slot, Run, Sequence[int]]


class BatchEngine:
    """Answers jobs with `model`; `step` is called on its thread, the rest from any.

    At most `queue_limit` jobs wait for a sequence. `emit` is told once a step what all jobs got;
    `report` of a fault of ours that ended one of them.
    """

    def __init__(
        self,
        model: BatchModel,
        *,
        name: str,
        queue_limit: int,
        emit: Callable[[Sequence[Output]], None],
        report: Callable[[Exception], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model = model
        self._name = name
        self._queue_limit = queue_limit
        self._emit = emit
        self._report = report
        self._clock = clock
        self._table: SequenceTable[Run] = SequenceTable(model)
        self._placement = Placement(model, self._table)
        # Guards the queue and the runs by job, which other threads change.
        self._lock = threading.Lock()
        self._queue: FairQueue[Run] = FairQueue()
        self._runs: dict[Job, Run] = {}
        #: Runs whose prompt is a good part of the evaluation under way.
        self._being_read: Sequence[Run] = ()
        #: Left while they waited; what they have of the model is given back on its thread.
        self._abandoned: list[Run] = []
        self._outputs: list[Output] = []
        self._prompt_rate = 500.0
        self._answer_s = 1.0
        self.tally = Tally()

    # From any thread

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have `jobs`, one request's, answered; all of them or none.

        Raises: UpstreamRateLimited when too many wait already.
        """
        with self._lock:
            if len(self._runs) >= self._model.sequences + self._queue_limit:
                raise UpstreamRateLimited(
                    f"The local model '{self._name}' is busy, and as many requests wait for it as "
                    "may.",
                    retry_after_s=self._wait_s(),
                )
            for job in jobs:
                run = self._runs[job] = Run(job, list(job.tokens))
                self._queue.put(job.caller, run)

    def cancel(self, job: Job) -> None:
        """End `job`; the step under way may still tell of it, no later one."""
        with self._lock:
            run = self._runs.pop(job, None)
            if run is None:
                return
            run.is_cancelled = True
            if self._queue.remove(job.caller, run):
                self._abandoned.append(run)
            elif run in self._being_read:
                self._model.interrupt()

    @property
    def active(self) -> int:
        """Sequences that are worked on."""
        return sum(slot.run is not None for slot in self._table.slots)

    @property
    def waiting(self) -> int:
        """Jobs without a sequence."""
        with self._lock:
            return len(self._queue)

    @property
    def used_cells(self) -> int:
        """Cells of the model's memory that hold something."""
        return self._table.used

    @property
    def cells(self) -> int:
        """Cells of the model's memory in all."""
        return self._model.cells

    def _wait_s(self) -> float:
        """How long until those who wait now have been answered, as far as one can tell."""
        return max(1.0, self._answer_s * len(self._queue) / self._model.sequences)

    # On the engine's thread

    def step(self) -> bool:
        """Go on with all answers by one evaluation; whether there was anything to do."""
        self._clear_away()
        self._admit()
        chosen = self._plan()
        if chosen:
            self._evaluate(chosen)
        self._flush()
        return bool(chosen)

    def _clear_away(self) -> None:
        """Give back what those who left had."""
        with self._lock:
            abandoned, self._abandoned = self._abandoned, []
        for run in abandoned:
            self._close(run)
        for slot in self._table.active():
            if slot.run is not None and slot.run.is_cancelled:
                self._release(slot)

    def _flush(self) -> None:
        if self._outputs:
            outputs, self._outputs = self._outputs, []
            self._emit(outputs)

    def _admit(self) -> None:
        """Give idle slots to those whose turn it is, as long as memory lasts."""
        while any(slot.run is None for slot in self._table.slots):
            with self._lock:
                heads = list(self._queue.heads())
            ready = next((head for head in heads if not self._placement.is_led(head[1])), None)
            slot = self._placement.find(ready[1]) if ready is not None else None
            if ready is None or slot is None:
                return
            caller, run = ready
            with self._lock:
                if run.is_cancelled:
                    continue
                self._queue.take(caller)
            self._begin(slot, run)

    def _begin(self, slot: _Slot, run: Run) -> None:
        self._table.assign(slot, run)
        if run.reader is not None:
            return  # put off before: its reader and sampler know what was sampled
        run.began_s = self._clock()
        self.tally.reused_tokens += len(slot.tokens)
        self._outputs.append(Output(run.job))
        with self._ending_on_error(slot, run):
            run.reader = run.job.open(len(slot.tokens))
            run.sampler = self._model.sampler(run.job.sampling)

    def _plan(self) -> list[_Share]:
        """Whose tokens the next evaluation takes, with memory for all of them."""
        while True:
            chosen = self._choose()
            need = sum(len(tokens) for _, _, tokens in chosen)
            if need <= self._table.free or not self._make_room():
                return chosen

    def _choose(self) -> list[_Share]:
        chosen: list[_Share] = []
        reading: list[tuple[_Slot, Run]] = []
        for slot in self._table.active():
            run = slot.run
            if run is None:
                continue
            if run.is_decoding and len(slot.tokens) == len(run.tokens) - 1:
                chosen.append((slot, run, run.tokens[-1:]))
            else:
                reading.append((slot, run))
        step_s = _BUSY_STEP_S if chosen else _IDLE_STEP_S
        budget = min(
            self._model.batch_tokens - len(chosen), max(_MIN_CHUNK, int(self._prompt_rate * step_s))
        )
        for slot, run in reading:
            if budget <= 0:
                break
            tokens = run.tokens[len(slot.tokens) : len(slot.tokens) + budget]
            chosen.append((slot, run, tokens))
            budget -= len(tokens)
        return chosen

    def _make_room(self) -> bool:
        """Free cells of what nobody works with, else of who came last; whether there were any."""
        if self._table.evict():
            return True
        active = self._table.active()
        if len(active) < 2:
            return False
        slot = active[-1]
        run = slot.run
        self._table.assign(slot, None)
        self._table.truncate(slot, 0)
        if run is not None:
            self.tally.preemptions += 1
            with self._lock:
                if not run.is_cancelled:
                    self._queue.put_back(run.job.caller, run)
                    return True
            self._close(run)
        return True

    def _evaluate(self, chosen: list[_Share]) -> None:
        parts = [
            Part(
                slot.number,
                len(slot.tokens),
                tokens,
                len(slot.tokens) + len(tokens) == len(run.tokens),
            )
            for slot, run, tokens in chosen
        ]
        began_s = self._clock()
        try:
            rows = self._run_model(chosen, parts)
        except Interrupted:
            self._roll_back(chosen)
            return
        except MemoryFull:
            if not self._make_room():
                self._fail(chosen, UpstreamServerError("The local model's memory is full."))
            return
        except GatewayError as exc:
            self._fail(chosen, exc)
            return
        self._note_speed(chosen, self._clock() - began_s)
        for slot, _, tokens in chosen:
            self._table.add(slot, tokens)
        ready = [
            (slot, run)
            for (slot, run, _), part in zip(chosen, parts, strict=True)
            if part.wants_logits
        ]
        for (slot, run), row in zip(ready, rows, strict=True):
            self._take_token(slot, run, row)

    def _run_model(self, chosen: list[_Share], parts: Sequence[Part]) -> list[int]:
        with self._lock:
            self._being_read = [
                run for _, run, tokens in chosen if len(tokens) >= _WORTH_INTERRUPTING
            ]
        try:
            return self._model.evaluate(parts)
        finally:
            with self._lock:
                self._being_read = ()
                # An interruption that came too late must not hit the next step.
                self._model.allow()

    def _roll_back(self, chosen: list[_Share]) -> None:
        """Have the model hold what the table says again; the rest is evaluated anew."""
        for slot, _, _ in chosen:
            self._table.truncate(slot, len(slot.tokens) if self._model.can_fork else 0)

    def _note_speed(self, chosen: list[_Share], duration_s: float) -> None:
        read = sum(len(tokens) for slot, run, tokens in chosen if self._is_reading(slot, run))
        self.tally.prompt_tokens += read
        if read >= _MIN_CHUNK and duration_s > 0:
            self._prompt_rate += 0.3 * (read / duration_s - self._prompt_rate)

    def _is_reading(self, slot: _Slot, run: Run) -> bool:
        return len(slot.tokens) < len(run.job.tokens)

    def _take_token(self, slot: _Slot, run: Run, row: int) -> None:
        """Sample the next token of one answer and tell what it makes certain."""
        reader, sampler = run.reader, run.sampler
        if reader is None or sampler is None:
            raise AssertionError("a run that was not begun was evaluated")
        tokeniser = self._model.tokeniser
        with self._ending_on_error(slot, run):
            token, logprobs = sampler.sample(row)
            self.tally.completion_tokens += 1
            if tokeniser.ends_turn(token):
                self._end(slot, run, reader.end_turn())
                return
            events = reader.take(tokeniser.piece(token), logprobs)
            if reader.finished:
                self._end(slot, run, events)
                return
            run.tokens.append(token)
            if len(run.tokens) > run.reserved:
                run.reserve()
            if events:
                self._outputs.append(Output(run.job, events))

    @contextmanager
    def _ending_on_error(self, slot: _Slot, run: Run) -> Iterator[None]:
        """Have an error end this answer and no other."""
        try:
            yield
        except GatewayError as exc:
            self._end(slot, run, error=exc)
        except Exception as exc:  # noqa: BLE001 - a fault of ours; the others are not to suffer
            self._report(exc)
            self._end(slot, run, error=InternalError("The local model failed to answer."))

    def _fail(self, chosen: list[_Share], error: GatewayError) -> None:
        """End all answers of an evaluation, after which nothing of their slots is certain."""
        for slot, run, _ in chosen:
            self._end(slot, run, error=error)
            self._table.truncate(slot, 0)

    def _end(
        self,
        slot: _Slot,
        run: Run,
        events: Sequence[Event] = (),
        error: GatewayError | None = None,
    ) -> None:
        self._outputs.append(Output(run.job, events, is_last=True, error=error))
        # A moving average over about four answers.
        self._answer_s += (self._clock() - run.began_s - self._answer_s) / 4
        with self._lock:
            self._runs.pop(run.job, None)
        self._release(slot)

    def _release(self, slot: _Slot) -> None:
        """Take `slot` back; what it holds stays for who begins the same way."""
        run = slot.run
        self._table.assign(slot, None)
        if run is not None:
            self._close(run)

    def _close(self, run: Run) -> None:
        if run.sampler is not None:
            run.sampler.close()
