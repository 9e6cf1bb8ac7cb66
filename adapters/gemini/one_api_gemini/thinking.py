"""OpenAI's reasoning effort as Google's thinking level, or budget of tokens for models of 2.5.

Thoughts count against `maxOutputTokens`, as reasoning does against OpenAI's limit.
Source: ai.google.dev, "Gemini thinking" and "OpenAI compatibility" (the budgets for an effort),
stored copies of 2026-09.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from one_api.adapter import Call, ChatCompletionRequest, JsonObject
from one_api_gemini.capabilities import BudgetRange, Level, ModelCapabilities
from one_api_gemini.losses import degrade

#: Tokens to think with, for models that want a number.
BUDGETS: Final[Mapping[Level, int]] = {
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
}
_LEVELS: Final[Mapping[str, Level]] = {
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def thinking_to_wire(
    request: ChatCompletionRequest, call: Call, capabilities: ModelCapabilities
) -> JsonObject:
    """The `thinkingConfig` that `request` asks for; empty when it asks for nothing.

    Raises: UnsupportedParameter where strictness is asked for and the model cannot stop thinking.
    """
    if not capabilities.thinks:
        return {}
    wanted = request.reasoning_effort
    if wanted == "none":
        return _least(call, capabilities)
    config: JsonObject = {}
    if wanted is not None or (request.model_extra or {}).get("include_reasoning") is True:
        config["includeThoughts"] = True
    if wanted is None:
        return config
    level = _LEVELS[wanted]
    if capabilities.budget is not None:
        config["thinkingBudget"] = _within(BUDGETS[level], capabilities.budget)
    else:
        config["thinkingLevel"] = capabilities.nearest_level(level).upper()
    return config


def _least(call: Call, capabilities: ModelCapabilities) -> JsonObject:
    budget = capabilities.budget
    if budget is not None and budget.can_be_off:
        return {"thinkingBudget": 0}
    degrade(call, "reasoning_effort", "This model cannot answer without thinking.")
    if budget is not None:
        return {"thinkingBudget": budget.least}
    return {"thinkingLevel": capabilities.nearest_level("minimal").upper()}


def _within(tokens: int, budget: BudgetRange) -> int:
    return min(max(tokens, budget.least), budget.most)
