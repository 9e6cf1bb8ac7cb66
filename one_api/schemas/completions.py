"""A legacy text completion request: every documented field with its type and range.

Source: openai-python 3.52.0 types and OpenAI's published specification 2.3.0 (2026-08-21). `null`
means absent.
Unknown fields are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)
from typing_extensions import override

from one_api.schemas.body import RequestBody
from one_api.schemas.chat import Penalty, Stop, StreamOptions
from one_api.schemas.embeddings import Tokens, tag_of_inputs
from one_api.schemas.validation import disagree

#: The completion limit of this endpoint where the client names none, in tokens.
DEFAULT_MAX_TOKENS = 16

Prompt = Annotated[
    Annotated[str, Tag("<str>")]
    | Annotated[Annotated[list[str], Field(min_length=1, max_length=2048)], Tag("<texts>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[
        Annotated[list[Tokens], Field(min_length=1, max_length=2048)], Tag("<token lists>")
    ],
    Discriminator(tag_of_inputs),
]


class CompletionRequest(RequestBody):
    """The body of `POST /v1/completions`, checked; build one with `from_wire`."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    prompt: Prompt | None = None
    best_of: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None

    @override
    def _require_agreement(self) -> None:
        if self.stream_options is not None and not self.stream:
            raise disagree("stream_options", "is only allowed when 'stream' is true")
        if self.best_of and self.best_of < (self.n or 1):
            raise disagree("best_of", "must not be smaller than 'n'")
        if self.best_of and self.best_of > (self.n or 1) and self.stream:
            raise disagree("best_of", "cannot choose among completions that are streamed")

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """The prompts: texts, or lists of the model's own token ids; none when none was given."""
        given = self.prompt
        if given is None:
            return []
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [given]
        return given

    @property
    def completion_limit(self) -> int:
        """The most completion tokens of one choice."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def choices(self) -> int:
        """How many choices the reply has: `n` for each prompt, in the prompts' order."""
        return max(len(self.prompts), 1) * (self.n or 1)

    @property
    def stop_sequences(self) -> tuple[str, ...]:
        """The stop sequences as a tuple; empty ones are left out."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or ()
        return tuple(stop for stop in stops if stop)

    @property
    def wants_stream(self) -> bool:
        """Whether the client asked for server-sent events."""
        return bool(self.stream)

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream must end in a chunk with the usage."""
        return bool(self.stream_options and self.stream_options.get("include_usage"))
