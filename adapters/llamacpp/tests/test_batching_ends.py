"""The ends of answers that are not their own: clients that leave, failures and refusals."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from typing_extensions import override

from adapters.llamacpp.tests.batch_bench import Bench, answered, lasting
from adapters.llamacpp.tests.batch_models import HashModel, ListReader
from one_api.adapter import InternalError, InvalidRequest, UpstreamServerError
from one_api_llamacpp.batch_model import Part, Sampler
from one_api_llamacpp.batching import BatchEngine
from one_api_llamacpp.jobs import Job
from one_api_llamacpp.sampling import Sampling


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
