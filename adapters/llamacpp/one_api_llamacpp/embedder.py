"""Vectors for requests: models on threads of their own, inputs in batches, lengths of one.

A model that embeds is loaded beside the one that answers chats, if any: the file's pages are
shared, the working memory is not.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from one_api.adapter import (
    ContextWindowExceeded,
    EmbeddingRequest,
    Embeddings,
    InvalidRequest,
    ModelNotFound,
    NoDeploymentAvailable,
    UpstreamOverloaded,
)
from one_api_llamacpp.catalogue import ModelFile
from one_api_llamacpp.embedding_model import EmbeddingModel


@dataclass(slots=True, eq=False)
class _Place:
    """A model and the one thread that loads it, computes with it and frees it."""

    thread: ThreadPoolExecutor
    opening: asyncio.Future[EmbeddingModel]
    requests: int = 0


class Embedder:
    """At most `max_loaded` embedding models; the one unused longest makes room for the next.

    `find` looks a model up by id and `load` loads it; both block and run in threads. Everything
    else happens on one event loop.
    """

    def __init__(
        self,
        *,
        find: Callable[[str], ModelFile | None],
        load: Callable[[ModelFile], EmbeddingModel],
        max_loaded: int,
        queue_limit: int,
        logger: logging.Logger,
    ) -> None:
        self._find = find
        self._load = load
        self._max_loaded = max_loaded
        self._queue_limit = queue_limit
        self._logger = logger
        self._is_closed = False
        # In the order of last use, the one unused longest first.
        self._places: dict[str, _Place] = {}

    async def embed(self, model_id: str, request: EmbeddingRequest) -> Embeddings:
        """The vectors for `request`, each of length 1, cut to `dimensions` where that is asked.

        Raises: ModelNotFound, InvalidRequest, ContextWindowExceeded, UpstreamOverloaded,
        NoDeploymentAvailable, UpstreamError.
        """
        place = self._places.get(model_id) or await self._take_place(model_id)
        if place.requests > self._queue_limit:
            raise UpstreamOverloaded(
                f"The local model '{model_id}' has {self._queue_limit} requests to answer already.",
                retry_after_s=1.0,
            )
        place.requests += 1
        try:
            # The load goes on for the others when this request is cancelled.
            model = await asyncio.shield(place.opening)
            return await self._vectors(place, model, request)
        finally:
            place.requests -= 1
            if self._places.get(model_id) is place:
                self._places[model_id] = self._places.pop(model_id)

    async def close(self) -> None:
        """Unload everything, once what is being computed is done."""
        self._is_closed = True
        places, self._places = list(self._places.values()), {}
        await asyncio.gather(*map(_unload, places))

    async def _vectors(
        self, place: _Place, model: EmbeddingModel, request: EmbeddingRequest
    ) -> Embeddings:
        loop = asyncio.get_running_loop()
        dimensions = _checked_dimensions(request, model)
        inputs = await loop.run_in_executor(place.thread, _tokens_of, model, request)
        vectors: list[Sequence[float]] = []
        for batch in _batches(inputs, model):
            # One evaluation at a time: others get their turn, and a client that left ends here.
            given = await loop.run_in_executor(place.thread, model.embed, batch)
            vectors += [_normalised(vector[:dimensions]) for vector in given]
        return Embeddings(vectors=vectors, prompt_tokens=sum(map(len, inputs)))

    async def _take_place(self, model_id: str) -> _Place:
        file = await asyncio.to_thread(self._find, model_id)
        if file is None:
            raise ModelNotFound(f"The model '{model_id}' does not exist.", param="model")
        if self._is_closed:
            raise NoDeploymentAvailable("The local models are being unloaded.", retry_after_s=1.0)
        place = self._places.get(model_id)  # taken by another request during the search
        if place is None:
            evicted = self._make_room()
            thread = ThreadPoolExecutor(1, thread_name_prefix=f"llamacpp-embed-{model_id}")
            place = _Place(thread, asyncio.ensure_future(self._open(file, thread, evicted)))
            # A failure nobody waits for any more must not be complained about.
            place.opening.add_done_callback(
                lambda opening: opening.cancelled() or opening.exception()
            )
            self._places[model_id] = place
        return place

    async def _open(
        self, file: ModelFile, thread: ThreadPoolExecutor, evicted: _Place | None
    ) -> EmbeddingModel:
        if evicted is not None:
            await _unload(evicted)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(thread, self._load, file)
        except BaseException:
            self._places.pop(file.id, None)  # the next request tries anew
            await asyncio.to_thread(thread.shutdown)
            raise

    def _make_room(self) -> _Place | None:
        if len(self._places) < self._max_loaded:
            return None
        for model_id, place in self._places.items():
            if place.requests == 0 and place.opening.done():
                self._logger.info("Unloading local model '%s' to make room", model_id)
                return self._places.pop(model_id)
        raise UpstreamOverloaded(
            f"{self._max_loaded} local models embed at the moment.", retry_after_s=5.0
        )


def _hear(opening: asyncio.Future[EmbeddingModel]) -> None:
    if not opening.cancelled():
        opening.exception()


async def _unload(place: _Place) -> None:
    # A failed load has been told to those who waited for it; there is nothing to unload.
    for model in await asyncio.gather(place.opening, return_exceptions=True):
        if not isinstance(model, BaseException):
            await asyncio.get_running_loop().run_in_executor(place.thread, model.close)
    await asyncio.to_thread(place.thread.shutdown)


def _checked_dimensions(request: EmbeddingRequest, model: EmbeddingModel) -> int:
    asked = request.dimensions
    if asked is not None and asked > model.dimensions:
        raise InvalidRequest(
            f"Invalid value for 'dimensions': this model's vectors have {model.dimensions}.",
            param="dimensions",
            code="integer_above_max_value",
        )
    return asked or model.dimensions


def _tokens_of(model: EmbeddingModel, request: EmbeddingRequest) -> list[Sequence[int]]:
    """The inputs as tokens, checked; on the model's thread."""
    inputs: list[Sequence[int]] = []
    for index, given in enumerate(request.inputs):
        tokens = model.tokenise(given) if isinstance(given, str) else given
        if not tokens or not all(token < model.vocabulary_size for token in tokens):
            raise InvalidRequest(
                f"Invalid value for 'input': item {index} has no tokens of this model, which are "
                f"numbered from 0 to {model.vocabulary_size - 1}.",
                param="input",
                code="invalid_value",
            )
        if len(tokens) > model.max_tokens:
            raise ContextWindowExceeded(
                f"This model takes at most {model.max_tokens} tokens, and item {index} of the "
                f"input has {len(tokens)}.",
                param="input",
            )
        inputs.append(tokens)
    return inputs


def _batches(
    inputs: Sequence[Sequence[int]], model: EmbeddingModel
) -> Iterator[Sequence[Sequence[int]]]:
    """`inputs` in their order, as many at a time as one evaluation takes."""
    batch: list[Sequence[int]] = []
    size = 0
    for tokens in inputs:
        if batch and (len(batch) == model.max_inputs or size + len(tokens) > model.max_tokens):
            yield batch
            batch, size = [], 0
        batch.append(tokens)
        size += len(tokens)
    if batch:
        yield batch


def _normalised(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else list(vector)
