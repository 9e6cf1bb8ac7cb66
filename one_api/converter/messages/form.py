"""What a message consists of besides its content: identity, usage and the frames of its stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from one_api.converter.form import ReplyForm
    from one_api.events import Usage
    from one_api.schemas import JsonObject

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'


def event_frame(event: JsonObject) -> bytes:
    """One event; clients drop those that are not named."""
    name: str = event["type"]
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def message_to_wire(form: ReplyForm, content: list[JsonObject], usage: Usage) -> JsonObject:
    """A message whose end is not told yet."""
    return {
        "id": form.id.replace("chatcmpl-", "msg_", 1),
        "type": "message",
        "role": "assistant",
        "model": form.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage_to_wire(usage),
    }


def stop_to_wire(stop_reason: str, stop_sequence: str | None = None) -> JsonObject:
    """Why a message ended."""
    is_refusal = stop_reason == "refusal"
    details = {"type": "refusal", "category": None, "explanation": None} if is_refusal else None
    return {"stop_reason": stop_reason, "stop_sequence": stop_sequence, "stop_details": details}


def usage_to_wire(usage: Usage) -> JsonObject:
    """`usage` as Anthropic counts: what the cache had is not part of the input tokens."""
    uncached = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    return {
        "input_tokens": max(uncached, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
