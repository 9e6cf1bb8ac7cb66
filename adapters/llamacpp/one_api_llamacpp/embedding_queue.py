"""Embedding requests in the worker: inputs of several in one evaluation, callers by turns."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from one_api.adapter import (
    ContextWindowExceeded,
    EmbeddingRequest,
    GatewayError,
    InvalidRequest,
    UpstreamRateLimited,
)
from one_api_llamacpp.admission import FairQueue
from one_api_llamacpp.embedding_model import EmbeddingModel
from one_api_llamacpp.frames import Answered, Count, Item, Vectors


@dataclass(eq=False, slots=True)
class _Asked:
    """A request and how many of its inputs have no vector yet."""

    id: int
    tokens: int
    dimensions: int
    left: int


@dataclass(eq=False, slots=True)
class _Input:
    asked: _Asked
    tokens: Sequence[int]


class EmbeddingQueue:
    """Embeds with `model`; `step` is called on its thread, the rest from any.

    At most `queue_limit` requests wait or are worked on. `emit` is told once a step what they got.
    """

    def __init__(
        self,
        model: EmbeddingModel,
        *,
        name: str,
        queue_limit: int,
        emit: Callable[[Sequence[Answered]], None],
    ) -> None:
        self._model = model
        self._name = name
        self._queue_limit = queue_limit
        self._emit = emit
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._queue: FairQueue[_Input] = FairQueue()

    # From any thread

    def submit(self, id_: int, caller: str, request: EmbeddingRequest) -> None:
        """Have `request` answered. Blocking: it is made into tokens here.

        Raises: InvalidRequest, ContextWindowExceeded, UpstreamRateLimited when too many wait.
        """
        dimensions = _checked_dimensions(request, self._model)
        inputs = _tokens_of(self._model, request)
        asked = _Asked(id_, sum(map(len, inputs)), dimensions, len(inputs))
        with self._lock:
            if len(self._asked) > self._queue_limit:
                raise UpstreamRateLimited(
                    f"The local model '{self._name}' has as many requests for embeddings as may "
                    "wait.",
                    retry_after_s=1.0,
                )
            self._asked[id_] = asked
            for tokens in inputs:
                self._queue.put(caller, _Input(asked, tokens))

    def cancel(self, id_: int) -> None:
        """Forget request `id_` but for the evaluation under way."""
        with self._lock:
            self._asked.pop(id_, None)

    @property
    def waiting(self) -> int:
        """Requests without all their vectors."""
        return len(self._asked)

    # On the model's thread

    def step(self) -> bool:
        """Make one evaluation's worth of vectors; whether there was anything to do."""
        batch = self._take_batch()
        if not batch:
            return False
        try:
            vectors = self._model.embed([given.tokens for given in batch])
        except GatewayError as exc:
            self._emit([self._failed(asked, exc) for asked in {given.asked for given in batch}])
            return True
        made: dict[_Asked, list[Sequence[float]]] = {}
        for given, vector in zip(batch, vectors, strict=True):
            unit = normalised(vector[: given.asked.dimensions])
            made.setdefault(given.asked, []).append(unit)
        self._emit([self._answered(asked, units) for asked, units in made.items()])
        return True

    def _take_batch(self) -> list[_Input]:
        """As many inputs as one evaluation takes, one of each caller in turn."""
        batch: list[_Input] = []
        room = self._model.max_tokens
        with self._lock:
            while len(batch) < self._model.max_inputs:
                caller, given = next(self._queue.heads(), ("", None))
                if given is None or len(given.tokens) > room:
                    break
                self._queue.take(caller)
                if given.asked.id in self._asked:
                    batch.append(given)
                    room -= len(given.tokens)
        return batch

    def _answered(self, asked: _Asked, vectors: Sequence[Sequence[float]]) -> Answered:
        asked.left -= len(vectors)
        items: list[Item] = [Vectors(vectors)]
        if not asked.left:
            items.append(Count(asked.tokens))
            self.cancel(asked.id)
        return Answered(asked.id, items, is_last=not asked.left)

    def _failed(self, asked: _Asked, error: GatewayError) -> Answered:
        self.cancel(asked.id)
        return Answered(asked.id, is_last=True, error=error)


def normalised(vector: Sequence[float]) -> list[float]:
    """`vector` with length 1, unless it has none."""
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else list(vector)


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
    """The inputs as tokens, checked."""
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
