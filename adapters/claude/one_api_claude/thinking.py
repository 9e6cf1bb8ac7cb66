"""`reasoning_effort` as Anthropic's thinking and effort, within the limit on tokens.

Newer models choose themselves how much to think, within an effort; older ones are given a number
of tokens, which is part of `max_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from one_api.adapter import Call, ChatCompletionRequest, InvalidRequest
from one_api_claude.capabilities import Effort, ModelCapabilities
from one_api_claude.losses import drop

if TYPE_CHECKING:
    from anthropic.types import ThinkingConfigParam

#: Tokens to think with, for models that want a number.
BUDGETS: Final[Mapping[str, int]] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_000,
    "max": 32_000,
}
MIN_BUDGET: Final = 1_024


@dataclass(frozen=True, slots=True)
class Thinking:
    """How the model is asked to think, and the most tokens it may generate in all."""

    max_tokens: int
    config: ThinkingConfigParam | None = None
    effort: Effort | None = None

    @property
    def is_on(self) -> bool:
        """Whether the request asks for thinking."""
        return self.config is not None and self.config["type"] in ("adaptive", "enabled")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else in the request bears on thinking.

    `blocks_budget`: the conversation cannot be gone on with by a model that is told to think by a
    number of tokens. `forces_tools`: a tool call is forced.
    """

    default_max_tokens: int
    blocks_budget: bool = False
    forces_tools: bool = False


def thinking_to_wire(
    request: ChatCompletionRequest,
    call: Call,
    capabilities: ModelCapabilities,
    circumstances: Circumstances,
) -> Thinking:
    """The thinking `request` asks for, as `capabilities` and `circumstances` allow.

    Raises: InvalidRequest, UnsupportedParameter.
    """
    given = _given_config(request)
    wanted = request.reasoning_effort
    if given is not None:
        effort = None if wanted is None or wanted == "none" else _effort(wanted, capabilities)
        budget = given.get("budget_tokens")
        tokens = budget if isinstance(budget, int) else 0
        limit = _max_tokens(request, capabilities, circumstances, thinking_tokens=tokens)
        return Thinking(limit, cast("ThinkingConfigParam", given), effort)
    if capabilities.thinks_by_budget and wanted not in (None, "none"):
        return _by_budget(request, call, capabilities, circumstances)
    limit = _max_tokens(request, capabilities, circumstances)
    if wanted == "none":
        return _without(call, capabilities, limit)
    if wanted is None and not _wants_to_read(request, capabilities):
        return _forced(Thinking(limit), capabilities, circumstances)
    effort = None if wanted is None else _effort(wanted, capabilities)
    if "adaptive" not in capabilities.thinking:
        if effort is None:
            drop(call, "reasoning_effort", "This model does not think before it answers.")
        return Thinking(limit, None, effort)
    config: ThinkingConfigParam = {"type": "adaptive", "display": "summarized"}
    return _forced(Thinking(limit, config, effort), capabilities, circumstances)


def wants_reasoning_text(capabilities: ModelCapabilities) -> bool:
    """Whether `include_reasoning` has a meaning: the model thinks unasked, and does not tell."""
    return capabilities.thinking_by_default and "adaptive" in capabilities.thinking


def _wants_to_read(request: ChatCompletionRequest, capabilities: ModelCapabilities) -> bool:
    extra = request.model_extra or {}
    return extra.get("include_reasoning") is True and wants_reasoning_text(capabilities)


def _given_config(request: ChatCompletionRequest) -> dict[str, Any] | None:
    """Anthropic's own `thinking` object, which a client may send beside OpenAI's fields."""
    given = (request.model_extra or {}).get("thinking")
    if given is None:
        return None
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise InvalidRequest(
            "'thinking' must be an object with a 'type'.", param="thinking", code="invalid_type"
        )
    return given


def _effort(wanted: str, capabilities: ModelCapabilities) -> Effort | None:
    return capabilities.nearest_effort("low" if wanted == "minimal" else cast("Effort", wanted))


def _max_tokens(
    request: ChatCompletionRequest,
    capabilities: ModelCapabilities,
    circumstances: Circumstances,
    *,
    thinking_tokens: int = 0,
) -> int:
    limit = request.completion_limit
    if limit is None:
        limit = circumstances.default_max_tokens + thinking_tokens
    return min(limit, capabilities.max_tokens)


def _by_budget(
    request: ChatCompletionRequest,
    call: Call,
    capabilities: ModelCapabilities,
    circumstances: Circumstances,
) -> Thinking:
    wanted = request.reasoning_effort or "none"
    effort = _effort(wanted, capabilities)
    budget = BUDGETS[wanted]
    limit = _max_tokens(request, capabilities, circumstances, thinking_tokens=budget)
    budget = min(budget, limit - 1)
    if budget < MIN_BUDGET or circumstances.blocks_budget or circumstances.forces_tools:
        if effort is None:
            drop(call, "reasoning_effort", "This request leaves this model no room to think.")
        return Thinking(_max_tokens(request, capabilities, circumstances), None, effort)
    return Thinking(limit, {"type": "enabled", "budget_tokens": budget}, effort)


def _without(call: Call, capabilities: ModelCapabilities, limit: int) -> Thinking:
    """As little thinking as the model can do."""
    if "disabled" in capabilities.thinking:
        return Thinking(limit, {"type": "disabled"})
    if "between_tools" in capabilities.thinking:
        return Thinking(limit, {"type": "between_tools"})
    effort = capabilities.nearest_effort("low")
    if effort is None and capabilities.thinking:
        drop(call, "reasoning_effort", "This model always thinks before it answers.")
    return Thinking(limit, None, effort)


def _forced(
    thinking: Thinking, capabilities: ModelCapabilities, circumstances: Circumstances
) -> Thinking:
    """`thinking`, unless a tool call is forced and the model cannot do both."""
    if not circumstances.forces_tools or capabilities.forced_tools_with_thinking:
        return thinking
    if not capabilities.thinking_by_default or "disabled" not in capabilities.thinking:
        return Thinking(thinking.max_tokens, None, thinking.effort)
    # Without thinking, efforts above high are refused.
    effort = "high" if thinking.effort in ("xhigh", "max") else thinking.effort
    return Thinking(thinking.max_tokens, {"type": "disabled"}, effort)
