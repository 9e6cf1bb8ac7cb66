"""Why Google's models stop, as OpenAI's finish reasons, or as errors where there is no answer.

Source: `FinishReason` of google-genai 3.4.0 (2026-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from one_api.adapter import (
    CredentialRejected,
    FinishReason,
    GatewayError,
    InvalidRequest,
    UpstreamInvalidResponse,
    UpstreamServerError,
)

_REASONS: Final[Mapping[str, FinishReason]] = {
    "BLOCKLIST": "content_filter",
    "CONTINUATION": "length",
    "ESCALATION": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "LANGUAGE": "content_filter",
    "MAX_TOKENS": "length",
    "MODEL_ARMOR": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "RECITATION": "content_filter",
    "SAFETY": "content_filter",
    "SPII": "content_filter",
}
_BROKEN: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS", "UNEXPECTED_TOOL_CALL"}
)
_UNTOLD: Final = frozenset({"IMAGE_OTHER", "NO_IMAGE", "OTHER"})


def reason_from_wire(reason: str, message: str) -> FinishReason:
    """OpenAI's reason for Google's; `message` is what Google says of it, mostly nothing.

    A reason that is not known counts as a natural end: Google adds some.
    Raises: GatewayError for an answer that is broken or was not given.
    """
    error = _error(reason, f" {message}" if message else "")
    if error is not None:
        raise error
    return _REASONS.get(reason, "stop")


def _error(reason: str, message: str) -> GatewayError | None:
    if reason in _BROKEN:
        return UpstreamInvalidResponse(f"The model's answer is broken ({reason}).{message}")
    if reason in _UNTOLD:
        return UpstreamServerError(f"The model stopped without an answer ({reason}).{message}")
    if reason == "MISSING_THOUGHT_SIGNATURE":
        return InvalidRequest(
            "An assistant message lacks the 'thinking_blocks' it came with.", param="messages"
        )
    if reason == "PUP_LIMITED_DISABLED":
        return CredentialRejected("The provider refused the gateway's credential for this model.")
    return None
