"""`reasoning_effort` as Ollama's `think`.

Which values `think` may have is the model's own: most are switched on and off, some have named
levels that cannot be switched off. A value that a model lacks is refused or, by newer servers,
taken for the default without a word; so nothing is sent that the model did not name.
Source: docs.ollama.com/capabilities/thinking and docs.ollama.com/api/chat, crawled October 2026
(server 0.40); github.com/ollama/ollama issue 12561 (2025-10-10) for the refusal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from one_api.adapter import Call, ChatCompletionRequest
from one_api_ollama.losses import drop

ThinkValues = Sequence[bool | str]

#: What a model is taken to understand that was not asked about.
SWITCH: Final[ThinkValues] = (True, False)
_EFFORTS: Final = ("minimal", "low", "medium", "high", "xhigh", "max")


def values_from_wire(shown: Mapping[str, Any]) -> ThinkValues:
    """The values of `think` that a model takes, from what `/api/show` tells; empty for none.

    Servers that tell no values yet tell the capability, and take `true` and `false`.
    """
    thinking = shown.get("thinking")
    values = thinking.get("values") if isinstance(thinking, Mapping) else None
    if isinstance(values, list):
        return tuple(value for value in values if isinstance(value, bool | str))
    capabilities = shown.get("capabilities")
    return SWITCH if isinstance(capabilities, list) and "thinking" in capabilities else ()


def think_to_wire(
    request: ChatCompletionRequest, call: Call, values: ThinkValues
) -> bool | str | None:
    """The nearest to the wanted effort among `values`; None where nothing is to be sent.

    Raises: UnsupportedParameter for an effort without effect where strictness is asked for.
    """
    wanted = request.reasoning_effort
    if wanted is None:
        return None
    can_think = any(value is not False for value in values)
    if wanted == "none" and (False in values or not can_think):
        return False if can_think else None
    level = _nearest_level(wanted, values)
    if level is not None:
        return level
    if wanted != "none" and True in values:
        return True
    drop(call, "reasoning_effort")
    return None


def _nearest_level(wanted: str, values: ThinkValues) -> str | None:
    """The named level nearest to `wanted`, the lower of two that are as near."""
    rank = _EFFORTS.index(wanted) if wanted in _EFFORTS else -1
    levels = [value for value in values if isinstance(value, str) and value in _EFFORTS]
    return min(
        levels,
        key=lambda level: (abs(_EFFORTS.index(level) - rank), _EFFORTS.index(level)),
        default=None,
    )
