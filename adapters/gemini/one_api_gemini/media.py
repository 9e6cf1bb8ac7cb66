"""Images, sounds and files of OpenAI messages as Google's parts.

Nothing is fetched here. What is inline goes inline; what is at an https address is fetched by
Google, which must be told of what type it is: from the address alone that can be seen only by its
ending.
Source: ai.google.dev, "File input methods" (external URLs), "Image understanding" and "Audio
understanding", stored copies of 2026-06 to 2026-09.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from one_api.adapter import InvalidRequest, JsonObject, UnsupportedParameter

#: Media types by the ending of a file's name, for the images that Gemini reads.
IMAGE_TYPES: Final[Mapping[str, str]] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
}
FILE_TYPES: Final = frozenset({"application/pdf", "text/plain"})

_DATA_URL = re.compile(r"data:(?P<media>[^,;]*)(?P<parameters>[^,]*),", re.I)
_SPACE = re.compile(r"\s+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
#: `%PDF-` in base64.
_PDF_START: Final = "JVBERi0"


def media_part(part: Mapping[str, Any], path: str) -> JsonObject:
    """The part for an image, a sound or a file; `path` names it in errors.

    Raises: InvalidRequest, UnsupportedParameter for a file id of another provider.
    """
    if part["type"] == "image_url":
        return _image(part["image_url"]["url"].strip(), f"{path}.image_url.url")
    if part["type"] == "input_audio":
        audio = part["input_audio"]
        data = _checked(audio["data"], f"{path}.input_audio.data", "invalid_audio_format")
        return _inline(f"audio/{audio['format']}", data)
    return _file(part["file"], f"{path}.file")


def _image(url: str, where: str) -> JsonObject:
    if url[:5].lower() == "data:":
        media_type, data = _read_data_url(url, where, "invalid_image_format")
        media_type = "image/jpeg" if media_type == "image/jpg" else media_type
        if media_type not in IMAGE_TYPES.values():
            raise InvalidRequest(
                f"Images of type '{media_type}' are not supported; use PNG, JPEG, WebP or HEIC.",
                param=where,
                code="invalid_image_format",
            )
        return _inline(media_type, data)
    known_type = IMAGE_TYPES.get(_ending_of_https(url, where))
    if known_type is None:
        raise InvalidRequest(
            "The type of this image cannot be told from its URL; send it as a base64 data URL.",
            param=where,
            code="invalid_image_url",
        )
    return {"fileData": {"mimeType": known_type, "fileUri": url}}


def _file(file: Mapping[str, Any], path: str) -> JsonObject:
    data = file.get("file_data")
    if not data:
        if file.get("file_id"):
            raise UnsupportedParameter(
                "Files by id are not supported with this model; send 'file_data'.",
                param=f"{path}.file_id",
            )
        raise InvalidRequest(
            "A file needs 'file_data'.",
            param=f"{path}.file_data",
            code="missing_required_parameter",
        )
    where, code = f"{path}.file_data", "invalid_file_format"
    if data.lstrip().startswith(_PDF_START):
        return _inline("application/pdf", _checked(data, where, code))
    media_type, content = _read_data_url(data, where, code)
    if media_type not in FILE_TYPES:
        raise InvalidRequest(
            f"Files of type '{media_type}' are not supported; use PDF or plain text.",
            param=where,
            code=code,
        )
    return _inline(media_type, content)


def _inline(media_type: str, data: str) -> JsonObject:
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _read_data_url(url: str, where: str, code: str) -> tuple[str, str]:
    """Media type and base64 of a data URL.

    Raises: InvalidRequest.
    """
    head = _DATA_URL.match(url.lstrip())
    if head is None or "base64" not in head["parameters"].lower().split(";"):
        raise InvalidRequest("A base64 data URL is needed here.", param=where, code=code)
    data = url.lstrip()[head.end() :]
    return head["media"].strip().lower(), _checked(data, where, code)


def _checked(data: str, where: str, code: str) -> str:
    compact = _SPACE.sub("", data)
    if not _BASE64.fullmatch(compact):
        raise InvalidRequest("The data is not base64.", param=where, code=code)
    return compact


def _ending_of_https(url: str, where: str) -> str:
    """The ending of the file's name in an https URL, in lower case.

    Raises: InvalidRequest for any other URL.
    """
    try:
        parts = urlsplit(url)
        is_https = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        is_https, parts = False, urlsplit("")
    if not is_https:
        raise InvalidRequest(
            "An image must be given as an https:// URL or as a base64 data URL.",
            param=where,
            code="invalid_image_url",
        )
    return parts.path.rpartition(".")[2].lower()
