"""Vectors for texts: an optional ability of adapters.

Providers of OpenAI's own format need it not: there the request itself is passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from one_api.adapter.base import Call
    from one_api.schemas.embeddings import EmbeddingRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vector for each input, in their order, and what the inputs cost.

    `prompt_tokens` is None where the provider does not tell: the gateway then counts.
    """

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int | None = None


@runtime_checkable
class SupportsEmbeddings(Protocol):
    """An adapter whose models turn text into vectors."""

    async def embed(self, request: EmbeddingRequest, call: Call) -> Embeddings:
        """The vectors for `request.inputs`; `encoding_format` is the gateway's business.

        Raises: UnsupportedParameter for `dimensions` or token ids that cannot be honoured;
        any other GatewayError.
        """
