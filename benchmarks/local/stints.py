"""What is asked of a contender, and what its answers tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from random import Random
from typing import Any, Self

from benchmarks.local.make_model import BOS, FIRST_TEXT, VOCABULARY
from benchmarks.statistics import median, quantile

Prompt = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stint:
    """So many clients, who each send the next of `prompts` as soon as their last is answered.

    Every answer has `tokens` tokens, each the likeliest one.
    """

    clients: int
    prompts: Sequence[Prompt]
    tokens: int

    def to_wire(self) -> dict[str, Any]:
        """The stint as a JSON object."""
        return asdict(self)

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """The stint in an object that `to_wire` made."""
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer as its client saw it; the gaps are between one text and the next, in seconds."""

    first_s: float
    gaps_s: Sequence[float]
    tokens: int

    def to_wire(self) -> dict[str, Any]:
        """The answer as a JSON object."""
        return asdict(self)

    @classmethod
    def from_wire(cls, fields: dict[str, Any]) -> Self:
        """The answer in an object that `to_wire` made."""
        return cls(**fields)


class Watch:
    """Notes when the texts of one answer come; made when its request is sent."""

    def __init__(self) -> None:
        self._times_s = [time.perf_counter()]
        self.tokens = 0

    def see(self) -> None:
        """Note that there is more text now."""
        self._times_s.append(time.perf_counter())

    def answer(self) -> Answer:
        """What was seen.

        Raises: ValueError if there was no text.
        """
        gaps = [later - earlier for earlier, later in pairwise(self._times_s)]
        if not gaps:
            raise ValueError("an answer without text")
        return Answer(first_s=gaps[0], gaps_s=gaps[1:], tokens=self.tokens)


@dataclass(frozen=True, slots=True)
class Result:
    """What a stint comes to; times are in seconds."""

    tokens_per_s: float
    first_median_s: float
    first_worst_s: float
    between_p99_s: float

    @classmethod
    def of(cls, stint: Stint, answers: Sequence[Answer], took_s: float) -> Self:
        """What `answers` to `stint` come to.

        Raises: ValueError unless all are there and as long as they should be.
        """
        lengths = [answer.tokens for answer in answers]
        if lengths != [stint.tokens] * len(stint.prompts):
            raise ValueError(f"answers of {stint.tokens} tokens were asked for, got {lengths}")
        firsts = [answer.first_s for answer in answers]
        gaps = [gap for answer in answers for gap in answer.gaps_s]
        return cls(
            tokens_per_s=sum(lengths) / took_s,
            first_median_s=median(firsts),
            first_worst_s=max(firsts),
            between_p99_s=quantile(gaps, 0.99) if gaps else 0.0,
        )


@dataclass(slots=True)
class PromptSource:
    """Draws prompts that begin differently, so that nobody can reuse what it knows of others."""

    draw: Random = field(default_factory=lambda: Random(7))  # noqa: S311 - no secrets

    def prompt(self, length: int) -> list[int]:
        """One of `length` tokens."""
        return [BOS, *self.draw.choices(range(FIRST_TEXT, VOCABULARY), k=length - 1)]

    def stint(self, *, clients: int, prompts: int, length: int, tokens: int) -> Stint:
        """A stint with prompts of its own."""
        drawn = [self.prompt(length) for _ in range(prompts)]
        return Stint(clients=clients, prompts=drawn, tokens=tokens)


async def drive(ask: Callable[[Prompt, int, Watch], Awaitable[None]], stint: Stint) -> list[Answer]:
    """The answers to `stint`, by calls of `ask`, each told where to note what it sees."""
    left = iter(stint.prompts)
    answers: list[Answer] = []

    async def client() -> None:
        for prompt in left:
            watch = Watch()
            await ask(prompt, stint.tokens, watch)
            answers.append(watch.answer())

    async with asyncio.TaskGroup() as group:
        for _ in range(stint.clients):
            group.create_task(client())
    return answers
