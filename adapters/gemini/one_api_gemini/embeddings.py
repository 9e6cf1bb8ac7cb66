"""OpenAI's embedding requests as Google's batchEmbedContents.

Each text is a request of its own in the batch: several texts in one content give one vector.
Source: ai.google.dev, "Embeddings", stored copies of 2026-09; `EmbedContentResponse` of
google-genai 3.4.0 (2026-11); googleapis/python-genai issue 2523 (2026-09).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from one_api.adapter import (
    EmbeddingRequest,
    InvalidRequest,
    JsonObject,
    UnsupportedParameter,
    UpstreamInvalidResponse,
)

#: The most texts of one request to Google.
MAX_BATCH: Final = 100


def texts_of(request: EmbeddingRequest) -> list[str]:
    """The inputs of `request`.

    Raises: UnsupportedParameter for token ids: they are those of another provider's models.
    """
    texts: list[str] = []
    for given in request.inputs:
        if not isinstance(given, str):
            raise UnsupportedParameter(
                "Token ids are not supported with this model; send text.", param="input"
            )
        texts.append(given)
    return texts


def batches_to_wire(texts: Sequence[str], model: str, dimensions: int | None) -> Iterator[bytes]:
    """The bodies of the requests for `texts`, in their order; `model` is the resource's name."""
    for at in range(0, len(texts), MAX_BATCH):
        requests: list[JsonObject] = [
            {"model": model, "content": {"parts": [{"text": text}]}}
            for text in texts[at : at + MAX_BATCH]
        ]
        if dimensions is not None:
            for request in requests:
                request["outputDimensionality"] = dimensions
        try:
            yield orjson.dumps({"requests": requests})
        except orjson.JSONEncodeError as exc:
            raise InvalidRequest(f"The request cannot be sent on: {exc}.", param="input") from exc


def vectors_from_wire(body: bytes, *, shortened: bool) -> tuple[list[list[float]], int | None]:
    """The vectors in a reply and the tokens they took, None where it does not tell.

    `shortened`: brought to length 1, as OpenAI's are; models before gemini-embedding-2 do so for
    their full size only.
    Raises: UpstreamInvalidResponse.
    """
    try:
        reply = orjson.loads(body)
        vectors = [_vector(embedding["values"]) for embedding in reply["embeddings"]]
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as exc:
        raise UpstreamInvalidResponse("The provider's reply holds no embeddings.") from exc
    if shortened:
        vectors = [_of_length_1(vector) for vector in vectors]
    usage: Any = reply.get("usageMetadata")
    tokens = usage.get("promptTokenCount") if isinstance(usage, dict) else None
    return vectors, tokens if isinstance(tokens, int) else None


def _vector(values: Any) -> list[float]:
    return [float(value) for value in values]


def _of_length_1(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else vector
