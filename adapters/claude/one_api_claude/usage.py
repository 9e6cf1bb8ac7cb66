"""Anthropic's count of tokens as OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from one_api.adapter import Usage

#: Anthropic's service tiers by OpenAI's names.
SERVICE_TIERS: Mapping[str, str] = {
    "standard": "default",
    "priority": "priority",
    "batch": "flex",
}
#: Objects of a `usage` object that tell parts of its counts.
_DETAILS = ("output_tokens_details", "cache_creation")


class UsageCount:
    """The tokens of one reply, over all messages it took.

    Counts of one message are cumulative: later ones replace earlier ones and are never added.
    """

    def __init__(self) -> None:
        self._earlier = Usage(prompt_tokens=0, completion_tokens=0)
        self._counts: dict[str, int] = {}

    def take(self, usage: object) -> None:
        """Keep the counts of a `usage` object; what it does not tell stays as it was."""
        if not isinstance(usage, Mapping):
            return
        details = [usage.get(name) for name in _DETAILS]
        for counts in (usage, *(part for part in details if isinstance(part, Mapping))):
            for name, value in counts.items():
                if isinstance(value, int) and value >= 0:
                    self._counts[name] = value

    def begin_message(self) -> None:
        """Close the count of one message: what follows is added to it."""
        self._earlier = self.total()
        self._counts = {}

    def total(self, *, unreported_chars: int | None = None) -> Usage:
        """The count so far.

        `unreported_chars`: the reply was cut after that much text and the provider's last word on
        the output is missing; it is estimated at four characters to a token.
        """
        cached = self._counts.get("cache_read_input_tokens", 0)
        written = self._counts.get("cache_creation_input_tokens", 0)
        output = self._counts.get("output_tokens", 0)
        if unreported_chars is not None:
            output = max(output, -(-unreported_chars // 4))
        earlier = self._earlier
        return Usage(
            prompt_tokens=earlier.prompt_tokens
            + self._counts.get("input_tokens", 0)
            + cached
            + written,
            completion_tokens=earlier.completion_tokens + output,
            cached_tokens=earlier.cached_tokens + cached,
            cache_write_tokens=earlier.cache_write_tokens + written,
            cache_write_1h_tokens=earlier.cache_write_1h_tokens
            + self._counts.get("ephemeral_1h_input_tokens", 0),
            reasoning_tokens=earlier.reasoning_tokens + self._counts.get("thinking_tokens", 0),
            estimated=unreported_chars is not None,
        )


def service_tier_from_wire(usage: Any) -> str | None:
    """OpenAI's name of the service tier that a `usage` object tells of."""
    tier = usage.get("service_tier") if isinstance(usage, Mapping) else None
    return SERVICE_TIERS.get(tier) if isinstance(tier, str) else None
