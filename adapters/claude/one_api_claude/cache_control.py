"""Prompt cache breakpoints: OpenAI's and the de-facto one, as Anthropic's `cache_control`.

Anthropic takes at most four in a request, and none of a longer life after one of a shorter.
Source: platform.claude.com, "Prompt caching", stored copies of 2026-08 to 2026-10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anthropic.types import CacheControlEphemeralParam

MAX_BREAKPOINTS = 4


def cache_control_of(part: Mapping[str, Any]) -> CacheControlEphemeralParam | None:
    """The breakpoint that a content part, a message or a tool asks for.

    OpenAI's live 30 minutes unless they say 12 hours; Anthropic's nearest is one hour.
    """
    breakpoint_ = part.get("prompt_cache_breakpoint")
    if isinstance(breakpoint_, Mapping) and breakpoint_.get("mode") == "explicit":
        return {"type": "ephemeral", "ttl": "1h"}
    own = part.get("cache_control")
    if isinstance(own, Mapping) and own.get("type") == "ephemeral":
        return (
            {"type": "ephemeral", "ttl": "1h"} if own.get("ttl") == "1h" else {"type": "ephemeral"}
        )
    return None


def limit_breakpoints(blocks: Iterable[Any]) -> None:
    """Keep the last four breakpoints of `blocks`, in prompt order, and shorten those that must be.

    The blocks are changed in place.
    """
    marked = [block for block in blocks if block.get("cache_control")]
    for block in marked[:-MAX_BREAKPOINTS]:
        del block["cache_control"]
    is_short = False
    for block in marked[-MAX_BREAKPOINTS:]:
        is_short = is_short or "ttl" not in block["cache_control"]
        if is_short:
            block["cache_control"] = {"type": "ephemeral"}
