"""Messages of a chat as items of a response's input."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.openai.tests.bodies import PIXEL, call_of, items
from one_api.adapter import JsonObject


@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_instructions_and_questions_are_messages(role: str) -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    parts = [
        {"type": "text", "text": "a", **mark},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]
    assert [
        {"type": "message", "role": role, "content": "a"},
        {
            "type": "message",
            "role": role,
            "content": [
                {"type": "input_text", "text": "a", **mark},
                {"type": "input_text", "text": "b"},
            ],
        },
    ] == items({"role": role, "content": "a"}, {"role": role, "content": parts})


def test_images_and_files_are_sent() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:,x", "filename": "a.txt", "file_id": None}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    (message,) = items({"role": "user", "content": content})
    assert [
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_file", "file_data": "data:,x", "filename": "a.txt"},
        {"type": "input_file", "file_id": "file-1"},
    ] == message["content"]


def test_a_turn_with_calls_is_its_words_then_its_calls_then_their_results() -> None:
    turn = {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "hm",
        "tool_calls": [call_of("c1", "f", '{"a":1}'), call_of("c2", "g")],
    }
    picture = [{"type": "image_url", "image_url": {"url": PIXEL}}]
    given = items(
        turn,
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": picture},
    )
    assert [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me look."}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_image", "image_url": PIXEL, "detail": "auto"}],
        },
    ] == given


@pytest.mark.parametrize("content", [None, "", []], ids=["none", "empty", "no parts"])
def test_a_turn_of_calls_alone_has_no_message(content: Any) -> None:
    turn = {"role": "assistant", "content": content, "tool_calls": [call_of("c")]}
    assert ["function_call"] == [item["type"] for item in items(turn)]


def test_refusals_are_sent_back() -> None:
    parts = [{"type": "text", "text": "Well"}, {"type": "refusal", "refusal": "No."}]
    first, second = items(
        {"role": "assistant", "content": parts}, {"role": "assistant", "refusal": "Never."}
    )
    assert [
        {"type": "output_text", "text": "Well"},
        {"type": "refusal", "refusal": "No."},
    ] == first["content"]
    assert [{"type": "refusal", "refusal": "Never."}] == second["content"]


def test_a_turn_in_which_nothing_was_said_keeps_its_place() -> None:
    (item,) = items({"role": "assistant", "content": ""})
    assert [{"type": "output_text", "text": ""}] == item["content"]


def test_legacy_calls_find_their_results() -> None:
    def called(name: str) -> JsonObject:
        return {"role": "assistant", "function_call": {"name": name, "arguments": "{}"}}

    given = items(
        called("f"),
        called("g"),
        {"role": "function", "name": "g", "content": "of g"},
        {"role": "function", "name": "f", "content": "of f"},
        called("f"),
        {"role": "function", "name": "f", "content": None},
    )
    assert [
        ("call_fn_0", None),
        ("call_fn_1", None),
        ("call_fn_1", "of g"),
        ("call_fn_0", "of f"),
        ("call_fn_2", None),
        ("call_fn_2", ""),
    ] == [(item["call_id"], item.get("output")) for item in given]
