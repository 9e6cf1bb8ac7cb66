"""An embedding request: every documented field with its type and range.

Source: openai-python 3.52.0 types and OpenAI's published specification 2.3.0 (2026-08-21). `null`
means absent.
Unknown fields are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

from one_api.schemas.body import RequestBody

#: Most inputs of one request.
MAX_INPUTS = 2048

Token = Annotated[int, Field(ge=0)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Text = Annotated[str, StringConstraints(min_length=1)]


def tag_of_inputs(value: Any) -> str:
    """Which form of text or tokens `value` has, judged by its first item."""
    if not isinstance(value, list):
        return "<str>"
    first = value[0] if value else ""
    if isinstance(first, list):
        return "<token lists>"
    is_token = isinstance(first, int) and not isinstance(first, bool)
    return "<tokens>" if is_token else "<texts>"


Input = Annotated[
    Annotated[Text, Tag("<str>")]
    | Annotated[Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)], Tag("<texts>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[
        Annotated[list[Tokens], Field(min_length=1, max_length=MAX_INPUTS)], Tag("<token lists>")
    ],
    Discriminator(tag_of_inputs),
]


class EmbeddingRequest(RequestBody):
    """The body of `POST /v1/embeddings`, checked; build one with `from_wire`."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    input: Input
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None

    @property
    def inputs(self) -> Sequence[str | list[int]]:
        """What to embed, one vector for each: texts, or lists of the model's own token ids."""
        given = self.input
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [given]
        return given
