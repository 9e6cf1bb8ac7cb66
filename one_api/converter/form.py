"""How a reply is written: its identity, its usage, its frames."""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import orjson

from one_api.errors import GatewayError
from one_api.events import Usage
from one_api.schemas import JsonObject

ReasoningField = Literal["both", "reasoning", "reasoning_content"]

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"

_REASONING_NAMES: dict[ReasoningField, tuple[str, ...]] = {
    "both": ("reasoning_content", "reasoning"),
    "reasoning": ("reasoning",),
    "reasoning_content": ("reasoning_content",),
}
_ALPHABET = (string.ascii_letters + string.digits).encode()
_TO_ALPHABET = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))


def random_id(prefix: str, length: int = 29) -> str:
    """`prefix` and `length` random letters and digits, as OpenAI's ids look."""
    return prefix + secrets.token_bytes(length).translate(_TO_ALPHABET).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """How this client wants its reply: the model name it used, and what it asked to see.

    `functions` says that it used the legacy `functions` and must get `function_call` back.
    """

    model: str
    include_usage: bool = False
    functions: bool = False
    reasoning_field: ReasoningField = "both"
    id: str = field(default_factory=lambda: random_id("chatcmpl-"))
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def reasoning_names(self) -> tuple[str, ...]:
        """The message fields that carry reasoning text."""
        return _REASONING_NAMES[self.reasoning_field]


def usage_to_wire(usage: Usage) -> JsonObject:
    """`usage` in OpenAI's shape."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.prompt_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.completion_audio_tokens,
            "accepted_prediction_tokens": usage.accepted_prediction_tokens,
            "rejected_prediction_tokens": usage.rejected_prediction_tokens,
        },
    }


def usage_from_wire(wire: object) -> Usage | None:
    """The usage in an OpenAI-shaped object; None when it holds no counts.

    Read liberally, never trusted: what is not a whole number, or is negative, counts as 0.
    """
    if not isinstance(wire, Mapping) or "prompt_tokens" not in wire:
        return None
    prompt = wire.get("prompt_tokens_details")
    completion = wire.get("completion_tokens_details")
    # DeepSeek tells cache hits beside the totals (docs.stigg.io, stored copy).
    cached = _count(prompt, "cached_tokens") or _count(wire, "prompt_cache_hit_tokens")
    return Usage(
        prompt_tokens=_count(wire, "prompt_tokens"),
        completion_tokens=_count(wire, "completion_tokens"),
        cached_tokens=cached,
        cache_write_tokens=_count(prompt, "cache_write_tokens"),
        reasoning_tokens=_count(completion, "reasoning_tokens"),
        prompt_audio_tokens=_count(prompt, "audio_tokens"),
        completion_audio_tokens=_count(completion, "audio_tokens"),
        accepted_prediction_tokens=_count(completion, "accepted_prediction_tokens"),
        rejected_prediction_tokens=_count(completion, "rejected_prediction_tokens"),
    )


def _count(wire: object, key: str) -> int:
    value = wire.get(key) if isinstance(wire, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def error_frame(error: GatewayError) -> bytes:
    """The server-sent event that tells a client of `error` inside a stream.

    Nothing follows it: no finish, no usage, no `[DONE]`.
    """
    return b"data: " + orjson.dumps(error.to_wire()) + b"\n\n"


def frame(chunk: JsonObject) -> bytes:
    """One chunk as a server-sent event."""
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
