"""What a refusal teaches about a model, so that the next request is right.

Source: error texts of platform.claude.com, "Errors" and the model pages, and of public reports,
read 2026-11. A text that is not recognised teaches nothing and reaches the client as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from one_api_claude.capabilities import ModelCapabilities

#: Fields of `ModelCapabilities` with their true values.
Lesson = Mapping[str, Any]

_SIGNATURE = re.compile(
    r"signature\W+in\W+thinking|thinking\W+(?:or\W+redacted_thinking\W+)?blocks .*cannot be modified",
    re.I | re.S,
)
_BOTH_SAMPLING = re.compile(r"temperature.*top_p.*cannot both", re.I | re.S)
_SAMPLING = re.compile(
    r"\b(?:temperature|top_p)\b.*(?:deprecated|not supported|not permitted|may only be set)",
    re.I | re.S,
)
_FORCED = re.compile(r"tool_choice\b.*not supported", re.I | re.S)
_FORCED_THINKING = re.compile(r"thinking.*tool_choice.*forces|tool_choice.*thinking", re.I | re.S)
_PREFILL = re.compile(r"(?:assistant message )?prefill", re.I)
_THINKING = re.compile(
    r"\bthinking\b.*(?:not supported|does not support|unsupported|not permitted|not available|"
    r"does not match any of the expected tags)"
    r"|(?:does not support|unsupported).*\bthinking\b",
    re.I | re.S,
)
_EFFORT = re.compile(r"\beffort\b", re.I)
_STRUCTURED = re.compile(
    r"(?:output_config\.format|output_format|structured outputs?|\bstrict\b)"
    r".*(?:not supported|not permitted|unsupported)"
    r"|does not support (?:output_config\.format|output_format|structured outputs?|strict)",
    re.I | re.S,
)
_SYSTEM_ROLE = re.compile(
    r"role.*(?:Input should be 'user' or 'assistant'|unexpected role .?system)|"
    r"system.*(?:role|message).*not supported",
    re.I | re.S,
)
_MAX_TOKENS = re.compile(r"max_tokens: \d+ > (\d+)")


def tells_of_foreign_thinking(message: str) -> bool:
    """Whether the provider cannot place the signed thinking of an earlier turn."""
    return _SIGNATURE.search(message) is not None


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
    found = _MAX_TOKENS.search(message)
    limit = int(found[1]) if found else 0
    return {"max_tokens": limit} if 0 < limit < body["max_tokens"] else None


def _about_sampling(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    if not {"temperature", "top_p"} & body.keys():
        return None
    if _BOTH_SAMPLING.search(message):
        return {"sampling": "one"}
    return {"sampling": "none"} if _SAMPLING.search(message) else None


def _about_forced_tools(
    message: str, body: Mapping[str, Any], _: ModelCapabilities
) -> Lesson | None:
    if body.get("tool_choice", {}).get("type") not in ("any", "tool"):
        return None
    if _FORCED.search(message):
        return {"forced_tools": False}
    return {"forced_tools_with_thinking": False} if _FORCED_THINKING.search(message) else None


def _about_prefill(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    is_prefill = body["messages"][-1]["role"] == "assistant"
    return {"prefill": False} if is_prefill and _PREFILL.search(message) else None


def _about_effort(
    message: str, body: Mapping[str, Any], capabilities: ModelCapabilities
) -> Lesson | None:
    sent = body.get("output_config", {}).get("effort")
    if sent is None or not _EFFORT.search(message):
        return None
    if re.search(rf"\b{sent}\b", message):
        return {"efforts": capabilities.efforts - {sent}}
    return {"efforts": frozenset()}


def _about_format(message: str, body: Mapping[str, Any], _: ModelCapabilities) -> Lesson | None:
    is_sent = "format" in body.get("output_config", {}) or any(
        tool.get("strict") for tool in body.get("tools", ())
    )
    return {"structured_outputs": False} if is_sent and _STRUCTURED.search(message) else None


def _about_thinking(
    message: str, body: Mapping[str, Any], capabilities: ModelCapabilities
) -> Lesson | None:
    sent = body.get("thinking", {}).get("type")
    if sent is None or not _THINKING.search(message):
        return None
    types = capabilities.thinking - {sent}
    # Their texts name the type to use instead.
    for other in ("adaptive", "enabled"):
        if other != sent and re.search(rf"use\W.{{0,40}}\b{other}\b", message, re.I):
            types |= {other}
    return {"thinking": types}


def _about_system_role(
    message: str, body: Mapping[str, Any], _: ModelCapabilities
) -> Lesson | None:
    is_sent = any(turn["role"] == "system" for turn in body["messages"])
    return {"mid_system": False} if is_sent and _SYSTEM_ROLE.search(message) else None


_TEACHERS: Final[
    tuple[Callable[[str, Mapping[str, Any], ModelCapabilities], Lesson | None], ...]
] = (
    _about_limit,
    _about_sampling,
    _about_forced_tools,
    _about_prefill,
    _about_effort,
    _about_format,
    _about_thinking,
    _about_system_role,
)
