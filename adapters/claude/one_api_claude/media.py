"""Images and files of OpenAI messages as Anthropic's image and document blocks.

Nothing is fetched here: an https image is fetched by Anthropic, everything else must be inline.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from one_api.adapter import InvalidRequest, UnsupportedParameter

if TYPE_CHECKING:
    from anthropic.types import Base64ImageSourceParam, DocumentBlockParam, ImageBlockParam

IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
MAX_TITLE_CHARS = 500

_DATA_URL = re.compile(r"data:(?P<media>[^,;]*)(?P<parameters>[^,]*),", re.I)
_SPACE = re.compile(r"\s+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
#: `%PDF-` in base64.
_PDF_START = "JVBERi0"


@dataclass(frozen=True, slots=True)
class _Inline:
    media_type: str
    data: str


def image_block(part: Mapping[str, Any], path: str) -> ImageBlockParam:
    """The image block for an `image_url` part; `path` names the part in errors.

    Raises: InvalidRequest.
    """
    url: str = part["image_url"]["url"].strip()
    where = f"{path}.image_url.url"
    if url[:5].lower() == "data:":
        inline = _inline(url, where, "invalid_image_format")
        media_type = "image/jpeg" if inline.media_type == "image/jpg" else inline.media_type
        if media_type not in IMAGE_TYPES:
            raise InvalidRequest(
                f"Images of type '{media_type}' are not supported; use JPEG, PNG, GIF or WebP.",
                param=where,
                code="invalid_image_format",
            )
        source: dict[str, str] = {"type": "base64", "media_type": media_type, "data": inline.data}
        return {"type": "image", "source": cast("Base64ImageSourceParam", source)}
    if not _is_https(url):
        raise InvalidRequest(
            "An image must be given as an https:// URL or as a base64 data URL.",
            param=where,
            code="invalid_image_url",
        )
    return {"type": "image", "source": {"type": "url", "url": url}}


def document_block(part: Mapping[str, Any], path: str) -> DocumentBlockParam:
    """The document block for a `file` part: a PDF or text; `path` names the part in errors.

    Raises: InvalidRequest, UnsupportedParameter for a file id of another provider.
    """
    file = part["file"]
    data = file.get("file_data")
    if not data:
        if file.get("file_id"):
            raise UnsupportedParameter(
                "Files by id are not supported with this model; send 'file_data'.",
                param=f"{path}.file.file_id",
            )
        raise InvalidRequest(
            "A file needs 'file_data'.",
            param=f"{path}.file.file_data",
            code="missing_required_parameter",
        )
    where = f"{path}.file.file_data"
    block = _document(data, where)
    title = (file.get("filename") or "").strip()[:MAX_TITLE_CHARS]
    if title:
        block["title"] = title
    return block


def _document(data: str, where: str) -> DocumentBlockParam:
    if data.lstrip().startswith(_PDF_START):
        inline = _Inline("application/pdf", _checked(data, where, "invalid_file_format"))
    else:
        inline = _inline(data, where, "invalid_file_format")
    if inline.media_type == "application/pdf":
        return {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": inline.data},
        }
    if not inline.media_type.startswith("text/"):
        raise InvalidRequest(
            f"Files of type '{inline.media_type}' are not supported; use PDF or text.",
            param=where,
            code="invalid_file_format",
        )
    try:
        text = base64.b64decode(inline.data).decode("utf-8-sig")
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise InvalidRequest(
            "The file is not UTF-8 text in base64.", param=where, code="invalid_file_format"
        ) from exc
    if not text.strip():
        raise InvalidRequest("The file is empty.", param=where, code="invalid_file_format")
    return {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": text},
    }


def _inline(url: str, where: str, code: str) -> _Inline:
    """Media type and base64 of a data URL.

    Raises: InvalidRequest.
    """
    head = _DATA_URL.match(url)
    if head is None or "base64" not in head["parameters"].lower().split(";"):
        raise InvalidRequest("A base64 data URL is needed here.", param=where, code=code)
    return _Inline(head["media"].strip().lower(), _checked(url[head.end() :], where, code))


def _checked(data: str, where: str, code: str) -> str:
    compact = _SPACE.sub("", data)
    if not _BASE64.fullmatch(compact):
        raise InvalidRequest("The data is not base64.", param=where, code=code)
    return compact


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)
