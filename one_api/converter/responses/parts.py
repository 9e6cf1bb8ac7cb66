"""Content parts of input items as those of chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from one_api.errors import InvalidRequest, UnsupportedParameter
from one_api.schemas import JsonObject

_TEXTS = ("input_text", "output_text")
#: What the API adds to texts of its own, and takes back without reading it.
_ECHOED = ("type", "annotations", "logprobs")


def content_to_chat(content: str | Sequence[Mapping[str, Any]], path: str) -> Any:
    """The content of a message from the user, or of a tool's result.

    A single plain text becomes a string, which every provider reads.
    Raises: InvalidRequest, UnsupportedParameter that name the part.
    """
    if isinstance(content, str):
        return content
    parts = [_part_to_chat(part, f"{path}[{at}]") for at, part in enumerate(content)]
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts


def instructions_to_chat(content: str | Sequence[Mapping[str, Any]], path: str) -> Any:
    """The content of a system or developer message, which holds nothing but text.

    Raises: UnsupportedParameter that names the part that is none.
    """
    for at, part in enumerate(() if isinstance(content, str) else content):
        if part["type"] not in _TEXTS:
            raise UnsupportedParameter(
                f"Content of type '{part['type']}' is not supported in this role.",
                param=f"{path}[{at}]",
            )
    return content_to_chat(content, path)


def answer_to_chat(content: str | Sequence[Mapping[str, Any]], path: str) -> tuple[str, str]:
    """What an assistant said: its text and its refusal.

    Raises: InvalidRequest that names a part that a model cannot have said.
    """
    if isinstance(content, str):
        return content, ""
    text = refusal = ""
    for at, part in enumerate(content):
        if part["type"] == "refusal":
            refusal += part["refusal"]
        elif part["type"] in _TEXTS:
            text += part["text"]
        else:
            raise _misplaced(part, f"{path}[{at}]")
    return text, refusal


def _part_to_chat(part: Mapping[str, Any], path: str) -> JsonObject:
    match part["type"]:
        case "input_text" | "output_text":
            return {"type": "text", **_others(part, *_ECHOED)}
        case "input_image":
            return _image_to_chat(part, path)
        case "input_file":
            return _file_to_chat(part, path)
        case "input_audio":
            return dict(part)
        case _:
            raise _misplaced(part, path)


def _image_to_chat(part: Mapping[str, Any], path: str) -> JsonObject:
    if part.get("image_url") is None:
        if part.get("file_id") is not None:
            raise _needs_files(f"{path}.file_id")
        raise InvalidRequest(
            f"Missing required parameter: '{path}.image_url'.",
            param=f"{path}.image_url",
            code="missing_required_parameter",
        )
    image = {"url": part["image_url"]}
    if part.get("detail") is not None:
        image["detail"] = part["detail"]
    others = _others(part, "type", "image_url", "file_id", "detail")
    return {"type": "image_url", "image_url": image, **others}


def _file_to_chat(part: Mapping[str, Any], path: str) -> JsonObject:
    if part.get("file_url") is not None:
        raise UnsupportedParameter(
            "Files by URL are not supported with this model; send 'file_data'.",
            param=f"{path}.file_url",
        )
    file = {
        key: part[key] for key in ("file_data", "file_id", "filename") if part.get(key) is not None
    }
    others = _others(part, "type", "file_data", "file_id", "file_url", "filename", "detail")
    return {"type": "file", "file": file, **others}


def _others(part: Mapping[str, Any], *names: str) -> JsonObject:
    return {key: value for key, value in part.items() if key not in names and value is not None}


def _needs_files(path: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        "Images by file id are not supported with this model; send 'image_url'.", param=path
    )


def _misplaced(part: Mapping[str, Any], path: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{path}': content of type '{part['type']}' cannot stand in this role.",
        param=path,
        code="invalid_value",
    )
