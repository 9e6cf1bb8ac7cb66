"""Messages as Anthropic's turns and system prompt; cases are named by what they show."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.claude.tests.wires import (
    ANSWERED,
    ASK,
    CALLED,
    OPUS_4_8,
    OPUS_5,
    OPUS_5_5,
    SONNET_4_5,
    SONNET_5,
    SYSTEM,
    assistant,
    call_of,
    refusal,
    text,
    to_wire,
    user,
)
from one_api.adapter import Call, JsonObject
from one_api_claude import ClaudeAdapter


def use(name: str = "f", id_: str = "c1", **arguments: Any) -> JsonObject:
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def result(*values: str, id_: str = "c1") -> JsonObject:
    content = {"content": [text(v) for v in values]} if values else {}
    return {"type": "tool_result", "tool_use_id": id_, **content}


def missing(id_: str = "c1") -> JsonObject:
    return {**result("[no result provided]", id_=id_), "is_error": True}


@pytest.mark.parametrize(
    ("messages", "model", "system", "turns"),
    [
        pytest.param(
            [
                {"role": "system", "content": "a"},
                {"role": "developer", "content": "b"},
                {"role": "user", "content": "hi"},
            ],
            OPUS_5_5,
            [text("a"), text("b")],
            [user("hi")],
            id="P01-leading-instructions-are-the-system-prompt",
        ),
        pytest.param(
            [
                {"role": "user", "content": "a"},
                {"role": "user", "content": "b"},
                {"role": "assistant", "content": "c"},
                {"role": "assistant", "content": "d"},
                {"role": "user", "content": "e"},
            ],
            OPUS_5_5,
            None,
            [user("a", "b"), assistant("c", "d"), user("e")],
            id="P02-messages-of-one-role-are-merged",
        ),
        pytest.param(
            [ASK, SYSTEM, {"role": "user", "content": "y"}],
            SONNET_5,
            [text("be brief")],
            [user("x", "y")],
            id="P03-later-instructions-are-hoisted",
        ),
        pytest.param(
            [ASK, SYSTEM, {"role": "user", "content": "y"}],
            OPUS_4_8,
            None,
            [user("x", "y"), {"role": "system", "content": [text("be brief")]}],
            id="P03-later-instructions-stay-in-place-where-the-model-takes-them",
        ),
        pytest.param(
            [ASK, CALLED, SYSTEM, ANSWERED],
            OPUS_4_8,
            None,
            [
                user("x"),
                assistant(use()),
                user(result("r")),
                {"role": "system", "content": [text("be brief")]},
            ],
            id="instructions-never-stand-between-call-and-result",
        ),
        pytest.param(
            [ASK, {"role": "assistant", "content": "c"}, SYSTEM],
            OPUS_4_8,
            None,
            [
                user("x"),
                assistant("c"),
                user("(no content)"),
                {"role": "system", "content": [text("be brief")]},
            ],
            id="instructions-at-the-end-follow-a-user",
        ),
        pytest.param(
            [ASK, {**CALLED, "content": ""}, ANSWERED],
            OPUS_5_5,
            None,
            [user("x"), assistant(use()), user(result("r"))],
            id="P04-no-empty-text-beside-calls",
        ),
        pytest.param(
            [ASK, {"role": "assistant", "content": " \n"}, {"role": "user", "content": "y"}],
            OPUS_5_5,
            None,
            [user("x", "y")],
            id="P05-blank-assistant-is-dropped",
        ),
        pytest.param(
            [{"role": "user", "content": ""}],
            OPUS_5_5,
            None,
            [user("(no content)")],
            id="P06-blank-user-gets-a-placeholder",
        ),
        pytest.param(
            [SYSTEM],
            OPUS_5_5,
            [text("be brief")],
            [user("(no content)")],
            id="instructions-alone-get-a-placeholder",
        ),
        pytest.param(
            [{"role": "assistant", "content": "hello"}, ASK],
            OPUS_5_5,
            None,
            [user("(no content)"), assistant("hello"), user("x")],
            id="a-user-begins",
        ),
        pytest.param(
            [
                ASK,
                {
                    "role": "assistant",
                    "content": "t",
                    "tool_calls": [
                        call_of(arguments=""),
                        call_of(arguments="[1]", id_="c2"),
                        call_of(arguments='{"é":1}', id_="c3"),
                        call_of(arguments="{oops", id_="c4"),
                    ],
                },
            ],
            OPUS_5_5,
            None,
            [
                user("x"),
                assistant(
                    "t",
                    use(),
                    use(id_="c2", _raw="[1]"),
                    use(id_="c3", é=1),
                    use(id_="c4", _raw="{oops"),
                ),
                user(missing(), missing("c2"), missing("c3"), missing("c4")),
            ],
            id="P07-arguments-become-an-object",
        ),
        pytest.param(
            [
                ASK,
                {"role": "assistant", "tool_calls": [call_of(), call_of(id_="c2")]},
                {
                    "role": "tool",
                    "tool_call_id": "c2",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": ""},
                {"role": "user", "content": "y"},
                {"role": "tool", "tool_call_id": "c2", "content": "c"},
            ],
            OPUS_5_5,
            None,
            [
                user("x"),
                assistant(use(), use(id_="c2")),
                user(result("a", "b", "c", id_="c2"), result(), "y"),
            ],
            id="P08-results-come-first-in-one-user-message",
        ),
        pytest.param(
            [ASK, CALLED, {"role": "assistant", "content": "on"}, ASK],
            OPUS_5_5,
            None,
            [user("x"), assistant(use()), user(missing()), assistant("on"), user("x")],
            id="a-missing-result-is-told-as-an-error",
        ),
        pytest.param(
            [ASK, CALLED, ANSWERED, CALLED, ANSWERED],
            OPUS_5_5,
            None,
            [
                user("x"),
                assistant(use()),
                user(result("r")),
                assistant(use(id_="c1_2")),
                user(result("r", id_="c1_2")),
            ],
            id="an-id-used-again-is-made-unique",
        ),
        pytest.param(
            [
                ASK,
                {"role": "assistant", "function_call": {"name": "f", "arguments": '{"a":1}'}},
                {"role": "function", "name": "f", "content": "r"},
            ],
            OPUS_5_5,
            None,
            [
                user("x"),
                assistant(use(id_="call_fn_0", a=1)),
                user(result("r", id_="call_fn_0")),
            ],
            id="P24-legacy-calls-get-ids",
        ),
        pytest.param(
            [
                ASK,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c1", "type": "custom", "custom": {"name": "f", "input": "raw"}}
                    ],
                },
                ANSWERED,
            ],
            OPUS_5_5,
            None,
            [user("x"), assistant(use(input="raw")), user(result("r"))],
            id="the-input-of-a-custom-call-is-wrapped",
        ),
        pytest.param(
            [ASK, {"role": "assistant", "content": None, "refusal": "no"}, ASK],
            OPUS_5_5,
            None,
            [user("x"), assistant("no"), user("x")],
            id="a-refusal-is-text",
        ),
        pytest.param(
            [ASK, {"role": "assistant", "content": "c", "reasoning_content": "hm"}, ASK],
            OPUS_5_5,
            None,
            [user("x"), assistant("c"), user("x")],
            id="unsigned-reasoning-is-left-out",
        ),
        pytest.param(
            [
                ASK,
                {
                    "role": "assistant",
                    "content": "c",
                    "tool_calls": [call_of()],
                    "thinking_blocks": [
                        {"index": 0, "type": "thinking", "thinking": "", "signature": "Sig"},
                        {"type": "thinking", "thinking": "own", "signature": "one_api.v1.aa"},
                        {"type": "thinking", "thinking": "unsigned", "signature": ""},
                        {"type": "redacted_thinking", "data": "Zm9v"},
                    ],
                },
                ANSWERED,
            ],
            OPUS_5_5,
            None,
            [
                user("x"),
                assistant(
                    {"type": "thinking", "thinking": "", "signature": "Sig"},
                    {"type": "redacted_thinking", "data": "Zm9v"},
                    "c",
                    use(),
                ),
                user(result("r")),
            ],
            id="signed-thinking-comes-back-before-text-and-calls",
        ),
    ],
)
def test_messages(
    adapter: ClaudeAdapter,
    messages: list[JsonObject],
    model: str,
    system: list[JsonObject] | None,
    turns: list[JsonObject],
) -> None:
    body, call, _ = to_wire(adapter, {"messages": messages}, Call(model=model))
    assert (system, turns) == (body.get("system"), body["messages"])
    assert (call.dropped, call.degraded) == ([], [])


PREFILLED = {"messages": [ASK, {"role": "assistant", "content": "The answer is "}]}


def test_p23_prefill_loses_its_trailing_space(adapter: ClaudeAdapter) -> None:
    wire, _, _ = to_wire(adapter, PREFILLED, Call(model=SONNET_4_5))
    assert assistant("The answer is") == wire["messages"][-1]


def test_p23_prefill_is_refused_here_where_the_model_refuses_it(adapter: ClaudeAdapter) -> None:
    error = refusal(adapter, PREFILLED, Call(model=OPUS_5))
    assert (error.status, error.code, error.param) == (400, "unsupported_value", "messages")
