"""What each Claude model accepts: the provider's list where it tells, a table where it does not.

Anthropic refuses with 400 what a model does not take, and newer models take less. The list of
models tells of thinking, effort, structured outputs and limits; sampling, forced tools, prefill and
instructions inside the conversation are told in the documentation only. An unknown model is treated
as having the newest restrictions, and what a refusal teaches is kept for the life of the process.
Source: platform.claude.com, model overview, "Thinking", "Effort", "Errors" and migration pages,
stored copies of 2026-08 to 2026-10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

Effort = Literal["low", "medium", "high", "xhigh", "max"]
ThinkingType = Literal["adaptive", "enabled", "disabled", "between_tools"]
#: How many of `temperature` and `top_p` a model takes in one request.
Sampling = Literal["none", "one"]

#: From least to most.
EFFORTS: Final[tuple[Effort, ...]] = get_args(Effort)
THINKING_TYPES: Final[tuple[ThinkingType, ...]] = get_args(ThinkingType)

_UP_TO_HIGH: Final[frozenset[Effort]] = frozenset({"low", "medium", "high"})
_NO_XHIGH: Final[frozenset[Effort]] = _UP_TO_HIGH | {"max"}
_ALL_EFFORTS: Final[frozenset[Effort]] = frozenset(EFFORTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCapabilities:
    """What one model accepts; the defaults are the newest restrictions.

    `max_tokens` is the most it may be asked to generate, in tokens. `thinking_by_default` says
    that it thinks when a request does not mention thinking. `efforts` is empty for a model that
    refuses `output_config.effort`.
    """

    max_tokens: int = 128_000
    thinking: frozenset[ThinkingType] = frozenset({"adaptive"})
    thinking_by_default: bool = True
    efforts: frozenset[Effort] = _ALL_EFFORTS
    structured_outputs: bool = True
    sampling: Sampling = "none"
    #: Takes `tool_choice` of type `any` and `tool`.
    forced_tools: bool = False
    #: Takes them in a request that also asks for thinking.
    forced_tools_with_thinking: bool = True
    #: Goes on from a last message of role `assistant`.
    prefill: bool = False
    #: Takes messages of role `system` inside the conversation.
    mid_system: bool = False

    @property
    def thinks_by_budget(self) -> bool:
        """Whether thinking is asked for with a number of tokens instead of an effort."""
        return "adaptive" not in self.thinking and "enabled" in self.thinking

    def nearest_effort(self, wanted: Effort) -> Effort | None:
        """`wanted`, or the next lower effort the model has, or its lowest; None without any."""
        known = [effort for effort in EFFORTS if effort in self.efforts]
        lower = [effort for effort in known if EFFORTS.index(effort) <= EFFORTS.index(wanted)]
        return lower[-1] if lower else (known[0] if known else None)


NEWEST: Final = ModelCapabilities()

_GENERATION_4_5: Final = ModelCapabilities(
    max_tokens=64_000,
    thinking=frozenset({"enabled", "disabled"}),
    thinking_by_default=False,
    efforts=frozenset(),
    sampling="one",
    forced_tools=True,
    prefill=True,
)
_GENERATION_4_6: Final = ModelCapabilities(
    thinking=frozenset({"adaptive", "enabled", "disabled"}),
    thinking_by_default=False,
    efforts=_NO_XHIGH,
    sampling="one",
    forced_tools=True,
)
_GENERATION_4_7: Final = ModelCapabilities(
    thinking=frozenset({"adaptive", "disabled"}), thinking_by_default=False, forced_tools=True
)
_CAN_SWITCH_OFF: Final = ModelCapabilities(
    thinking=frozenset({"adaptive", "disabled"}), forced_tools=True
)
_GENERATION_5: Final = ModelCapabilities(forced_tools=True, mid_system=True)
_ALWAYS_THINKS: Final = ModelCapabilities(mid_system=True)

#: By name without date, platform or region.
TABLE: Final[Mapping[str, ModelCapabilities]] = {
    "claude-haiku-4-5": _GENERATION_4_5,
    "claude-sonnet-4-5": _GENERATION_4_5,
    "claude-opus-4-5": replace(_GENERATION_4_5, efforts=_UP_TO_HIGH),
    "claude-sonnet-4-6": replace(_GENERATION_4_6, max_tokens=64_000),
    "claude-opus-4-6": _GENERATION_4_6,
    "claude-opus-4-7": _GENERATION_4_7,
    "claude-opus-4-8": replace(_GENERATION_4_7, mid_system=True),
    "claude-sonnet-5": _CAN_SWITCH_OFF,
    "claude-opus-5": replace(_CAN_SWITCH_OFF, mid_system=True),
    "claude-haiku-5-5": _CAN_SWITCH_OFF,
    "claude-sonnet-5-5": ModelCapabilities(thinking=frozenset({"adaptive", "between_tools"})),
    "claude-opus-5-5": _ALWAYS_THINKS,
    "claude-fable-5": _GENERATION_5,
    "claude-fable-5-1": _ALWAYS_THINKS,
    "claude-fable-5-2": _ALWAYS_THINKS,
    "claude-mythos-5": _GENERATION_5,
    "claude-mythos-5-1": _ALWAYS_THINKS,
    "claude-mythos-5-2": _ALWAYS_THINKS,
}

_SUFFIX = re.compile(r"(?:[-@]\d{8}|-v\d+|-latest|[:@].*)+$")


def family(model_id: str) -> str:
    """`us.anthropic.claude-haiku-4-5-20251001-v1:0` as `claude-haiku-4-5`."""
    name = model_id.lower()
    return _SUFFIX.sub("", name[max(name.find("claude-"), 0) :]).replace(".", "-")


class KnownModels:
    """What is known of the models of one endpoint."""

    def __init__(self) -> None:
        self._listed: dict[str, ModelCapabilities] = {}
        self._learned: dict[str, dict[str, Any]] = {}

    def capabilities(self, model_id: str) -> ModelCapabilities:
        """What `model_id` accepts, as far as is known now."""
        known = self._listed.get(model_id) or self._listed.get(family(model_id))
        base = known or TABLE.get(family(model_id), NEWEST)
        learned = self._learned.get(model_id)
        return replace(base, **learned) if learned else base

    def take_listing(self, model: Mapping[str, Any]) -> None:
        """Keep what an entry of the provider's list tells of a model."""
        model_id = model["id"]
        base = TABLE.get(family(model_id), NEWEST)
        listed = replace(base, **_read_listing(model, base))
        self._listed[model_id] = listed
        # Requests may name the model without its date.
        self._listed.setdefault(family(model_id), listed)

    def learn(self, model_id: str, lesson: Mapping[str, Any]) -> None:
        """Keep fields of `ModelCapabilities` that a refusal taught about `model_id`."""
        self._learned.setdefault(model_id, {}).update(lesson)


