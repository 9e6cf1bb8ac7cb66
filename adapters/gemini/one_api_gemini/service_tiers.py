"""Google's tiers of service as OpenAI's.

Google may serve a request in a lower tier than it was asked for, and tells which in a header.
Source: ai.google.dev, "Priority inference" and "Flex inference" (stored copies, 2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Google's names by OpenAI's.
TIERS: Final[Mapping[str, str]] = {"default": "standard", "flex": "flex", "priority": "priority"}
_BY_GOOGLES: Final = {theirs: ours for ours, theirs in TIERS.items()}


def served_tier(headers: Mapping[str, str]) -> str | None:
    """The tier that a reply with these headers was made in; None where that is not told."""
    return _BY_GOOGLES.get(headers.get("x-gemini-service-tier", "").lower())
