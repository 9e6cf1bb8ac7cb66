"""Google's count of tokens as OpenAI's.

Google tells thoughts beside the answer, where OpenAI makes them part of it, and cached tokens as
part of the prompt, as OpenAI does. Counts of a stream are cumulative: the last ones are the truth.
Source: `GenerateContentResponseUsageMetadata` of google-genai 3.4.0 (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from one_api.adapter import UpstreamInvalidResponse, Usage


def usage_from_wire(metadata: Any) -> Usage | None:
    """The count in a `usageMetadata` object; None when it is none or does not tell the prompt."""
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("promptTokenCount"), int):
        return None
    reasoning = _count(metadata, "thoughtsTokenCount")
    return Usage(
        prompt_tokens=_count(metadata, "promptTokenCount")
        + _count(metadata, "toolUsePromptTokenCount"),
        completion_tokens=_count(metadata, "candidatesTokenCount") + reasoning,
        cached_tokens=_count(metadata, "cachedContentTokenCount"),
        reasoning_tokens=reasoning,
        prompt_audio_tokens=_audio(metadata.get("promptTokensDetails")),
        completion_audio_tokens=_audio(metadata.get("candidatesTokensDetails")),
    )


def count_from_wire(body: bytes) -> int:
    """The tokens of a prompt in a reply of countTokens, those of a cache included.

    Raises: UpstreamInvalidResponse.
    """
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
    count = told.get("totalTokens") if isinstance(told, Mapping) else None
    if not isinstance(count, int) or isinstance(count, bool):
        raise UpstreamInvalidResponse("The provider's reply tells no number of tokens.")
    return count


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _audio(details: Any) -> int:
    return sum(
        _count(detail, "tokenCount")
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, Mapping) and detail.get("modality") == "AUDIO"
    )
