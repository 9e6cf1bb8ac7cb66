"""Vectors, by `/api/embed`.

Source: docs.ollama.com/api/embed and docs.ollama.com/openapi.yaml, read 2026-11-21.
"""

from __future__ import annotations

from typing import Any

import orjson

from one_api.adapter import (
    Call,
    EmbeddingRequest,
    Embeddings,
    JsonObject,
    UnsupportedParameter,
    UpstreamInvalidResponse,
)


def embedding_to_wire(request: EmbeddingRequest, call: Call) -> JsonObject:
    """The body of `/api/embed`.

    Raises: UnsupportedParameter for token ids.
    """
    if any(not isinstance(text, str) for text in request.inputs):
        raise UnsupportedParameter("This model takes texts, not the ids of tokens.", param="input")
    # What is too long would be cut without a word, and its vector would stand for another text.
    body: JsonObject = {"model": call.model, "input": list(request.inputs), "truncate": False}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def embeddings_from_wire(request: EmbeddingRequest, data: bytes) -> Embeddings:
    """The vectors in the body of a reply.

    Raises: UnsupportedParameter for dimensions that were asked for in vain,
    UpstreamInvalidResponse.
    """
    try:
        told: Any = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
    vectors = told.get("embeddings") if isinstance(told, dict) else None
    if not isinstance(vectors, list) or len(vectors) != len(request.inputs):
        raise UpstreamInvalidResponse("The provider's reply has not one vector for each input.")
    if not all(isinstance(vector, list) and vector for vector in vectors):
        raise UpstreamInvalidResponse("The provider's reply has a vector without numbers.")
    if request.dimensions not in (None, len(vectors[0])):
        raise UnsupportedParameter(
            f"This model's vectors have {len(vectors[0])} dimensions.", param="dimensions"
        )
    count = told.get("prompt_eval_count")
    return Embeddings(vectors=vectors, prompt_tokens=count if isinstance(count, int) else None)
