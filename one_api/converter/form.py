"""How a reply is written: its identity, its usage, its frames."""

from __future__ import annotations

import os
import string
import time
from dataclasses import dataclass, field
from typing import Any, Literal

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
#: The longest of our ids, besides their prefixes.
_ID_CHARS = 32
#: Random letters and digits for ids to come. The kernel is asked for many at once: to ask for each
#: takes twice as long (0.8 and 0.4 us), and lets other threads have the interpreter meanwhile.
_unused: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unused.clear)


def random_id(prefix: str, length: int = 29) -> str:
    """`prefix` and `length` (at most 32) random letters and digits, as OpenAI's ids look."""
    while True:
        try:
            return prefix + _unused.pop()[:length]  # one step: no two threads get the same
        except IndexError:
            text = os.urandom(128 * _ID_CHARS).translate(_TO_ALPHABET).decode()
            _unused.extend(text[at : at + _ID_CHARS] for at in range(0, len(text), _ID_CHARS))


# Not frozen: to fill it would take twice as long (1.4 and 0.7 us), and each request has one.
@dataclass(slots=True, kw_only=True)
class ReplyForm:
    """How this client wants its reply: the model name it used, and what it asked to see.

    `functions` says that it used the legacy `functions` and must get `function_call` back.
    `given_id` is the reply's id where it has one before it is asked for.
    """

    model: str
    include_usage: bool = False
    functions: bool = False
    reasoning_field: ReasoningField = "both"
    given_id: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def id(self) -> str:
        """What the reply is called whose provider tells no id; made up when it is asked for."""
        if not self.given_id:
            self.given_id = random_id("chatcmpl-")
        return self.given_id

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
    if not isinstance(wire, dict) or "prompt_tokens" not in wire:
        return None
    prompt, completion = wire.get("prompt_tokens_details"), wire.get("completion_tokens_details")
    if not (prompt or completion or "prompt_cache_hit_tokens" in wire):
        # Many providers tell no more than the totals.
        return Usage(
            prompt_tokens=_count(wire["prompt_tokens"]),
            completion_tokens=_count(wire.get("completion_tokens")),
        )
    of_prompt = prompt if isinstance(prompt, dict) else {}
    of_completion = completion if isinstance(completion, dict) else {}
    return Usage(
        prompt_tokens=_count(wire["prompt_tokens"]),
        completion_tokens=_count(wire.get("completion_tokens")),
        # DeepSeek tells cache hits beside the totals (docs.stigg.io, stored copy).
        cached_tokens=_count(of_prompt.get("cached_tokens"))
        or _count(wire.get("prompt_cache_hit_tokens")),
        cache_write_tokens=_count(of_prompt.get("cache_write_tokens")),
        reasoning_tokens=_count(of_completion.get("reasoning_tokens")),
        prompt_audio_tokens=_count(of_prompt.get("audio_tokens")),
        completion_audio_tokens=_count(of_completion.get("audio_tokens")),
        accepted_prediction_tokens=_count(of_completion.get("accepted_prediction_tokens")),
        rejected_prediction_tokens=_count(of_completion.get("rejected_prediction_tokens")),
    )


def _count(value: Any) -> int:
    """`value` where it is a count; true and false are none."""
    return value if type(value) is int and value > 0 else 0


def error_frame(error: GatewayError) -> bytes:
    """The server-sent event that tells a client of `error` inside a stream.

    Nothing follows it: no finish, no usage, no `[DONE]`.
    """
    return b"data: " + orjson.dumps(error.to_wire()) + b"\n\n"


def frame(chunk: JsonObject) -> bytes:
    """One chunk as a server-sent event."""
    return b"data: " + orjson.dumps(chunk) + b"\n\n"
