"""Requests for vectors: batches, lengths, refusals, and which models are in memory."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from adapters.llamacpp.tests.local_models import LOGGER, engine_threads
from one_api.adapter import (
    ContextWindowExceeded,
    EmbeddingRequest,
    InvalidRequest,
    ModelNotFound,
    UpstreamError,
    UpstreamOverloaded,
)
from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.embedder import Embedder
from one_api_llamacpp.embedding_model import EmbeddingModel
from one_api_llamacpp.gguf_header import GGUFHeader


class LengthModel(EmbeddingModel):
    """Its tokens are bytes, its vectors `(number of tokens, first token, 0)`."""

    def __init__(self) -> None:
        self.max_tokens = 8
        self.max_inputs = 3
        self.vocabulary_size = 256
        self.dimensions = 3
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.is_closed = False
        self.gate = threading.Event()
        self.gate.set()

    @override
    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())

    @override
    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        assert self.gate.wait(5)
        self.threads.add(threading.get_ident())
        self.batches.append([len(tokens) for tokens in inputs])
        return [[len(tokens), tokens[0], 0] for tokens in inputs]

    @override
    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.is_closed = True


class Shelf:
    """An embedder over models that are made when they are asked for."""

    def __init__(self, *, max_loaded: int = 2, queue_limit: int = 4) -> None:
        self.models: dict[str, LengthModel] = {}
        self.failures = 0
        self.embedder = Embedder(
            find=self._find,
            load=self._load,
            max_loaded=max_loaded,
            queue_limit=queue_limit,
            logger=LOGGER,
        )

    def _find(self, model_id: str) -> ModelFile | None:
        if model_id == "absent":
            return None
        return ModelFile(id=model_id, path=Path(model_id), header=GGUFHeader({}), created=0)

    def _load(self, file: ModelFile) -> EmbeddingModel:
        if self.failures:
            self.failures -= 1
            raise UpstreamError("damaged")
        return self.models.setdefault(file.id, LengthModel())

    async def embed(self, given: Any, model: str = "a", **fields: Any) -> list[list[float]]:
        request = EmbeddingRequest.from_wire({"model": model, "input": given, **fields})
        embeddings = await self.embedder.embed(model, request)
        return [list(vector) for vector in embeddings.vectors]


@pytest.fixture
async def shelf() -> AsyncGenerator[Shelf, None]:
    shelf = Shelf()
    yield shelf
    await shelf.embedder.close()
    assert [] == engine_threads()


async def test_vectors_have_length_one_and_the_order_of_their_inputs(shelf: Shelf) -> None:
    given = await shelf.embed([[3], [4, 4], [12]])
    assert [pytest.approx([1, 3, 0]), pytest.approx([2, 4, 0]), pytest.approx([1, 12, 0])] == [
        [value * math.hypot(*raw) for value in vector]
        for vector, raw in zip(given, [(1, 3), (2, 4), (1, 12)], strict=True)
    ]
    assert all(math.isclose(1, math.hypot(*vector)) for vector in given)


async def test_fewer_dimensions_are_the_first_ones_with_length_one_again(shelf: Shelf) -> None:
    assert [[1.0]] == await shelf.embed([[7]], dimensions=1)
    assert [pytest.approx([1 / math.sqrt(50), 7 / math.sqrt(50)])] == await shelf.embed(
        [[7]], dimensions=2
    )


async def test_a_vector_of_zeros_stays_one() -> None:
    shelf = Shelf()
    shelf.models["a"] = LengthModel()
    shelf.models["a"].embed = lambda inputs: [[0.0, 0.0, 0.0]]  # type: ignore[method-assign]  # one odd model
    assert [[0.0, 0.0, 0.0]] == await shelf.embed("x")
    await shelf.embedder.close()


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
async def test_a_batch_holds_what_one_evaluation_takes(
    shelf: Shelf, lengths: list[int], batches: list[list[int]]
) -> None:
    await shelf.embed(["x" * length for length in lengths])
    assert batches == shelf.models["a"].batches


async def test_usage_counts_every_token(shelf: Shelf) -> None:
    request = EmbeddingRequest.from_wire({"model": "a", "input": ["abc", "de"]})
    assert 5 == (await shelf.embedder.embed("a", request)).prompt_tokens


@pytest.mark.parametrize(
    ("given", "fields", "error", "param"),
    [
        ("x" * 9, {}, ContextWindowExceeded, "input"),
        ([[256]], {}, InvalidRequest, "input"),
        ("x", {"dimensions": 4}, InvalidRequest, "dimensions"),
    ],
)
async def test_what_the_model_cannot_do_is_refused(
    shelf: Shelf, given: Any, fields: dict[str, Any], error: type[InvalidRequest], param: str
) -> None:
    with pytest.raises(error) as caught:
        await shelf.embed(given, **fields)
    assert param == caught.value.param


async def test_an_unknown_model_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(ModelNotFound):
        await shelf.embed("x", model="absent")


async def test_a_failed_load_is_told_and_tried_again(shelf: Shelf) -> None:
    shelf.failures = 1
    with pytest.raises(UpstreamError, match="damaged"):
        await shelf.embed("x")
    assert 1 == len(await shelf.embed("x"))


async def test_the_model_unused_longest_makes_room_on_its_own_thread(shelf: Shelf) -> None:
    for name in ("a", "b", "a", "c"):
        await shelf.embed("x", model=name)
    assert ["b"] == [name for name, model in shelf.models.items() if model.is_closed]
    assert 1 == len(shelf.models["b"].threads)
    assert threading.get_ident() not in shelf.models["b"].threads


async def test_more_requests_than_may_wait_are_refused() -> None:
    shelf = Shelf(max_loaded=1, queue_limit=1)
    await shelf.embed("x")
    model = shelf.models["a"]
    model.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(shelf.embed("x")) for _ in range(2)]
        await asyncio.sleep(0)
        for name in ("a", "b"):
            with pytest.raises(UpstreamOverloaded):
                await shelf.embed("x", model=name)
        model.gate.set()
    assert [1, 1] == [len(task.result()) for task in running]
    await shelf.embedder.close()
