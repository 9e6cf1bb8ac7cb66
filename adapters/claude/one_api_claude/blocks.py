"""Content of OpenAI messages as Anthropic content blocks, one part at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from one_api.adapter import UnsupportedParameter
from one_api_claude.cache_control import cache_control_of
from one_api_claude.media import document_block, image_block

if TYPE_CHECKING:
    from anthropic.types import (
        DocumentBlockParam,
        ImageBlockParam,
        RedactedThinkingBlockParam,
        TextBlockParam,
        ThinkingBlockParam,
    )

#: What stands for a message the conversation needs but nobody wrote: Anthropic refuses empty text.
NO_CONTENT = "(no content)"
#: Signatures of this prefix were made by the gateway for other providers' reasoning.
GATEWAY_SIGNATURE = "one_api.v1."


def text_block(text: str, marks: Mapping[str, Any]) -> list[TextBlockParam]:
    """A text block with the breakpoint that `marks` asks for; nothing for blank text."""
    if not text.strip():
        return []
    block: TextBlockParam = {"type": "text", "text": text}
    cache_control = cache_control_of(marks)
    if cache_control is not None:
        block["cache_control"] = cache_control
    return [block]


def text_blocks(message: Mapping[str, Any]) -> list[TextBlockParam]:
    """The text, and the refusals, of a message of any role that holds nothing else."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return text_block(content or "", message)
    return [
        block
        for part in content
        for block in text_block(part["text"] if part["type"] == "text" else part["refusal"], part)
    ]


def user_blocks(
    message: Mapping[str, Any], path: str
) -> list[TextBlockParam | ImageBlockParam | DocumentBlockParam]:
    """The content of a user or tool message; `path` names the message in errors.

    Raises: InvalidRequest, UnsupportedParameter.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        return [*text_block(content or "", message)]
    blocks: list[TextBlockParam | ImageBlockParam | DocumentBlockParam] = []
    for index, part in enumerate(content):
        blocks += _part_blocks(part, f"{path}.content[{index}]")
    return blocks


def _part_blocks(
    part: Mapping[str, Any], path: str
) -> Sequence[TextBlockParam | ImageBlockParam | DocumentBlockParam]:
    kind = part["type"]
    if kind == "text":
        return text_block(part["text"], part)
    if kind == "input_audio":
        raise UnsupportedParameter(
            "Audio input is not supported with this model.", param=f"{path}.input_audio"
        )
    block = image_block(part, path) if kind == "image_url" else document_block(part, path)
    cache_control = cache_control_of(part)
    if cache_control is not None:
        block["cache_control"] = cache_control
    return [block]


def thinking_blocks(
    message: Mapping[str, Any],
) -> list[ThinkingBlockParam | RedactedThinkingBlockParam]:
    """The signed blocks an assistant message brings back, as the provider made them.

    Blocks without a signature of the provider's cannot be sent: it refuses the whole request.
    """
    given = message.get("thinking_blocks")
    blocks: list[ThinkingBlockParam | RedactedThinkingBlockParam] = []
    for block in given if isinstance(given, list) else ():
        if not isinstance(block, Mapping):
            continue
        data, signature, text = block.get("data"), block.get("signature"), block.get("thinking")
        if block.get("type") == "redacted_thinking" and isinstance(data, str) and data:
            blocks.append({"type": "redacted_thinking", "data": data})
        elif (
            block.get("type") == "thinking"
            and isinstance(signature, str)
            and signature
            and not signature.startswith(GATEWAY_SIGNATURE)
        ):
            thinking = text if isinstance(text, str) else ""
            blocks.append({"type": "thinking", "thinking": thinking, "signature": signature})
    return blocks


def tool_input(arguments: str) -> dict[str, object]:
    """The input of a tool call; arguments that are no JSON object are kept under `_raw`."""
    if not arguments.strip():
        return {}
    try:
        decoded = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"_raw": arguments}
    return decoded if isinstance(decoded, dict) else {"_raw": arguments}
