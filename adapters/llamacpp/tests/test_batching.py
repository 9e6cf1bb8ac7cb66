"""The engine's scheduling, over a model whose answers show every mistake about what it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.llamacpp.tests.batch_bench import Bench, answered, lasting
from adapters.llamacpp.tests.batch_models import HashModel, ListReader, make_job
from one_api.adapter import UpstreamRateLimited
from one_api_llamacpp.jobs import Job


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


# Everything at once

_BEGINNINGS = [b"", lasting(40, seed=3), lasting(90, seed=4), lasting(40, seed=3)[:30] + b"z" * 30]


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
