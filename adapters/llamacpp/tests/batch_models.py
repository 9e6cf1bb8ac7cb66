"""A model without llama.cpp that checks how it is used, and readers of what it answers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from typing_extensions import override

from adapters.llamacpp.tests.local_models import ByteTokeniser
from one_api.adapter import Event, Finish, TextDelta
from one_api_llamacpp.batch_model import (
    BatchModel,
    Interrupted,
    MemoryFull,
    Part,
    Sampler,
)
from one_api_llamacpp.jobs import Job, Reader
from one_api_llamacpp.sampling import Sampling, TokenLogprobs

END_OF_TURN = 0
VOCABULARY_SIZE = 97


def next_token(tokens: Sequence[int]) -> int:
    """What the model answers to `tokens`: any mistake about them changes everything after it."""
    return zlib.crc32(bytes(tokens)) % VOCABULARY_SIZE


def expected_answer(prompt: Sequence[int], limit: int) -> list[int]:
    """What a job of its own would be answered, the end of the turn left out."""
    tokens = list(prompt)
    while len(tokens) - len(prompt) < limit:
        token = next_token(tokens)
        if token == END_OF_TURN:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


class HashModel(BatchModel):
    """Answers `next_token` of what a sequence holds, and holds cells as llama.cpp does.

    Tokens must be added where their sequence ends. `failure` is raised by the next evaluation,
    after half of its tokens.
    """

    def __init__(
        self,
        *,
        sequences: int = 4,
        cells: int = 1000,
        batch_tokens: int = 64,
        can_fork: bool = True,
    ) -> None:
        self.tokeniser = ByteTokeniser(cells, size=VOCABULARY_SIZE, end_of_turn=END_OF_TURN)
        self.sequences = sequences
        self.cells = cells
        self.batch_tokens = batch_tokens
        self.can_fork = can_fork
        self.failure: Exception | None = None
        #: What each evaluation was given.
        self.batches: list[list[Part]] = []
        self.open_samplers = 0
        self.is_interrupted = False
        # Every token held is an object of its own; sequences that share it hold the same one.
        self._held: list[list[tuple[int, object]]] = [[] for _ in range(sequences)]
        self._rows: dict[int, list[int]] = {}

    @property
    def used(self) -> int:
        return len({id(cell) for held in self._held for _, cell in held})

    def tokens(self, sequence: int) -> list[int]:
        return [token for token, _ in self._held[sequence]]

    @override
    def evaluate(self, parts: Sequence[Part]) -> list[int]:
        if self.is_interrupted:
            raise Interrupted
        count = sum(len(part.tokens) for part in parts)
        assert 0 < count <= self.batch_tokens
        assert len({part.sequence for part in parts}) == len(parts)
        assert all(part.tokens for part in parts)
        if self.used + count > self.cells:
            raise MemoryFull
        self.batches.append(list(parts))
        if self.failure is not None:
            failure, self.failure = self.failure, None
            self._add(parts[0], len(parts[0].tokens) // 2)
            raise failure
        for part in parts:
            self._add(part, len(part.tokens))
        wanting = [part for part in parts if part.wants_logits]
        self._rows = {7 * row: self.tokens(part.sequence) for row, part in enumerate(wanting)}
        return list(self._rows)

    @override
    def keep(self, sequence: int, count: int) -> bool:
        whole = count == len(self._held[sequence])
        if count and not whole and not self.can_fork:
            self._held[sequence] = []
            return False
        del self._held[sequence][count:]
        return True

    @override
    def copy(self, source: int, target: int, count: int) -> None:
        assert self.can_fork
        assert self._held[target] == []
        assert count <= len(self._held[source])
        self._held[target] = self._held[source][:count]

    @override
    def sampler(self, sampling: Sampling) -> Sampler:
        self.open_samplers += 1
        return _HashSampler(self)

    @override
    def interrupt(self) -> None:
        self.is_interrupted = True

    @override
    def allow(self) -> None:
        self.is_interrupted = False

    def _add(self, part: Part, count: int) -> None:
        assert part.position == len(self._held[part.sequence])
        self._held[part.sequence] += [(token, object()) for token in part.tokens[:count]]

    def row(self, row: int) -> list[int]:
        return self._rows[row]


class _HashSampler(Sampler):
    def __init__(self, model: HashModel) -> None:
        self._model = model
        self._is_open = True

    @override
    def sample(self, row: int) -> tuple[int, TokenLogprobs | None]:
        assert self._is_open
        return next_token(self._model.row(row)), None

    @override
    def close(self) -> None:
        assert self._is_open
        self._is_open = False
        self._model.open_samplers -= 1


class ListReader(Reader):
    """Gathers the tokens of one answer; its events are of no meaning but their number."""

    def __init__(self, limit: int) -> None:
        self.finished = False
        self.tokens: list[int] = []
        self.cached_tokens: int | None = None
        self._limit = limit

    @override
    def take(self, piece: bytes, logprobs: TokenLogprobs | None = None) -> list[Event]:
        assert not self.finished
        self.tokens += piece
        if len(self.tokens) == self._limit:
            return [TextDelta(str(piece[0])), *self._finish("length")]
        return [TextDelta(str(piece[0]))]

    @override
    def end_turn(self) -> list[Event]:
        return self._finish("stop")

    def _finish(self, reason: str) -> list[Event]:
        self.finished = True
        return [Finish("length" if reason == "length" else "stop")]


def make_job(prompt: Sequence[int], *, limit: int = 20, caller: str = "") -> tuple[Job, ListReader]:
    """A job and the reader that gathers its answer."""
    reader = ListReader(limit)

    def open_reader(cached_tokens: int) -> Reader:
        assert reader.cached_tokens is None, "opened twice"
        reader.cached_tokens = cached_tokens
        return reader

    job = Job(
        caller=caller, tokens=list(prompt), limit=limit, sampling=Sampling(), open=open_reader
    )
    return job, reader
