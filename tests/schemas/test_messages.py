"""Every role and every content part: what is accepted, what is refused and how it is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from one_api.schemas.chat import ChatCompletionRequest
from tests.schemas.wire import USER, chat, refusal

TEXT = {"type": "text", "text": "t"}
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CUSTOM_CALL = {"id": "c", "type": "custom", "custom": {"name": "c", "input": "raw"}}

ACCEPTED: list[dict[str, Any]] = [
    {"role": "system", "content": "s"},
    {"role": "system", "content": [TEXT, TEXT], "name": "n"},
    {"role": "developer", "content": "d", "name": None},
    {"role": "user", "content": ""},
    {"role": "user", "content": "u", "name": "n"},
    {"role": "user", "content": [TEXT, IMAGE, AUDIO, FILE]},
    *(
        {"role": "user", "content": [{**IMAGE, "image_url": {"url": "u", "detail": detail}}]}
        for detail in ("auto", "low", "high", "original", None)
    ),
    {"role": "user", "content": [{**AUDIO, "input_audio": {"data": "", "format": "mp3"}}]},
    {"role": "user", "content": [{"type": "file", "file": {}}]},
    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f", "filename": "n"}}]},
    {
        "role": "user",
        "content": [{**TEXT, "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}],
    },
    {"role": "user", "content": [{**TEXT, "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": "a"},
    {"role": "assistant", "content": [TEXT, TEXT], "name": "n", "refusal": None},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"role": "assistant", "refusal": "no"},
    {"role": "assistant", "content": None, "tool_calls": [CALL, CUSTOM_CALL]},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "assistant", "content": "a", "tool_calls": None, "function_call": None},
    {"role": "assistant", "content": None, "function_call": CALL["function"]},
    {"role": "assistant", "content": None, "audio": {"id": "a"}},
    {"role": "assistant", "content": "a", "reasoning_content": "", "tool_calls": [CALL]},
    {"role": "assistant", "content": "a", "reasoning": "r", "thinking_blocks": [{"index": 0}]},
    {"role": "tool", "content": "", "tool_call_id": "c"},
    {"role": "tool", "content": [TEXT, IMAGE], "tool_call_id": "c"},
    {"role": "function", "content": "r", "name": "f"},
    {"role": "function", "content": None, "name": "f"},
]

TYPE = "invalid_type"
VALUE = "invalid_value"
CHOICE = "unsupported_value"
MISSING = "missing_required_parameter"


def part(value: Any) -> dict[str, Any]:
    return {"role": "user", "content": [TEXT, value]}


def call(value: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [value]}


#: message, path below `messages[1]`, code.
REFUSED: list[tuple[Any, str, str]] = [
    ("Hi", "", VALUE),
    (None, "", VALUE),
    ({}, "", VALUE),
    ({"role": "robot", "content": "x"}, "", VALUE),
    ({"role": ["user"], "content": "x"}, "", VALUE),
    ({"role": None, "content": "x"}, "", VALUE),
    ({"role": "system"}, ".content", MISSING),
    ({"role": "system", "content": None}, ".content", TYPE),
    ({"role": "system", "content": []}, ".content", "empty_array"),
    ({"role": "system", "content": [IMAGE]}, ".content[0].type", CHOICE),
    ({"role": "user"}, ".content", MISSING),
    ({"role": "user", "content": None}, ".content", TYPE),
    ({"role": "user", "content": 5}, ".content", TYPE),
    ({"role": "user", "content": TEXT}, ".content", TYPE),
    ({"role": "user", "content": []}, ".content", "empty_array"),
    ({"role": "user", "content": "x", "name": 5}, ".name", TYPE),
    (part("t"), ".content[1]", VALUE),
    (part({}), ".content[1]", VALUE),
    (part({"type": "video"}), ".content[1]", VALUE),
    (part({"type": ["text"]}), ".content[1]", VALUE),
    (part({"type": "text"}), ".content[1].text", MISSING),
    (part({"type": "text", "text": None}), ".content[1].text", TYPE),
    (part({"type": "image_url"}), ".content[1].image_url", MISSING),
    (part({"type": "image_url", "image_url": "u"}), ".content[1].image_url", TYPE),
    (part({"type": "image_url", "image_url": {}}), ".content[1].image_url.url", MISSING),
    (
        part({"type": "image_url", "image_url": {"url": "u", "detail": "ultra"}}),
        ".content[1].image_url.detail",
        CHOICE,
    ),
    (part({"type": "input_audio", "input_audio": {}}), ".content[1].input_audio.data", MISSING),
    (
        part({"type": "input_audio", "input_audio": {"data": "", "format": "ogg"}}),
        ".content[1].input_audio.format",
        CHOICE,
    ),
    (part({"type": "file"}), ".content[1].file", MISSING),
    (part({"type": "file", "file": {"file_data": 5}}), ".content[1].file.file_data", TYPE),
    ({"role": "assistant", "content": 5}, ".content", TYPE),
    ({"role": "assistant", "content": [IMAGE]}, ".content[0]", VALUE),
    ({"role": "assistant"}, ".content", VALUE),
    ({"role": "assistant", "content": None}, ".content", VALUE),
    ({"role": "assistant", "content": None, "tool_calls": []}, ".content", VALUE),
    ({"role": "assistant", "content": None, "reasoning_content": "r"}, ".content", VALUE),
    ({"role": "assistant", "content": "a", "refusal": 5}, ".refusal", TYPE),
    ({"role": "assistant", "content": "a", "audio": {}}, ".audio.id", MISSING),
    ({"role": "assistant", "tool_calls": {}}, ".tool_calls", TYPE),
    ({"role": "assistant", "function_call": "f"}, ".function_call", TYPE),
    (call({}), ".tool_calls[0]", VALUE),
    (call({**CALL, "type": "retrieval"}), ".tool_calls[0]", VALUE),
    (call({"type": "function", "function": {}}), ".tool_calls[0].id", MISSING),
    (call({**CALL, "id": None}), ".tool_calls[0].id", TYPE),
    (call({**CALL, "function": {"arguments": ""}}), ".tool_calls[0].function.name", MISSING),
    (
        call({**CALL, "function": {"name": "f"}}),
        ".tool_calls[0].function.arguments",
        MISSING,
    ),
    (
        call({**CALL, "function": {"name": "f", "arguments": {}}}),
        ".tool_calls[0].function.arguments",
        TYPE,
    ),
    (call({**CUSTOM_CALL, "custom": {"name": "c"}}), ".tool_calls[0].custom.input", MISSING),
    ({"role": "tool", "content": "x"}, ".tool_call_id", MISSING),
    ({"role": "tool", "tool_call_id": "c"}, ".content", MISSING),
    ({"role": "tool", "content": None, "tool_call_id": "c"}, ".content", TYPE),
    ({"role": "function", "content": "x"}, ".name", MISSING),
    ({"role": "function", "name": "f"}, ".content", MISSING),
]


@pytest.mark.parametrize("message", ACCEPTED, ids=lambda message: json.dumps(message)[:60])
def test_accepted_message_arrives_as_it_was_sent(message: dict[str, Any]) -> None:
    body = chat(messages=[USER, message])
    assert body == ChatCompletionRequest.from_wire(body).to_wire()


@pytest.mark.parametrize(
    ("message", "path", "code"), REFUSED, ids=[f"{row[1]}: {row[0]!r:.50}" for row in REFUSED]
)
def test_refused_message_is_told_by_path_and_code(message: Any, path: str, code: str) -> None:
    error = refusal(chat(messages=[USER, message]))
    assert (f"messages[1]{path}", code) == (error.param, error.code)
    assert f"'messages[1]{path}'" in error.message


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
def test_unknown_fields_of_every_role_are_kept(role: str) -> None:
    message = {"role": role, "content": "x", "tool_call_id": "c", "name": "n", "of_its_own": [1]}
    body = chat(messages=[message])
    assert body == ChatCompletionRequest.from_wire(body).to_wire()


def test_wrong_role_is_answered_with_the_right_ones() -> None:
    message = refusal(chat(messages=[{"role": "robot"}])).message
    for role in ("developer", "system", "user", "assistant", "tool", "function"):
        assert f"'{role}'" in message


def test_wrong_part_is_answered_with_the_right_ones() -> None:
    message = refusal(chat(messages=[part({"type": "video"})])).message
    for kind in ("text", "image_url", "input_audio", "file"):
        assert f"'{kind}'" in message
