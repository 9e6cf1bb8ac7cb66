"""How the next token is chosen: the request's parameters with OpenAI's defaults, checked."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from one_api.adapter import ChatCompletionRequest, CompletionRequest, InvalidRequest

AnyRequest = ChatCompletionRequest | CompletionRequest

#: llama.cpp's seeds are 32 bits wide, and the last one means "choose for me".
_SEEDS: Final = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """How likely the model held one sampled token to be, before any sampling parameter.

    `logprob` is a natural logarithm. `top` are the likeliest tokens at this place, likeliest
    first: id, bytes and logarithm of each; as many as `Sampling.logprobs` asks for.
    """

    token: int
    piece: bytes
    logprob: float
    top: Sequence[tuple[int, bytes, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Parameters of one answer's sampler; the defaults leave the model's distribution alone.

    `temperature` 0 always takes the likeliest token. `top_k` 0 and `min_p` 0 are off; top-k is
    applied before top-p, which otherwise sorts the whole vocabulary. Penalties count the answer's
    own tokens, `logit_bias` is by token id of this model. `grammar` is GBNF whose rule `root` the
    whole answer follows, from its first token on and reasoning included. `logprobs` is how many
    alternatives are told for each token; None asks for no logprobs at all.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    grammar: str | None = None
    logprobs: int | None = None

    def for_choice(self, number: int) -> Self:
        """The same with another seed for each `number`, or all choices would be the same."""
        return replace(self, seed=(self.seed + number) % _SEEDS)

    @classmethod
    def from_request(cls, request: AnyRequest, vocabulary_size: int) -> Self:
        """What `request` asks for; without a seed it gets a random one.

        Raises: InvalidRequest for a token the model does not have, or a wrong `top_k` or `min_p`.
        """
        seed = request.seed if request.seed is not None else secrets.randbelow(_SEEDS)
        return cls(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=_top_k(request),
            min_p=_min_p(request),
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
            logit_bias=_logit_bias(request.logit_bias or {}, vocabulary_size),
            seed=seed % _SEEDS,
            logprobs=_logprobs(request),
        )


def _logprobs(request: AnyRequest) -> int | None:
    """How many alternatives to each token are told; None when no logprobs are."""
    if isinstance(request, CompletionRequest):
        return request.logprobs
    return (request.top_logprobs or 0) if request.logprobs else None


def _top_k(request: AnyRequest) -> int:
    value = (request.model_extra or {}).get("top_k")
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise InvalidRequest(
            "Invalid value for 'top_k': an integer of at least 0 is needed here.", param="top_k"
        )
    return value


def _min_p(request: AnyRequest) -> float:
    value = (request.model_extra or {}).get("min_p")
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(
            "Invalid value for 'min_p': a number from 0 to 1 is needed here.", param="min_p"
        )
    return float(value)


def _logit_bias(bias: Mapping[str, float], vocabulary_size: int) -> dict[int, float]:
    tokens: dict[int, float] = {}
    for key, value in bias.items():
        # isdigit also accepts digits of other scripts, which int() reads too; ASCII is meant.
        if not (key.isascii() and key.isdigit()) or len(key) > 9 or int(key) >= vocabulary_size:
            raise InvalidRequest(
                f"Invalid key in 'logit_bias': this model has no token '{key[:16]}'; its tokens "
                f"are numbered from 0 to {vocabulary_size - 1}.",
                param="logit_bias",
            )
        tokens[int(key)] = value
    return tokens
