"""What the engine works on: answers to generate, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from one_api.adapter import Event, GatewayError
from one_api_llamacpp.batch_model import Sampler
from one_api_llamacpp.sampling import Sampling, TokenLogprobs

#: Completion tokens that memory is reserved for at a time, if the answer may be so long.
HEADROOM: Final = 256


class Reader(Protocol):
    """Makes events out of the tokens of one answer."""

    #: Whether the events returned last were the final ones.
    finished: bool

    def take(self, piece: bytes, logprobs: TokenLogprobs | None = None) -> list[Event]:
        """The events that one more token makes certain."""

    def end_turn(self) -> list[Event]:
        """The last events, after the token that says the answer is complete."""


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """One answer to generate.

    `limit` is the most completion tokens; prompt and completion fit the model's context. `open`
    makes the reader when the answer is begun, from the number of prompt tokens already held.
    """

    caller: str
    tokens: Sequence[int]
    limit: int
    sampling: Sampling
    open: Callable[[int], Reader]


@dataclass(frozen=True, slots=True)
class Output:
    """What became of a job in one step; the first one, without events, says that it was begun."""

    job: Job
    events: Sequence[Event] = ()
    is_last: bool = False
    error: GatewayError | None = None


@dataclass(eq=False, slots=True)
class Run:
    """A job from when it was submitted to its end."""

    job: Job
    #: Prompt and what was sampled so far: its slot holds a beginning of this.
    tokens: list[int]
    sampler: Sampler | None = None
    reader: Reader | None = None
    is_cancelled: bool = False
    began_s: float = 0.0
    #: How long `tokens` may become before memory beyond the reservation is needed.
    reserved: int = field(default=0)

    @property
    def is_decoding(self) -> bool:
        """Whether a token of the answer was sampled already."""
        return len(self.tokens) > len(self.job.tokens)

    @property
    def growth(self) -> int:
        """Completion tokens it may still make."""
        return self.job.limit - (len(self.tokens) - len(self.job.tokens))

    def reserve(self) -> int:
        """Reserve what it will probably need from here on; how long `tokens` may become."""
        self.reserved = len(self.tokens) + min(self.growth, HEADROOM)
        return self.reserved
