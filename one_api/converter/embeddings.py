"""Vectors in, OpenAI's list of embeddings out; and a provider's own list, mended where it must be.

A vector is written as numbers, or as base64 of little-endian 32-bit floats, which OpenAI's SDK asks
for unless told otherwise.
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any, Literal

from one_api.errors import UpstreamInvalidResponse
from one_api.schemas import JsonObject

Encoding = Literal["float", "base64"]


def embeddings_to_wire(
    vectors: Sequence[Sequence[float]], *, model: str, prompt_tokens: int, encoding: Encoding
) -> JsonObject:
    """The reply of the embeddings endpoint, the vectors in the order of their inputs.

    Raises: UpstreamInvalidResponse for a vector that is empty or not of finite numbers.
    """
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _to_wire(vector, encoding)}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


def mended_embeddings(reply: object, *, inputs: int, encoding: Encoding) -> JsonObject:
    """A provider's reply with every vector in the encoding that was asked for.

    Providers that know one encoding only give that one, whatever they are asked for. The usage may
    still be absent.
    Raises: UpstreamInvalidResponse when there is not one vector for each of `inputs`.
    """
    data = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(reply, dict) or not isinstance(data, list) or len(data) != inputs:
        raise UpstreamInvalidResponse("The provider's reply does not hold one vector per input.")
    return {
        **reply,
        "object": "list",
        "data": [_mended(item, index, encoding) for index, item in enumerate(data)],
    }


def _mended(item: Any, index: int, encoding: Encoding) -> JsonObject:
    given = item.get("embedding") if isinstance(item, dict) else None
    if not isinstance(given, list | str) or not given:
        raise UpstreamInvalidResponse("The provider's reply holds no vector where one must be.")
    if isinstance(given, str) != (encoding == "base64"):
        given = _to_wire(_from_wire(given), encoding)
    return {"object": "embedding", "index": index, **item, "embedding": given}


def _to_wire(vector: Sequence[float], encoding: Encoding) -> list[float] | str:
    try:
        numbers = array("f", vector)
    except (TypeError, OverflowError) as exc:
        raise UpstreamInvalidResponse("An embedding holds what is no number.") from exc
    if not numbers or not all(map(math.isfinite, numbers)):
        raise UpstreamInvalidResponse("An embedding is empty, or holds a number without a value.")
    if encoding == "float":
        return numbers.tolist()
    return base64.b64encode(_little_endian(numbers).tobytes()).decode()


def _from_wire(given: list[Any] | str) -> Sequence[float]:
    if isinstance(given, list):
        return given
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(given, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise UpstreamInvalidResponse("An embedding is not base64 of 32-bit floats.") from exc
    return _little_endian(numbers)


def _little_endian(numbers: array[float]) -> array[float]:
    """`numbers` as they are on the wire, or from it back; a new array where that differs."""
    if sys.byteorder == "little":
        return numbers
    swapped = array("f", numbers)
    swapped.byteswap()
    return swapped
