"""What a refusal teaches about a model, so that the next request is right.

Source: error texts of platform.claude.com, "Errors" and the model pages, and of public reports,
stored copies of 2026-08 to 2026-10. A text that is not recognised teaches nothing and reaches the
client as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from one_api_claude.capabilities import ModelCapabilities

#: Fields of `ModelCapabilities` with their true values.
Lesson = Mapping[str, Any]

# Matched at the beginning: further on a message may quote what a client wrote, and no client may
# teach something about a model that others use.
_SIGNATURE = re.compile(
    r".{0,80}signature\W+in\W+thinking|.{0,80}thinking\W.{0,40}blocks .{0,80}cannot be modified",
    re.I,
)
_SAMPLING = re.compile(
    r"\W?(?:temperature|top_p)\b.{0,20}(?:is deprecated|not supported|not permitted)", re.I
)
_FORCED = re.compile(r"tool_choice\b.{0,60}not supported", re.I)
_FORCED_THINKING = re.compile(r"thinking may not be enabled when tool_choice", re.I)
_PREFILL = re.compile(r"this model does not support assistant message prefill", re.I)
_THINKING = re.compile(
    r"this model does not support (?:\w+ )?thinking"
    r"|\W?(?:thinking\.type|thinking|(?:adaptive|extended|manual) thinking)\b.{0,60}"
    r"(?:not supported|not available|does not match any of the expected tags)",
    re.I,
)
_EFFORT = re.compile(
    r"this model does not support .{0,30}effort|.{0,40}\beffort\b.{0,60}not supported", re.I
)
_STRUCTURED = re.compile(
    r"this model does not support (?:\w+ )?(?:structured outputs?|output_config\.format|strict)"
    r"|.{0,20}(?:output_config\.format|structured outputs?|\bstrict)\W.{0,40}not supported .{0,10}"
    r"this model",
    re.I,
)
_SYSTEM_ROLE = re.compile(
    r"messages\.\d+\.role: |.{0,20}role \W?system\W?.{0,40}not supported", re.I
)
_MAX_TOKENS = re.compile(r"max_tokens: \d+ > (\d+)")


def tells_of_foreign_thinking(message: str) -> bool:
    """Whether the provider cannot place the signed thinking of an earlier turn."""
    return _SIGNATURE.match(message) is not None


def lesson_of(
    message: str, body: Mapping[str, Any], capabilities: ModelCapabilities
) -> Lesson | None:
    """What the provider's `message`, its answer to `body`, teaches; None when nothing."""
    for teach in _TEACHERS:
        lesson = teach(message, body, capabilities)
        if lesson is not None:
            return lesson
    return None


def _about_limit(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    found = _MAX_TOKENS.match(message)
    limit = int(found[1]) if found else 0
    return {"max_tokens": limit} if 0 < limit < body["max_tokens"] else None


def _about_sampling(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    if not {"temperature", "top_p"} & body.keys():
        return None
    return {"sampling": "none"} if _SAMPLING.match(message) else None


def _about_forced_tools(
    message: str, body: Mapping[str, Any], _: ModelCapabilities
) -> Lesson | None:
    if body.get("tool_choice", {}).get("type") not in ("any", "tool"):
        return None
    if _FORCED.match(message):
        return {"forced_tools": False}
    return {"forced_tools_with_thinking": False} if _FORCED_THINKING.match(message) else None


def _about_prefill(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    is_prefill = body["messages"][-1]["role"] == "assistant"
    return {"prefill": False} if is_prefill and _PREFILL.match(message) else None


def _about_effort(
    message: str, body: Mapping[str, Any], capabilities: ModelCapabilities
) -> Lesson | None:
    sent = body.get("output_config", {}).get("effort")
    if sent is None or not _EFFORT.match(message):
        return None
    if re.search(rf"\b{sent}\b", message):
        return {"efforts": capabilities.efforts - {sent}}
    return {"efforts": frozenset()}


def _about_format(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    is_sent = "format" in body.get("output_config", {}) or any(
        tool.get("strict") for tool in body.get("tools", ())
    )
    return {"structured_outputs": False} if is_sent and _STRUCTURED.match(message) else None


def _about_thinking(
    message: str, body: Mapping[str, Any], capabilities: ModelCapabilities
) -> Lesson | None:
    sent = body.get("thinking", {}).get("type")
    if sent is None or not _THINKING.match(message):
        return None
    types = capabilities.thinking - {sent}
    # The text names the type to use instead.
    told = {other for other in ("adaptive", "enabled") if re.search(rf"\b{other}\b", message)}
    return {"thinking": types | (told - {sent})}


def _about_system_role(
    message: str, body: Mapping[str, Any], _: ModelCapabilities
) -> Lesson | None:
    is_sent = any(turn["role"] == "system" for turn in body["messages"])
    return {"mid_system": False} if is_sent and _SYSTEM_ROLE.match(message) else None


_TEACHERS: Final[
    tuple[Callable[[str, Mapping[str, Any], ModelCapabilities], Lesson | None], ...]
] = (
    _about_limit,
    _about_sampling,
    _about_forced_tools,
    _about_prefill,
    _about_thinking,
    _about_effort,
    _about_format,
    _about_system_role,
)
