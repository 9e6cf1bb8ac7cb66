"""The engine's memory: beginnings that prompts share, and room for answers as they grow."""

from __future__ import annotations

import pytest

from adapters.llamacpp.tests.batch_bench import Bench, answered, lasting
from adapters.llamacpp.tests.batch_models import HashModel

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