def _read_listing(model: Mapping[str, Any], base: ModelCapabilities) -> dict[str, Any]:
    """The fields of `ModelCapabilities` that an entry of the provider's list tells."""
    told: dict[str, Any] = {}
    if isinstance(model.get("max_tokens"), int) and model["max_tokens"] > 0:
        told["max_tokens"] = model["max_tokens"]
    capabilities = model.get("capabilities")
    if not isinstance(capabilities, Mapping):
        return told
    thinking = capabilities.get("thinking")
    if isinstance(thinking, Mapping) and isinstance(thinking.get("types"), Mapping):
        types = {name for name in THINKING_TYPES if _is_supported(thinking["types"].get(name))}
        told["thinking"] = frozenset(types)
        if base is NEWEST:
            told["thinking_by_default"] = "adaptive" in types and "disabled" not in types
    effort = capabilities.get("effort")
    if isinstance(effort, Mapping):
        levels = {name for name in EFFORTS if _is_supported(effort.get(name))}
        told["efforts"] = frozenset(levels) if effort.get("supported") else frozenset()
    if "structured_outputs" in capabilities:
        told["structured_outputs"] = _is_supported(capabilities["structured_outputs"])
    return told


def _is_supported(capability: object) -> bool:
    return isinstance(capability, Mapping) and capability.get("supported") is True
