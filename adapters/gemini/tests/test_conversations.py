"""Messages as contents: whose they are, and in what order."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.gemini.tests.bodies import PIXEL, UNSIGNED, USER, assistant, body_of, result
from one_api.adapter import InvalidRequest, UnsupportedParameter
from one_api_gemini import GeminiAdapter


def answer_to(call_id: str, name: str, **response: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": call_id, "name": name, "response": response}}


CONVERSATIONS: dict[str, tuple[list[Any], list[Any], list[Any]]] = {
    "instructions from anywhere are the system's": (
        [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "In verse."}]},
        ],
        [{"text": "Be brief."}, {"text": "In verse."}],
        [{"role": "user", "parts": [{"text": "Hi"}]}],
    ),
    "messages of one side in a row are one content": (
        [
            USER,
            {"role": "user", "content": [{"type": "text", "text": "there"}]},
            {"role": "assistant", "content": "Oh"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            USER,
        ],
        [],
        [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "model", "parts": [{"text": "Oh"}, {"text": "No."}]},
            {"role": "user", "parts": [{"text": "Hi"}]},
        ],
    ),
    "a conversation begins with a user": (
        [{"role": "assistant", "content": "Welcome"}, USER],
        [],
        [
            {"role": "user", "parts": [{"text": "(no content)"}]},
            {"role": "model", "parts": [{"text": "Welcome"}]},
            {"role": "user", "parts": [{"text": "Hi"}]},
        ],
    ),
    "instructions alone still need a content": (
        [{"role": "system", "content": "Say hi."}],
        [{"text": "Say hi."}],
        [{"role": "user", "parts": [{"text": "(no content)"}]}],
    ),
    "empty texts are left out": (
        [
            {"role": "system", "content": ""},
            USER,
            {"role": "assistant", "content": ""},
            {"role": "user", "content": ""},
        ],
        [],
        [{"role": "user", "parts": [{"text": "Hi"}, {"text": "(no content)"}]}],
    ),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_conversations(adapter: GeminiAdapter, case: str) -> None:
    messages, instructions, contents = CONVERSATIONS[case]

    body = body_of(adapter, *messages)

    assert contents == body["contents"]
    assert instructions == body.get("systemInstruction", {"parts": []})["parts"]


def test_results_follow_their_calls_in_the_order_of_these(adapter: GeminiAdapter) -> None:
    body = body_of(
        adapter,
        USER,
        assistant(("a", "f", '{"x": 1}'), ("b", "g", ""), content="Wait."),
        result("b", [{"type": "text", "text": "B1"}, {"type": "text", "text": "B2"}]),
        {"role": "user", "content": "Quick!"},
        result("a", "A"),
    )

    call_a = {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}
    assert [
        {"text": "Wait."},
        {**call_a, "thoughtSignature": UNSIGNED},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ] == body["contents"][1]["parts"]
    assert {
        "role": "user",
        "parts": [
            answer_to("a", "f", output="A"),
            answer_to("b", "g", output="B1B2"),
            {"text": "Quick!"},
        ],
    } == body["contents"][2]


def test_a_call_nobody_answered_is_answered_with_an_error(adapter: GeminiAdapter) -> None:
    body = body_of(adapter, USER, assistant(("a", "f", "{}")), USER)

    assert answer_to("a", "f", error="no result provided") == body["contents"][2]["parts"][0]


def test_equal_ids_are_answered_one_after_the_other(adapter: GeminiAdapter) -> None:
    calls = assistant(("a", "f", "{}"), ("a", "f", "{}"))

    body = body_of(adapter, USER, calls, result("a", "1"), result("a", "2"), result("a", "3"))

    expected = [answer_to("a", "f", output="1"), answer_to("a", "f", output="3")]
    assert expected == body["contents"][2]["parts"]


def test_an_answer_to_no_call_is_refused(adapter: GeminiAdapter) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, USER, assistant(("a", "f", "{}")), result("a", "1"), USER, result("b", ""))

    assert "messages[4].tool_call_id" == caught.value.param


@pytest.mark.parametrize("arguments", ["[1]", "{", "7"])
def test_arguments_that_are_no_object_are_kept(adapter: GeminiAdapter, arguments: str) -> None:
    body = body_of(adapter, USER, assistant(("a", "f", arguments)), result("a", ""))

    call = body["contents"][1]["parts"][0]["functionCall"]
    assert {"_raw": arguments} == call["args"]


def test_a_conversation_may_not_end_with_the_model(adapter: GeminiAdapter) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(adapter, USER, {"role": "assistant", "content": "So"})

    assert "messages" == caught.value.param


REFUSED: dict[str, tuple[list[Any], str]] = {
    "sounds of earlier turns": (
        [USER, {"role": "assistant", "audio": {"id": "x"}}, USER],
        "messages[1].audio",
    ),
    "calls of old": (
        [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}, USER],
        "messages[1].function_call",
    ),
    "answers of old": (
        [USER, {"role": "function", "name": "f", "content": "x"}],
        "messages[1].role",
    ),
    "images from tools": (
        [
            USER,
            assistant(("a", "f", "{}")),
            result("a", [{"type": "image_url", "image_url": {"url": PIXEL}}]),
        ],
        "messages[2].content[0].type",
    ),
    "calls of custom tools": (
        [
            USER,
            {
                "role": "assistant",
                "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": ""}}],
            },
            USER,
        ],
        "messages[1].tool_calls",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_by_name(adapter: GeminiAdapter, case: str) -> None:
    messages, param = REFUSED[case]

    with pytest.raises(UnsupportedParameter) as caught:
        body_of(adapter, *messages)

    assert param == caught.value.param
