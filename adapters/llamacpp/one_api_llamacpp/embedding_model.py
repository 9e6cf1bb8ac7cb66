"""What the embedding queue needs of a loaded model; `native_pooling.py` gives it with llama.cpp.

Everything but `tokenise` is called on the one thread that owns the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class EmbeddingModel(Protocol):
    """A model that turns lists of tokens into vectors."""

    #: Most tokens of one input, and of all inputs of one call of `embed`.
    max_tokens: int
    #: Most inputs of one call of `embed`.
    max_inputs: int
    vocabulary_size: int
    dimensions: int

    def tokenise(self, text: str) -> list[int]:
        """The tokens of `text`, with those that the model wants around it. From any thread."""

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """One vector for each of `inputs`, pooled from its tokens' states, as it is.

        Raises: UpstreamError.
        """
