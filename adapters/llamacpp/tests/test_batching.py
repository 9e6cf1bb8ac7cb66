"""The engine's scheduling, over a model whose answers show every mistake about what it holds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from adapters.llamacpp.tests.batch_models import (
    HashModel,
    ListReader,
    expected_answer,
    make_job,
)
from one_api.adapter import (
    GatewayError,
    InternalError,
    InvalidRequest,
    UpstreamRateLimited,
    UpstreamServerError,
)
from one_api_llamacpp.batch_model import Part, Sampler
from one_api_llamacpp.batching import BatchEngine
from one_api_llamacpp.jobs import Job, Output
from one_api_llamacpp.sampling import Sampling


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


def test_many_answers_are_what_each_would_be_alone() -> None:
    bench = Bench(HashModel(sequences=4))
    asked = [bench.ask(f"prompt number {number}") for number in range(20)]
    bench.run()
    assert all(answered(bench, job, reader) for job, reader in asked)
    assert max(len(batch) for batch in bench.model.batches) == 4


def test_a_step_tells_all_answers_at_once() -> None:
    bench = Bench(HashModel(sequences=4))
    for seed in range(4):
        bench.ask(lasting(8, seed=seed))
    bench.run()
    assert bench.emits == len(bench.model.batches)


def test_a_job_is_told_as_begun_then_in_parts_then_as_ended() -> None:
    bench = Bench(HashModel())
    job, _ = bench.ask(lasting(8, limit=5), limit=5)
    bench.run()
    assert [(len(out.events), out.is_last) for out in bench.outputs] == [
        (0, False),
        *[(1, False)] * 4,
        (2, True),
    ]
    assert {job} == {out.job for out in bench.outputs}


def test_without_anything_to_do_a_step_does_nothing() -> None:
    bench = Bench(HashModel())
    assert not bench.engine.step()
    assert (bench.model.batches, bench.outputs) == ([], [])


# Reading prompts


def test_a_long_prompt_does_not_hold_up_who_is_being_answered() -> None:
    bench = Bench(HashModel(batch_tokens=512, cells=4000))
    bench.ask(lasting(8, limit=200), limit=200)
    bench.engine.step()
    # 500 tokens in half a second: the engine then knows a rate of 100 to 500 tokens a second.
    bench.ask(lasting(900, seed=1))
    for _ in range(8):
        bench.engine.step()
        bench.now_s += 1.0
    reading = [batch for batch in bench.model.batches if len(batch) == 2]
    assert reading
    for batch in reading:
        first, second = sorted(batch, key=lambda part: len(part.tokens))
        assert len(first.tokens) == 1
        assert 32 <= len(second.tokens) <= 75 + 1


def test_alone_a_prompt_is_read_in_larger_pieces_than_beside_an_answer() -> None:
    def largest(beside: bool) -> int:
        bench = Bench(HashModel(batch_tokens=512, cells=4000))
        if beside:
            bench.ask(lasting(8, limit=50), limit=50)
            bench.engine.step()
        bench.ask(lasting(1200, seed=1))
        bench.run()
        return max(len(part.tokens) for batch in bench.model.batches for part in batch)

    assert largest(beside=False) > 3 * largest(beside=True)


def test_prompts_are_read_in_the_order_in_which_they_were_begun() -> None:
    bench = Bench(HashModel(batch_tokens=40))
    readers = [bench.ask(lasting(100, seed=seed), limit=1)[1] for seed in range(3)]
    done: list[int] = []
    while bench.engine.step():
        done += [n for n, reader in enumerate(readers) if reader.finished and n not in done]
    assert done == [0, 1, 2]


# Memory of prompts


def test_the_common_beginning_of_two_prompts_is_evaluated_once() -> None:
    bench = Bench(HashModel())
    shared = "instructions that everybody has; "
    _, first = bench.ask(shared + "one")
    bench.run()
    before = sum(len(part.tokens) for batch in bench.model.batches for part in batch)
    job, second = bench.ask(shared + "two")
    bench.run()
    assert (first.cached_tokens, second.cached_tokens) == (0, len(shared))
    after = sum(len(part.tokens) for batch in bench.model.batches for part in batch)
    assert after - before <= len("two") + len(second.tokens)
    assert answered(bench, job, second)


def test_a_repeated_prompt_is_held_but_for_its_last_token() -> None:
    bench = Bench(HashModel())
    bench.ask("the same again")
    bench.run()
    _, reader = bench.ask("the same again")
    bench.run()
    assert len("the same again") - 1 == reader.cached_tokens


def test_a_conversation_goes_on_where_it_ended() -> None:
    bench = Bench(HashModel(sequences=4))
    job, reader = bench.ask(lasting(30))
    bench.run()
    longer = bytes([*job.tokens, *reader.tokens, *b" and then?"])
    again, second = bench.ask(longer)
    bench.run()
    # The last token of the first answer was sampled and never evaluated.
    assert second.cached_tokens == len(job.tokens) + len(reader.tokens) - 1
    assert answered(bench, again, second)


def test_those_with_the_same_prompt_wait_for_the_one_who_reads_it() -> None:
    bench = Bench(HashModel(sequences=8, batch_tokens=40))
    shared = lasting(200).decode("latin-1")
    asked = [bench.ask(shared.encode("latin-1") + bytes([50 + n])) for n in range(8)]
    bench.run()
    assert sorted(reader.cached_tokens or 0 for _, reader in asked) == [0, *[200] * 7]
    assert all(answered(bench, job, reader) for job, reader in asked)
    assert bench.engine.tally.prompt_tokens <= 201 + 7 + 8


def test_others_do_not_wait_for_a_prompt_that_is_not_theirs() -> None:
    bench = Bench(HashModel(sequences=8, batch_tokens=40))
    shared = lasting(200)
    bench.ask(shared, caller="leader")
    led, _ = bench.ask(shared + b"!", caller="led")
    other, _ = bench.ask(b"something else", caller="other")
    bench.engine.step()
    assert other in bench.begun()
    assert led not in bench.begun()


def test_a_shared_beginning_takes_its_cells_once() -> None:
    bench = Bench(HashModel(sequences=8, cells=700))
    shared = lasting(300)
    asked = [bench.ask(shared + bytes([50 + n]), limit=30) for n in range(8)]
    bench.run()
    assert max(len(batch) for batch in bench.model.batches) == 8
    assert all(answered(bench, job, reader) for job, reader in asked)


@pytest.mark.parametrize("can_fork", [True, False])
def test_answers_are_right_whether_states_can_be_shared_or_not(can_fork: bool) -> None:
    bench = Bench(HashModel(can_fork=can_fork, sequences=3))
    asked = []
    for _ in range(3):
        asked += [bench.ask("the same beginning, " + end) for end in ("a", "b", "c", "d")]
        bench.run()
    assert all(answered(bench, job, reader) for job, reader in asked)
    assert (bench.engine.tally.reused_tokens > 0) == can_fork


def test_what_was_unused_longest_makes_room() -> None:
    bench = Bench(HashModel(sequences=4, cells=400))
    prompts = [lasting(100, seed=seed, limit=1) for seed in range(3)]
    for prompt in prompts:
        bench.ask(prompt, limit=1)
        bench.run()
    bench.ask(lasting(150, seed=9, limit=1), limit=1)
    bench.run()
    held = [bench.model.tokens(sequence) for sequence in range(4)]
    assert list(prompts[0]) not in held
    assert list(prompts[2]) in held


# Room


def test_an_answer_that_outgrows_what_is_left_is_put_off_and_none_suffers() -> None:
    bench = Bench(HashModel(sequences=2, cells=700))
    asked = [bench.ask(lasting(60, limit=400, seed=s), limit=400) for s in range(2)]
    bench.run()
    assert bench.engine.tally.preemptions > 0
    assert all(answered(bench, job, reader) for job, reader in asked)


def test_who_came_first_is_not_put_off() -> None:
    bench = Bench(HashModel(sequences=2, cells=700))
    first, _ = bench.ask(lasting(60, limit=400, seed=0), limit=400)
    bench.ask(lasting(60, limit=400, seed=1), limit=400)
    bench.run()
    ends = [output.job for output in bench.outputs if output.is_last]
    assert ends[0] is first


def test_memory_that_is_full_against_all_reckoning_ends_no_answer() -> None:
    model = HashModel(sequences=2, cells=300)
    bench = Bench(model)
    asked = [bench.ask(lasting(60, limit=60, seed=s), limit=60) for s in range(2)]
    bench.engine.step()
    model.cells = 150  # less than the engine was told
    bench.run()
    assert all(answered(bench, job, reader) for job, reader in asked)


# Who is next


def test_callers_take_turns() -> None:
    bench = Bench(HashModel(sequences=1))
    greedy = [bench.ask(f"greedy {n}", caller="greedy", limit=2)[0] for n in range(5)]
    modest = [bench.ask(f"modest {n}", caller="modest", limit=2)[0] for n in range(2)]
    bench.run()
    expected = [greedy[0], modest[0], greedy[1], modest[1], *greedy[2:]]
    assert expected == bench.begun()


def test_more_than_may_wait_are_refused_with_a_time_to_come_back() -> None:
    bench = Bench(HashModel(sequences=2), queue_limit=3)
    asked = [bench.ask(lasting(5, seed=n)) for n in range(5)]
    with pytest.raises(UpstreamRateLimited) as caught:
        bench.ask("one too many")
    assert caught.value.status == 429
    # Five answers of a second each, as long as nothing is known, two at a time.
    assert caught.value.headers() == {"Retry-After": "3"}
    bench.run()
    assert all(answered(bench, job, reader) for job, reader in asked)
    bench.ask("now there is room")


def test_the_time_to_come_back_grows_with_how_long_answers_take() -> None:
    bench = Bench(HashModel(sequences=1), queue_limit=4)
    for number in range(12):
        bench.ask(lasting(5, seed=number))
        while bench.engine.step():
            bench.now_s += 1.0
    for number in range(5):
        bench.ask(lasting(5, seed=number))
    bench.engine.step()
    with pytest.raises(UpstreamRateLimited) as caught:
        bench.ask("one too many")
    assert caught.value.retry_after_s == pytest.approx(4 * 20, rel=0.2)


def test_a_request_of_several_jobs_is_taken_or_refused_as_a_whole() -> None:
    bench = Bench(HashModel(sequences=1), queue_limit=1)
    many = [make_job(bytes([n + 1]), limit=2) for n in range(5)]
    bench.engine.submit([job for job, _ in many])
    with pytest.raises(UpstreamRateLimited):
        bench.ask("x")
    bench.run()
    assert all(answered(bench, job, reader) for job, reader in many)


# Ends


def test_a_job_that_is_cancelled_leaves_its_slot_to_the_next_step() -> None:
    bench = Bench(HashModel(sequences=1))
    leaving, _ = bench.ask(lasting(10, limit=200), limit=200)
    bench.engine.step()
    staying, reader = bench.ask("staying")
    bench.engine.cancel(leaving)
    bench.engine.step()
    assert staying in bench.begun()
    bench.run()
    assert answered(bench, staying, reader)
    assert bench.model.open_samplers == 0


def test_a_job_that_is_cancelled_while_it_waits_is_never_begun() -> None:
    bench = Bench(HashModel(sequences=1), queue_limit=1)
    bench.ask("first")
    waiting, _ = bench.ask("waiting")
    bench.engine.cancel(waiting)
    third, reader = bench.ask("third")
    bench.run()
    assert waiting not in bench.begun()
    assert answered(bench, third, reader)


def test_cancelling_twice_or_late_does_nothing() -> None:
    bench = Bench(HashModel())
    job, _ = bench.ask("once")
    bench.run()
    bench.engine.cancel(job)
    bench.engine.cancel(job)
    other, reader = bench.ask("other")
    bench.run()
    assert answered(bench, other, reader)


class LeavingModel(HashModel):
    """Has a job cancelled while its prompt is being read."""

    leave: tuple[BatchEngine, Job] | None = None
    was_interrupted = False

    @override
    def evaluate(self, parts: Sequence[Part]) -> list[int]:
        if self.leave is not None:
            engine, job = self.leave
            self.leave = None
            engine.cancel(job)
            self.was_interrupted = self.is_interrupted
        return super().evaluate(parts)


@pytest.mark.parametrize("can_fork", [True, False])
@pytest.mark.parametrize(("length", "is_worth_it"), [(200, True), (20, False)])
def test_the_reading_of_a_long_prompt_is_broken_off_when_its_client_leaves(
    length: int, is_worth_it: bool, can_fork: bool
) -> None:
    model = LeavingModel(batch_tokens=512, can_fork=can_fork)
    bench = Bench(model)
    staying, reader = bench.ask(lasting(10, limit=50), limit=50)
    bench.engine.step()
    leaving, _ = bench.ask(lasting(length, seed=1))
    model.leave = bench.engine, leaving
    bench.engine.step()
    assert is_worth_it == model.was_interrupted
    bench.run()
    assert answered(bench, staying, reader)
    assert model.open_samplers == 0


def test_an_evaluation_that_fails_ends_those_in_it_and_no_others() -> None:
    model = HashModel(sequences=2)
    bench = Bench(model)
    failing = [bench.ask(lasting(10, seed=seed))[0] for seed in range(2)]
    waiting, reader = bench.ask("waiting")
    bench.engine.step()
    model.failure = UpstreamServerError("out of memory")
    bench.run()
    errors = [bench.error_of(job) for job in failing]
    assert all(isinstance(error, UpstreamServerError) for error in errors)
    assert answered(bench, waiting, reader)


class BrokenReader(ListReader):
    @override
    def take(self, piece: bytes, logprobs: object = None) -> list[object]:  # type: ignore[override]  # fails anyway
        raise ZeroDivisionError


class RefusingModel(HashModel):
    """Has no sampler for odd seeds."""

    @override
    def sampler(self, sampling: Sampling) -> Sampler:
        if sampling.seed % 2:
            raise InvalidRequest("The grammar of the answer cannot be used.")
        return super().sampler(sampling)


def test_a_fault_of_ours_ends_one_answer_and_is_reported() -> None:
    bench = Bench(HashModel())
    good, reader = bench.ask(lasting(10))
    broken = Job(
        caller="",
        tokens=lasting(10, seed=1),
        limit=5,
        sampling=Sampling(),
        open=lambda _: BrokenReader(5),
    )
    bench.engine.submit([broken])
    bench.run()
    assert isinstance(bench.error_of(broken), InternalError)
    assert [ZeroDivisionError] == [type(fault) for fault in bench.faults]
    assert answered(bench, good, reader)


def test_an_answer_without_a_sampler_is_refused_alone() -> None:
    bench = Bench(RefusingModel())
    good, reader = bench.ask(lasting(10))
    bad = Job(
        caller="",
        tokens=b"bad",
        limit=5,
        sampling=Sampling(seed=1),
        open=lambda _: ListReader(5),
    )
    bench.engine.submit([bad])
    bench.run()
    assert isinstance(bench.error_of(bad), InvalidRequest)
    assert answered(bench, good, reader)


# Everything at once

_BEGINNINGS = [b"", lasting(40, seed=3), lasting(90, seed=4), lasting(40, seed=3)[:30] + b"z" * 30]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_each_answer_is_right_and_nothing_is_kept(data: st.DataObject) -> None:
    """Sixteen at a time, with shared beginnings, too little memory, failures and cancellations."""
    model = HashModel(
        sequences=16,
        cells=data.draw(st.integers(170, 900), "cells"),
        batch_tokens=data.draw(st.integers(16, 128), "batch"),
        can_fork=data.draw(st.booleans(), "can fork"),
    )
    bench = Bench(model)
    asked: list[tuple[Job, ListReader]] = []
    cancelled: set[Job] = set()
    for number in range(data.draw(st.integers(1, 60), "events")):
        event = data.draw(st.sampled_from(["ask", "ask", "ask", "cancel", "step", "step", "break"]))
        if event == "ask":
            beginning = data.draw(st.sampled_from(_BEGINNINGS))
            end = bytes([1 + number % 96]) * data.draw(st.integers(1, 20))
            caller = data.draw(st.sampled_from("abc"))
            limit = data.draw(st.integers(1, 40))
            asked.append(bench.ask(beginning + end, limit=limit, caller=caller))
        elif event == "cancel" and asked:
            job, _ = data.draw(st.sampled_from(asked))
            bench.engine.cancel(job)
            cancelled.add(job)
        elif event == "break":
            model.interrupt()  # as if somebody left in the middle of the evaluation
        else:
            bench.engine.step()
        assert model.used == bench.engine.used_cells
    bench.run()
    for job, reader in asked:
        if job not in cancelled:
            assert answered(bench, job, reader)
    assert (bench.engine.active, bench.engine.waiting, model.open_samplers) == (0, 0, 0)
    assert model.used == bench.engine.used_cells
    assert bench.faults == []
