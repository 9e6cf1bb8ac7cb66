"""What the engine needs of a loaded model; `native_model.py` gives it with llama.cpp.

A model holds the states of several sequences, each the tokens it was given so far, in one memory
of cells. Unless a method says otherwise it may only be called on the thread that owns the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from one_api_llamacpp.language_model import Tokeniser
from one_api_llamacpp.sampling import Sampling, TokenLogprobs


class Interrupted(Exception):
    """`BatchModel.interrupt` ended an evaluation; what of it is held is unknown."""


class MemoryFull(Exception):
    """There are no cells for a batch; nothing of it is held."""


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens that are added to one sequence, from `position` on; logits are of the last one."""

    sequence: int
    position: int
    tokens: Sequence[int]
    wants_logits: bool


class Sampler(Protocol):
    """Chooses the tokens of one answer and remembers them for its penalties and its grammar."""

    def sample(self, row: int) -> tuple[int, TokenLogprobs | None]:
        """The next token from the logits in `row`, with its logprobs if they were asked for."""

    def close(self) -> None:
        """Give back its memory."""


class BatchModel(Protocol):
    """One model with the states of `sequences` sequences, numbered from 0."""

    tokeniser: Tokeniser
    sequences: int
    #: Tokens that all sequences hold together; what two of them share counts once.
    cells: int
    #: Most tokens of one evaluation.
    batch_tokens: int
    #: Whether the beginning of a state can be kept or copied by itself; recurrent models cannot.
    can_fork: bool

    def evaluate(self, parts: Sequence[Part]) -> list[int]:
        """Add `parts` to their sequences; the rows of those that want logits, in their order.

        Raises: Interrupted, MemoryFull, UpstreamError (nothing of the sequences is certain then).
        """

    def keep(self, sequence: int, count: int) -> bool:
        """Forget all but the first `count` tokens; False when all had to be forgotten."""

    def copy(self, source: int, target: int, count: int) -> None:
        """Have `target`, which is empty, begin with the first `count` tokens of `source`."""

    def sampler(self, sampling: Sampling) -> Sampler:
        """A sampler for one answer, to be closed by the caller.

        Raises: InvalidRequest for a grammar that cannot be used.
        """

    def interrupt(self) -> None:
        """Have the current and all later evaluations end early. From any thread."""

    def allow(self) -> None:
        """Take back `interrupt`. From any thread."""
