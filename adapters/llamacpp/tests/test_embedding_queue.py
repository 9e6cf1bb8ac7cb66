"""Embedding requests: batches over requests, turns of callers, lengths, refusals, ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from typing_extensions import override

from one_api.adapter import (
    ContextWindowExceeded,
    EmbeddingRequest,
    InvalidRequest,
    UpstreamRateLimited,
    UpstreamServerError,
)
from one_api_llamacpp.embedding_model import EmbeddingModel
from one_api_llamacpp.embedding_queue import EmbeddingQueue, normalised
from one_api_llamacpp.frames import Answered, Count, Vectors


class LengthModel(EmbeddingModel):
    """Its tokens are bytes, its vectors `(number of tokens, first token, 0)`."""

    def __init__(self) -> None:
        self.max_tokens = 8
        self.max_inputs = 3
        self.vocabulary_size = 256
        self.dimensions = 3
        self.batches: list[list[int]] = []
        self.failure: UpstreamServerError | None = None

    @override
    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())

    @override
    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        self.batches.append([len(tokens) for tokens in inputs])
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return [[len(tokens), tokens[0], 0] for tokens in inputs]


class Desk:
    """A queue and what it answered."""

    def __init__(self, *, queue_limit: int = 4) -> None:
        self.model = LengthModel()
        self.answers: list[Answered] = []
        self.queue = EmbeddingQueue(
            self.model, name="test", queue_limit=queue_limit, emit=self.answers.extend
        )

    def ask(self, id_: int, given: Any, *, caller: str = "", **fields: Any) -> None:
        request = EmbeddingRequest.from_wire({"model": "test", "input": given, **fields})
        self.queue.submit(id_, caller, request)

    def run(self) -> None:
        while self.queue.step():
            pass

    def vectors_of(self, id_: int) -> list[Sequence[float]]:
        mine = [answer for answer in self.answers if answer.id == id_]
        assert [False] * (len(mine) - 1) + [True] == [answer.is_last for answer in mine]
        items = [item for answer in mine for item in answer.items]
        return [v for item in items if isinstance(item, Vectors) for v in item.vectors]


def test_vectors_have_length_one_and_the_order_of_their_inputs() -> None:
    desk = Desk()
    desk.ask(1, [[3], [4, 4], [12]])
    desk.run()
    expected = [(1, 3, 0), (2, 4, 0), (1, 12, 0)]
    assert [pytest.approx([v / math.hypot(*raw) for v in raw]) for raw in expected] == list(
        desk.vectors_of(1)
    )


def test_fewer_dimensions_are_the_first_ones_with_length_one_again() -> None:
    desk = Desk()
    desk.ask(1, [[7]], dimensions=1)
    desk.ask(2, [[7]], dimensions=2)
    desk.run()
    assert [[1.0]] == desk.vectors_of(1)
    assert [pytest.approx([1 / math.sqrt(50), 7 / math.sqrt(50)])] == desk.vectors_of(2)


def test_a_vector_of_zeros_stays_one() -> None:
    assert [0.0, 0.0] == normalised([0.0, 0.0])


@pytest.mark.parametrize(
    ("lengths", "batches"),
    [
        ([1], [[1]]),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([8, 8], [[8], [8]]),
        ([4, 4, 4], [[4, 4], [4]]),
        ([5, 4, 4], [[5], [4, 4]]),
    ],
)
def test_a_batch_holds_what_one_evaluation_takes(
    lengths: list[int], batches: list[list[int]]
) -> None:
    desk = Desk()
    desk.ask(1, ["x" * length for length in lengths])
    desk.run()
    assert batches == desk.model.batches


def test_several_requests_share_an_evaluation_and_callers_take_turns() -> None:
    desk = Desk()
    desk.ask(1, ["a", "b", "c", "d"], caller="greedy")
    desk.ask(2, ["x"], caller="modest")
    desk.queue.step()
    assert [[1, 1, 1]] == desk.model.batches
    assert [[1 / math.hypot(1, ord("x")), pytest.approx(1, abs=1e-3), 0]] == desk.vectors_of(2)
    desk.run()
    assert 4 == len(desk.vectors_of(1))


def test_the_last_answer_tells_how_many_tokens_there_were() -> None:
    desk = Desk()
    desk.ask(1, ["abc", "de"])
    desk.run()
    assert Count(5) == desk.answers[-1].items[-1]


@pytest.mark.parametrize(
    ("given", "fields", "error", "param"),
    [
        ("x" * 9, {}, ContextWindowExceeded, "input"),
        ([[256]], {}, InvalidRequest, "input"),
        ("x", {"dimensions": 4}, InvalidRequest, "dimensions"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    given: Any, fields: dict[str, Any], error: type[InvalidRequest], param: str
) -> None:
    with pytest.raises(error) as caught:
        Desk().ask(1, given, **fields)
    assert param == caught.value.param


def test_more_requests_than_may_wait_are_refused() -> None:
    desk = Desk(queue_limit=1)
    desk.ask(1, "x")
    desk.ask(2, "x")
    with pytest.raises(UpstreamRateLimited):
        desk.ask(3, "x")
    desk.run()
    desk.ask(3, "x")
    desk.run()
    assert 1 == len(desk.vectors_of(3))


def test_what_was_cancelled_is_not_evaluated() -> None:
    desk = Desk()
    desk.ask(1, ["long", "long"])
    desk.ask(2, "x")
    desk.queue.cancel(1)
    desk.run()
    assert [[1]] == desk.model.batches
    assert {2} == {answer.id for answer in desk.answers}


def test_a_failure_ends_the_requests_of_its_evaluation() -> None:
    desk = Desk()
    desk.model.failure = UpstreamServerError("failed")
    desk.ask(1, ["a", "b", "c", "d"])
    desk.run()
    (answer,) = desk.answers
    assert (True, "failed") == (answer.is_last, str(answer.error))
    desk.ask(2, "x")
    desk.run()
    assert 1 == len(desk.vectors_of(2))
