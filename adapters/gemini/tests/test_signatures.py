"""Thought signatures, which go back on the parts that they came on."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.gemini.tests.bodies import PRO_2_5, UNSIGNED, USER, assistant, body_of, result
from one_api.adapter import Call
from one_api_gemini import GeminiAdapter


def blocks(*signatures: str, thinking: str = "") -> list[dict[str, str]]:
    return [
        {"type": "thinking", "thinking": thinking, "signature": signature}
        for signature in signatures
    ]


def test_signatures_come_back_on_the_parts_they_came_on(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.call.0.QUJD", "one_api.v1.gemini.call.1.REVG")
    turn = assistant(("a", "f", "{}"), ("b", "f", "{}"), thinking_blocks=signed)

    parts = body_of(adapter, USER, turn, result("a", ""))["contents"][1]["parts"]

    assert ["QUJD", "REVG"] == [part["thoughtSignature"] for part in parts]


def test_a_signature_of_text_comes_back_on_the_text(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.text.QUJD")
    turn = {"role": "assistant", "content": "Four.", "thinking_blocks": signed}

    parts = body_of(adapter, USER, turn, USER)["contents"][1]["parts"]

    assert [{"text": "Four.", "thoughtSignature": "QUJD"}] == parts


def test_a_signature_of_text_that_is_gone_comes_back_alone(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.text.QUJD")
    turn = assistant(("a", "f", "{}"), thinking_blocks=signed)

    parts = body_of(adapter, USER, turn, result("a", ""))["contents"][1]["parts"]

    assert {"text": "", "thoughtSignature": "QUJD"} == parts[0]


def test_a_signed_thought_comes_back_whole(adapter: GeminiAdapter) -> None:
    signed = blocks("one_api.v1.gemini.thought.QUJD", thinking="Hm.")
    turn = {"role": "assistant", "content": "Four.", "thinking_blocks": signed}

    parts = body_of(adapter, USER, turn, USER)["contents"][1]["parts"]

    thought = {"text": "Hm.", "thought": True, "thoughtSignature": "QUJD"}
    assert [thought, {"text": "Four."}] == parts


@pytest.mark.parametrize(
    "foreign",
    [
        blocks("EqQBCkYIBRgCKkA="),
        blocks("one_api.v1.0123456789abcdef"),
        blocks("one_api.v1.gemini.call.x.QUJD", "one_api.v1.gemini.text."),
        [{"type": "thinking", "thinking": "unsigned"}, {"type": "redacted_thinking", "data": "x"}],
        ["text", None],
        "text",
        None,
    ],
)
def test_thoughts_of_others_are_left_out(adapter: GeminiAdapter, foreign: Any) -> None:
    turn = assistant(("a", "f", "{}"), content="So", thinking_blocks=foreign)

    parts = body_of(adapter, USER, turn, result("a", ""))["contents"][1]["parts"]

    call = {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": UNSIGNED}
    assert [{"text": "So"}, call] == parts


def test_models_that_need_no_signature_get_no_stand_in(adapter: GeminiAdapter) -> None:
    turn = assistant(("a", "f", "{}"))

    body = body_of(adapter, USER, turn, result("a", ""), call=Call(model=PRO_2_5))

    assert "thoughtSignature" not in body["contents"][1]["parts"][0]
