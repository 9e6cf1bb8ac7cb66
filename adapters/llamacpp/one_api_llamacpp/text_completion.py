"""Raw prompts of legacy completions: each continued as often as was asked, one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from one_api.adapter import (
    Call,
    CompletionRequest,
    Event,
    Finish,
    Start,
    TextDelta,
    UnsupportedParameter,
    Usage,
    UsageReport,
)
from one_api_llamacpp.engine import SerialEngine
from one_api_llamacpp.prompt import Prompt, PromptMaker

#: Fields without effect here that only tune an answer.
_DROPPED: Final = ("user",)
_KNOWN_EXTRAS: Final = frozenset({"min_p", "top_k"})


def check(request: CompletionRequest, call: Call) -> None:
    """Note in `call` what will have no effect.

    Raises: UnsupportedParameter for what would change the reply.
    """
    for name, is_asked in (
        ("prompt", not request.prompts),
        ("suffix", bool(request.suffix)),
        ("echo", bool(request.echo)),
        ("logprobs", request.logprobs is not None),
        ("best_of", (request.best_of or 1) > (request.n or 1)),
        ("max_tokens", request.max_tokens == 0),
    ):
        if is_asked:
            raise _unsupported(name)
    unknown = sorted((request.model_extra or {}).keys() - _KNOWN_EXTRAS)
    for name in (*_DROPPED, *unknown):
        if name in request.model_fields_set or name in unknown:
            if call.strict_params:
                raise _unsupported(name)
            call.drop(name)


async def complete(
    request: CompletionRequest, engine: SerialEngine, prompts: list[Prompt]
) -> AsyncGenerator[Event, None]:
    """The completions of `prompts`, `n` for each, numbered through; usage is their sum."""
    yield Start()
    n = request.n or 1
    prompt_tokens = completion_tokens = cached_tokens = 0
    for choice in range(len(prompts) * n):
        prompt, number = prompts[choice // n], choice % n
        # Another seed for each, or all completions of a prompt would be the same.
        sampling = replace(prompt.sampling, seed=(prompt.sampling.seed + number) % (2**32 - 1))
        async with aclosing(engine.generate(replace(prompt, sampling=sampling))) as events:
            async for event in events:
                if isinstance(event, TextDelta | Finish):
                    yield replace(event, choice=choice)
                elif isinstance(event, UsageReport):
                    completion_tokens += event.usage.completion_tokens
                    if number == 0:
                        prompt_tokens += event.usage.prompt_tokens
                        cached_tokens += event.usage.cached_tokens
    yield UsageReport(
        Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
        )
    )


def make_prompts(request: CompletionRequest, maker: PromptMaker) -> list[Prompt]:
    """The prompts of `request`, as tokens. Blocking.

    Raises: InvalidRequest, ContextWindowExceeded.
    """
    return [maker.make_raw(request, given) for given in request.prompts]


def _unsupported(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"Unsupported parameter: '{name}' is not supported with local models.", param=name
    )
