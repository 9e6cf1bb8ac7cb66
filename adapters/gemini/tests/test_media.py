"""Images, sounds and files as parts."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.gemini.tests.bodies import PIXEL, body_of
from one_api.adapter import InvalidRequest
from one_api_gemini import GeminiAdapter

MEDIA: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "inline image": (
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    ),
    "jpg is jpeg": (
        {"type": "image_url", "image_url": {"url": "DATA:image/JPG;base64,/9j/ 4AA="}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AA="}},
    ),
    "image by address": (
        {"type": "image_url", "image_url": {"url": "https://a.example/b.c/D.WebP?x=1"}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://a.example/b.c/D.WebP?x=1"}},
    ),
    "sound": (
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
    ),
    "bare PDF": (
        {"type": "file", "file": {"file_data": "JVBERi0xLjQ=", "filename": "a.pdf"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjQ="}},
    ),
    "text file": (
        {"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8;base64,SGk="}},
        {"inlineData": {"mimeType": "text/plain", "data": "SGk="}},
    ),
}


@pytest.mark.parametrize("case", MEDIA)
def test_media(adapter: GeminiAdapter, case: str) -> None:
    given, part = MEDIA[case]

    body = body_of(adapter, {"role": "user", "content": [{"type": "text", "text": "See"}, given]})

    assert [{"text": "See"}, part] == body["contents"][0]["parts"]


BAD_MEDIA: dict[str, tuple[dict[str, Any], str]] = {
    "an address without a type": (
        {"type": "image_url", "image_url": {"url": "https://a.example/image?id=3"}},
        "image_url.url",
    ),
    "an address in the clear": (
        {"type": "image_url", "image_url": {"url": "http://a.example/a.png"}},
        "image_url.url",
    ),
    "an address that is none": (
        {"type": "image_url", "image_url": {"url": "https://[a.png"}},
        "image_url.url",
    ),
    "an image nobody reads": (
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
        "image_url.url",
    ),
    "an image that is not base64": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}},
        "image_url.url",
    ),
    "a data URL in the clear": (
        {"type": "image_url", "image_url": {"url": "data:image/png,abc"}},
        "image_url.url",
    ),
    "a sound that is not base64": (
        {"type": "input_audio", "input_audio": {"data": "?", "format": "mp3"}},
        "input_audio.data",
    ),
    "a file by id": ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_id"),
    "a file of nothing": ({"type": "file", "file": {"filename": "x"}}, "file.file_data"),
    "a file nobody reads": (
        {"type": "file", "file": {"file_data": "data:application/zip;base64,UEs="}},
        "file.file_data",
    ),
}


@pytest.mark.parametrize("case", BAD_MEDIA)
def test_media_that_cannot_be_sent_are_refused_by_name(adapter: GeminiAdapter, case: str) -> None:
    given, param = BAD_MEDIA[case]

    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, {"role": "user", "content": [given]})

    assert f"messages[0].content[0].{param}" == caught.value.param
