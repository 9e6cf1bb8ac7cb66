"""Content blocks of users and tools as parts of chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from one_api.errors import UnsupportedParameter
from one_api.schemas import JsonObject

NO_OUTPUT = "(no output)"
_IMAGE_BELOW = "[image attached below]"
_FILE_BELOW = "[file attached below]"


def text_part(text: str) -> JsonObject:
    """A part of text."""
    return {"type": "text", "text": text}


def parts_of(block: Mapping[str, Any], path: str) -> list[JsonObject]:
    """The parts that `block`, no tool result, becomes.

    Raises: UnsupportedParameter for a file only Anthropic has.
    """
    match block["type"]:
        case "text":
            return [text_part(block["text"])]
        case "image":
            return [_image_part(block["source"], f"{path}.source")]
        case "search_result":
            return [text_part(_search_result_text(block))]
        case "document":
            return _document_parts(block, f"{path}.source")
        case _:
            # A reference to a tool: the tool itself is among the request's tools.
            return []


def user_message(parts: Sequence[JsonObject]) -> JsonObject:
    """A user's message; a single text is sent as a string, which every provider takes."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return {"role": "user", "content": parts[0]["text"]}
    return {"role": "user", "content": list(parts)}


def tool_result(block: Mapping[str, Any], path: str) -> tuple[str, list[JsonObject]]:
    """The text of a tool's result, and the images and files that a tool message cannot hold."""
    content = block.get("content") or ""
    attached: list[JsonObject] = []
    if isinstance(content, str):
        text = content
    else:
        texts, attached = _result_texts(content, f"{path}.content")
        text = "\n".join(texts)
    if block.get("is_error"):
        text = f"Error: {text or NO_OUTPUT}"
    return text, attached


def _result_texts(
    blocks: Sequence[Mapping[str, Any]], path: str
) -> tuple[list[str], list[JsonObject]]:
    texts: list[str] = []
    attached: list[JsonObject] = []
    for index, block in enumerate(blocks):
        for part in parts_of(block, f"{path}[{index}]"):
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                texts.append(_IMAGE_BELOW if part["type"] == "image_url" else _FILE_BELOW)
                attached.append(part)
    return texts, attached


def _image_part(source: Mapping[str, Any], path: str) -> JsonObject:
    match source["type"]:
        case "base64":
            url = f"data:{source['media_type']};base64,{source['data']}"
        case "url":
            url = source["url"]
        case _:
            raise _kept_by_anthropic(path)
    return {"type": "image_url", "image_url": {"url": url}}


def _document_parts(block: Mapping[str, Any], path: str) -> list[JsonObject]:
    source = block["source"]
    title = block.get("title") or ""
    if source["type"] == "base64":
        data_url = f"data:{source['media_type']};base64,{source['data']}"
        return [
            {"type": "file", "file": {"filename": title or "document.pdf", "file_data": data_url}}
        ]
    if source["type"] == "url":
        raise UnsupportedParameter(
            f"'{path}': a document by URL is not supported with this model; send its content.",
            param=path,
        )
    if source["type"] == "file":
        raise _kept_by_anthropic(path)
    head = [text for text in (title, block.get("context")) if text]
    content = source["data"] if source["type"] == "text" else source["content"]
    if isinstance(content, str):
        return [text_part("\n".join([*head, content]))]
    parts = [text_part("\n".join(head))] if head else []
    for index, inner in enumerate(content):
        parts += parts_of(inner, f"{path}.content[{index}]")
    return parts


def _search_result_text(block: Mapping[str, Any]) -> str:
    return "\n".join(
        [block["title"], block["source"], *(part["text"] for part in block["content"])]
    )


def _kept_by_anthropic(path: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"'{path}': files kept by Anthropic are not supported with this model; send the content.",
        param=path,
    )
