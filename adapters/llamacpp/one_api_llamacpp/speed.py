"""How fast a model answers on this machine: the numbers of `one-api local bench`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from statistics import median, quantiles
from typing import Any, Final, Protocol

from one_api.adapter import Call, CompletionRequest, Event, TextDelta, UsageReport
from one_api_llamacpp.gguf_header import GGUFHeader

#: Keys of the tokens that end an answer: they are ruled out, so that all answers are as long.
_ENDS: Final = ("eos_token_id", "eot_token_id", "eom_token_id")


class Completing(Protocol):
    """What is measured: a loaded model."""

    def complete(self, request: CompletionRequest, call: Call) -> AsyncGenerator[Event, None]:
        """The events of a raw completion."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: so many answers at once, each of so many tokens to so long a prompt."""

    streams: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What came of it. Times are in seconds; `between` tokens is the 99th percentile."""

    tokens_per_s: float
    first_median_s: float
    first_worst_s: float
    between_s: float


@dataclass(slots=True)
class _Stream:
    first_s: float = 0.0
    gaps_s: list[float] = field(default_factory=list)
    tokens: int = 0


async def measure(
    model: Completing,
    header: GGUFHeader,
    load: Load,
    *,
    seed: int,
    now_s: Callable[[], float] = time.monotonic,
) -> Speed:
    """Ask `model` for continuations of random tokens, all at once.

    Prompts of another `seed` have nothing in common with those before, which it may remember.
    Raises: GatewayError, what the model raises.
    """
    draw = Random(seed)  # noqa: S311 - prompts are no secrets
    requests = [_request(header, load, draw) for _ in range(load.streams)]
    began_s = now_s()
    tasks = [asyncio.create_task(_listen(model, request, now_s)) for request in requests]
    try:
        streams = await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # of which one failed
            task.cancel()
    return _summary(streams, now_s() - began_s)


async def _listen(
    model: Completing, request: CompletionRequest, now_s: Callable[[], float]
) -> _Stream:
    stream, last_s = _Stream(), now_s()
    async with aclosing(model.complete(request, Call(model="bench"))) as events:
        async for event in events:
            if isinstance(event, TextDelta):
                at_s = now_s()
                if stream.first_s == 0.0:
                    stream.first_s = at_s - last_s
                else:
                    stream.gaps_s.append(at_s - last_s)
                last_s = at_s
            elif isinstance(event, UsageReport):
                stream.tokens = event.usage.completion_tokens
    return stream


def _summary(streams: Sequence[_Stream], took_s: float) -> Speed:
    firsts = [stream.first_s for stream in streams]
    gaps = [gap for stream in streams for gap in stream.gaps_s]
    return Speed(
        tokens_per_s=sum(stream.tokens for stream in streams) / max(took_s, 1e-9),
        first_median_s=median(firsts),
        first_worst_s=max(firsts),
        between_s=quantiles(gaps, n=100)[-1] if len(gaps) > 1 else 0.0,
    )


def _request(header: GGUFHeader, load: Load, draw: Random) -> CompletionRequest:
    ends = (header.metadata.get(f"tokenizer.ggml.{key}") for key in _ENDS)
    # The control tokens come first or last in most vocabularies; the middle is text.
    tokens = range(header.vocabulary // 4, max(header.vocabulary * 3 // 4, 1))
    fields: dict[str, Any] = {
        "prompt": [draw.choices(tokens, k=load.prompt_tokens)],
        "max_tokens": load.completion_tokens,
        "logit_bias": {str(token): -100 for token in ends if isinstance(token, int)},
    }
    return CompletionRequest.from_wire(fields)
