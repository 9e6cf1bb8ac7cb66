"""Thinking: how much of it is asked for, and the mark of what this gateway passed off as a block.

Anthropic signs the thinking of its models, and clients send it back. What another provider's
model thought gets a signature of ours, by which it is recognised when it comes back: Anthropic
would refuse it. The key lives as long as the process: nobody ever needs to verify a signature,
since these blocks are left out of whatever is sent on.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from one_api.schemas.anthropic import OutputConfig, Thinking
    from one_api.schemas.chat import ReasoningEffort

SIGNATURE_PREFIX: Final = "one_api.v1."
_KEY: Final = secrets.token_bytes(32)

#: Budgets in tokens below which thinking is of this effort.
_BUDGETS: Final[tuple[tuple[int, ReasoningEffort], ...]] = (
    (2_048, "low"),
    (8_192, "medium"),
    (24_576, "high"),
)


def signature_of(thinking: str) -> str:
    """Our signature for what a model of another provider thought."""
    mac = hmac.new(_KEY, thinking.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return SIGNATURE_PREFIX + mac.hexdigest()


def is_ours(block: Mapping[str, object]) -> bool:
    """Whether `block` is thinking with a signature of this or another one_api."""
    signature = block.get("signature")
    return (
        block.get("type") == "thinking"
        and isinstance(signature, str)
        and signature.startswith(SIGNATURE_PREFIX)
    )


def effort_to_wire(
    thinking: Thinking | None, output_config: OutputConfig | None
) -> ReasoningEffort | None:
    """OpenAI's `reasoning_effort` for what was asked; None leaves it to the model."""
    kind = thinking["type"] if thinking else None
    if kind in ("disabled", "between_tools"):
        return "none"
    effort = output_config.get("effort") if output_config else None
    if effort is not None:
        return effort
    budget = thinking.get("budget_tokens") if thinking else None
    if kind != "enabled" or budget is None:
        return None
    return next((name for bound, name in _BUDGETS if budget < bound), "xhigh")
