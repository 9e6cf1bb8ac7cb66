"""Images and files as Anthropic's blocks, and those that cannot be sent."""

from __future__ import annotations

import pytest

from adapters.claude.tests.wires import ASK, CALLED, IMAGE, image, refusal, text, to_wire
from one_api.adapter import JsonObject
from one_api_claude import ClaudeAdapter

PDF = "JVBERi0xLjcK"


def file(**fields: str) -> JsonObject:
    return {"type": "file", "file": fields}


def pdf(**more: str) -> JsonObject:
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    return {"type": "document", "source": source, **more}


JPEG = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"},
}
BY_URL = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}


@pytest.mark.parametrize(
    ("parts", "blocks"),
    [
        pytest.param([image(IMAGE)], [JPEG], id="P12-inline-image"),
        pytest.param(
            [image(IMAGE), {"type": "text", "text": "t"}, image("https://a.example/b.png")],
            [JPEG, text("t"), BY_URL],
            id="P13-order-is-kept",
        ),
        pytest.param(
            [file(file_data=f"data:application/pdf;base64,{PDF}", filename="a.pdf")],
            [pdf(title="a.pdf")],
            id="P14-pdf-as-data-url",
        ),
        pytest.param([file(file_data=PDF)], [pdf()], id="P14-pdf-as-base64"),
        pytest.param(
            [file(file_data="data:text/markdown;base64,w6kK", filename=" ")],
            [
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "é\n"},
                }
            ],
            id="text-file",
        ),
    ],
)
def test_media(adapter: ClaudeAdapter, parts: list[JsonObject], blocks: list[JsonObject]) -> None:
    body, _, _ = to_wire(adapter, {"messages": [{"role": "user", "content": parts}]})
    assert [{"role": "user", "content": blocks}] == body["messages"]


def test_tool_results_may_hold_media(adapter: ClaudeAdapter) -> None:
    answer = {"role": "tool", "tool_call_id": "c1", "content": [image(IMAGE), file(file_data=PDF)]}
    body, _, _ = to_wire(adapter, {"messages": [ASK, CALLED, answer]})
    expected = {"type": "tool_result", "tool_use_id": "c1", "content": [JPEG, pdf()]}
    assert [expected] == body["messages"][-1]["content"]


PART = "messages[0].content[0]"
URL = f"{PART}.image_url.url"
DATA = f"{PART}.file.file_data"


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        (image("data:image/svg+xml;base64,AAAA"), "invalid_image_format", URL),
        (image("data:image/png,AAAA"), "invalid_image_format", URL),
        (image("data:image/png;base64,"), "invalid_image_format", URL),
        (image("data:image/png;base64,???"), "invalid_image_format", URL),
        (image("http://a.example/b.png"), "invalid_image_url", URL),
        (image("https:///b.png"), "invalid_image_url", URL),
        (image("https://[::1"), "invalid_image_url", URL),
        (image("file:///etc/passwd"), "invalid_image_url", URL),
        (file(file_id="file-1"), "unsupported_parameter", f"{PART}.file.file_id"),
        (file(), "missing_required_parameter", DATA),
        (file(file_data="data:application/zip;base64,AAAA"), "invalid_file_format", DATA),
        (file(file_data="data:text/plain;base64,/w=="), "invalid_file_format", DATA),
        (file(file_data="data:text/plain;base64,AAA"), "invalid_file_format", DATA),
        (file(file_data="data:text/plain;base64,IA=="), "invalid_file_format", DATA),
        (file(file_data="hello"), "invalid_file_format", DATA),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            "unsupported_parameter",
            f"{PART}.input_audio",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else "",
)
def test_p12_p14_p15_media_that_cannot_be_sent_is_refused(
    adapter: ClaudeAdapter, part: JsonObject, code: str, param: str
) -> None:
    error = refusal(adapter, {"messages": [{"role": "user", "content": [part]}]})
    assert (400, code, param) == (error.status, error.code, error.param)


def test_p15_modalities_of_text_are_accepted(adapter: ClaudeAdapter) -> None:
    _, call, _ = to_wire(adapter, {"modalities": ["text"]})
    assert call.dropped == []
