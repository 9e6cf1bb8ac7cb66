"""Requests in OpenAI's format as Anthropic's parameters; cases are named by what they show."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from one_api.adapter import (
    Call,
    ChatCompletionRequest,
    GatewayError,
    JsonObject,
    UnsupportedParameter,
)
from one_api_claude import ClaudeAdapter
from one_api_claude.capabilities import ModelCapabilities, ThinkingType
from one_api_claude.to_wire import Conversion, request_to_wire

OPUS_5_5 = "claude-opus-5-5"
OPUS_5 = "claude-opus-5"
SONNET_5_5 = "claude-sonnet-5-5"
SONNET_5 = "claude-sonnet-5"
OPUS_4_8 = "claude-opus-4-8"
SONNET_4_6 = "claude-sonnet-4-6"
SONNET_4_5 = "claude-sonnet-4-5"
OPUS_4_5 = "claude-opus-4-5"
HAIKU_4_5 = "claude-haiku-4-5-20251001"

HI = [{"role": "user", "content": "hi"}]


def to_wire(
    adapter: ClaudeAdapter, body: JsonObject, call: Call | None = None
) -> tuple[JsonObject, Call, str]:
    """Body, call and API version, by the road the gateway takes: settle, then convert."""
    call = call or Call(model=OPUS_5_5)
    request = ChatCompletionRequest.from_wire({"model": "public", "messages": HI, **body})
    for name in adapter.parameters(call.model).settle(request, strict=call.strict_params):
        call.drop(name)
    wire = adapter.to_wire(request, call)
    assert isinstance(wire.body, bytes)
    return orjson.loads(wire.body), call, wire.headers["anthropic-version"]


def refusal(adapter: ClaudeAdapter, body: JsonObject, call: Call | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        to_wire(adapter, body, call)
    return caught.value


def text(value: str, **more: Any) -> JsonObject:
    return {"type": "text", "text": value, **more}


def user(*values: Any) -> JsonObject:
    return {"role": "user", "content": [text(v) if isinstance(v, str) else v for v in values]}


def assistant(*values: Any) -> JsonObject:
    return {**user(*values), "role": "assistant"}


def call_of(name: str = "f", arguments: str = "{}", id_: str = "c1") -> JsonObject:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str = "f", **more: Any) -> JsonObject:
    return {"type": "function", "function": {"name": name, **more}}


def use(name: str = "f", id_: str = "c1", **arguments: Any) -> JsonObject:
    return {"type": "tool_use", "id": id_, "name": name, "input": arguments}


def result(*values: str, id_: str = "c1") -> JsonObject:
    content = {"content": [text(v) for v in values]} if values else {}
    return {"type": "tool_result", "tool_use_id": id_, **content}


def missing(id_: str = "c1") -> JsonObject:
    return {**result("[no result provided]", id_=id_), "is_error": True}


ASK = {"role": "user", "content": "x"}
CALLED = {"role": "assistant", "tool_calls": [call_of()]}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": "r"}
SYSTEM = {"role": "system", "content": "be brief"}


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


def test_p01_a_plain_request_has_no_sampling_and_a_limit(adapter: ClaudeAdapter) -> None:
    body, _, version = to_wire(adapter, {})
    expected = {
        "model": OPUS_5_5,
        "max_tokens": 16_384,
        "stream": True,
        "messages": [user("hi")],
    }
    assert (expected, "2026-10-21") == (body, version)


IMAGE = "data:image/JPG;charset=x;base64,AA AA\n"
PDF = "JVBERi0xLjcK"


def image(url: str) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url}}


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


EMPTY_SCHEMA = {"type": "object", "properties": {}}
TWO = [tool("f"), tool("g")]


def named(name: str) -> JsonObject:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> JsonObject:
    tools = [named(name) for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


@pytest.mark.parametrize(
    ("body", "names", "choice"),
    [
        pytest.param({"tools": TWO}, ["f", "g"], {"type": "auto"}, id="absent"),
        pytest.param(
            {"tools": TWO, "tool_choice": "none"},
            ["f", "g"],
            {"type": "none"},
            id="P10-none-keeps-the-tools",
        ),
        pytest.param(
            {"tools": TWO, "parallel_tool_calls": False},
            ["f", "g"],
            {"type": "auto", "disable_parallel_tool_use": True},
            id="P10-one-at-a-time",
        ),
        pytest.param({"parallel_tool_calls": False}, None, None, id="P10-without-tools"),
        pytest.param({"tool_choice": "auto", "tools": []}, None, None, id="empty-tools"),
        pytest.param(
            {"tools": TWO, "tool_choice": "required"},
            ["f", "g"],
            {"type": "any"},
            id="P11-required",
        ),
        pytest.param(
            {"tools": TWO, "tool_choice": named("f"), "parallel_tool_calls": False},
            ["f", "g"],
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
            id="P11-named",
        ),
        pytest.param(
            {"tools": TWO, "tool_choice": allowed("required", "f")},
            ["f"],
            {"type": "any"},
            id="P11-allowed-required",
        ),
        pytest.param(
            {"tools": TWO, "tool_choice": allowed("auto", "g", "f")},
            ["f", "g"],
            {"type": "auto"},
            id="allowed-auto-keeps-the-order-of-tools",
        ),
        pytest.param(
            {"functions": [{"name": "f"}, {"name": "g"}], "function_call": {"name": "g"}},
            ["f", "g"],
            {"type": "tool", "name": "g", "disable_parallel_tool_use": True},
            id="P24-legacy-named",
        ),
        pytest.param(
            {"functions": [{"name": "f"}], "function_call": "none"},
            ["f"],
            {"type": "none"},
            id="P24-legacy-none",
        ),
    ],
)
def test_tool_choice(
    adapter: ClaudeAdapter, body: JsonObject, names: list[str] | None, choice: JsonObject | None
) -> None:
    wire, call, _ = to_wire(adapter, body, Call(model=OPUS_5))
    offered = [offer["name"] for offer in wire["tools"]] if "tools" in wire else None
    assert (names, choice) == (offered, wire.get("tool_choice"))
    assert (call.dropped, call.degraded) == ([], [])


@pytest.mark.parametrize(
    ("choice", "names", "nudge"),
    [
        pytest.param("required", ["f", "g"], "Answer by calling one of the tools.", id="required"),
        pytest.param(named("g"), ["g"], 'Answer by calling the tool "g".', id="named"),
        pytest.param(
            allowed("required", "f"), ["f"], "Answer by calling one of the tools.", id="allowed"
        ),
    ],
)
def test_a_forced_call_becomes_a_nudge_where_the_model_refuses_force(
    adapter: ClaudeAdapter, choice: Any, names: list[str], nudge: str
) -> None:
    signed = {"type": "thinking", "thinking": "", "signature": "Sig"}
    messages = [ASK, {"role": "assistant", "content": "c", "thinking_blocks": [signed]}, ASK]
    wire, call, _ = to_wire(adapter, {"messages": messages, "tools": TWO, "tool_choice": choice})
    assert (names, {"type": "auto"}) == ([t["name"] for t in wire["tools"]], wire["tool_choice"])
    # Signed thinking is bound to a conversation without the nudge.
    assert [user("x"), assistant("c"), user("x", nudge)] == wire["messages"]
    assert call.degraded == ["tool_choice"]


def test_strictness_refuses_what_would_be_degraded(adapter: ClaudeAdapter) -> None:
    body = {"tools": TWO, "tool_choice": "required"}
    error = refusal(adapter, body, Call(model=OPUS_5_5, strict_params=True))
    assert (error.code, error.param) == ("unsupported_parameter", "tool_choice")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        pytest.param(tool(), {"name": "f", "input_schema": EMPTY_SCHEMA}, id="P09-no-parameters"),
        pytest.param(
            tool(description="d", parameters={"properties": {"a": {"type": "string"}}}),
            {
                "name": "f",
                "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                "description": "d",
            },
            id="missing-type-is-added",
        ),
        pytest.param(
            {**tool(description=None, strict=None), "cache_control": {"type": "ephemeral"}},
            {"name": "f", "input_schema": EMPTY_SCHEMA, "cache_control": {"type": "ephemeral"}},
            id="breakpoint-and-nulls",
        ),
        pytest.param(
            tool(
                strict=True,
                parameters={
                    "type": "object",
                    "properties": {"n": {"type": "integer", "minimum": 1}},
                    "required": ["n"],
                    "additionalProperties": False,
                },
            ),
            {
                "name": "f",
                "input_schema": {
                    "type": "object",
                    "properties": {"n": {"type": "integer", "description": "{minimum: 1}"}},
                    "required": ["n"],
                    "additionalProperties": False,
                },
                "strict": True,
            },
            id="strict-schema-is-made-enforceable",
        ),
        pytest.param(
            tool("my.tool"),
            {"name": "my_tool_bca2c361", "input_schema": EMPTY_SCHEMA},
            id="name-is-made-valid",
        ),
    ],
)
def test_tool_definitions(adapter: ClaudeAdapter, given: JsonObject, written: JsonObject) -> None:
    wire, call, _ = to_wire(adapter, {"tools": [given]})
    assert ([written], []) == (wire["tools"], call.degraded)


CLOSED = {**EMPTY_SCHEMA, "additionalProperties": False}
LINK = {**CLOSED, "properties": {"next": {"$ref": "#/$defs/Link"}}}


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"type": "object", "additionalProperties": {"type": "string"}}, id="open"),
        pytest.param({**LINK, "$defs": {"Link": LINK}}, id="recursive"),
    ],
)
def test_a_strict_tool_that_cannot_be_enforced_is_told(
    adapter: ClaudeAdapter, schema: JsonObject
) -> None:
    wire, call, _ = to_wire(adapter, {"tools": [tool(strict=True, parameters=schema)]})
    assert [{"name": "f", "input_schema": schema}] == wire["tools"]
    assert call.degraded == ["tools.strict"]


def test_only_so_many_tools_are_strict(adapter: ClaudeAdapter) -> None:
    tools = [tool(f"t{n}", strict=True, parameters=CLOSED) for n in range(21)]
    wire, _, _ = to_wire(adapter, {"tools": tools})
    assert [offer.get("strict", False) for offer in wire["tools"]] == [True] * 20 + [False]


def test_a_long_tool_name_is_the_same_in_history_choice_and_definition(
    adapter: ClaudeAdapter,
) -> None:
    name = "n" * 65
    messages = [ASK, {"role": "assistant", "tool_calls": [call_of(name)]}, ANSWERED]
    body = {"messages": messages, "tools": [tool(name)], "tool_choice": named(name)}
    wire, _, _ = to_wire(adapter, body, Call(model=OPUS_5))
    written = wire["tools"][0]["name"]
    assert len(written) == 64
    assert written == wire["messages"][1]["content"][0]["name"] == wire["tool_choice"]["name"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"tools": TWO, "tool_choice": named("h")}, "tool_choice"),
        ({"tools": TWO, "tool_choice": allowed("auto")}, "tool_choice"),
        (
            {
                "tools": TWO,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function"}]},
                },
            },
            "tool_choice.allowed_tools.tools[0]",
        ),
        ({"tools": TWO, "functions": [{"name": "f"}]}, "functions"),
        ({"messages": [ASK, ANSWERED]}, "messages[1].tool_call_id"),
        (
            {"messages": [ASK, CALLED, {**ANSWERED, "tool_call_id": "c9"}]},
            "messages[2].tool_call_id",
        ),
        (
            {"messages": [ASK, {"role": "function", "name": "f", "content": "r"}]},
            "messages[1].name",
        ),
        ({"messages": [ASK, {"role": "assistant", "audio": {"id": "a"}}]}, "messages[1].audio"),
        ({"thinking": "yes"}, "thinking"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"max_tokens": 5, "max_completion_tokens": 7}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_p16_p21_what_cannot_be_meant_is_refused(
    adapter: ClaudeAdapter, body: JsonObject, param: str
) -> None:
    error = refusal(adapter, body)
    assert (400, param) == (error.status, error.param)


@pytest.mark.parametrize("body", [{"n": 1}, {"n": None}, {"logprobs": False}, {"stop": None}])
def test_p21_values_that_ask_for_nothing_are_accepted(
    adapter: ClaudeAdapter, body: JsonObject
) -> None:
    _, call, _ = to_wire(adapter, body)
    assert call.dropped == []


@pytest.mark.parametrize(
    ("body", "model", "expected"),
    [
        ({"max_tokens": None, "max_completion_tokens": None}, OPUS_5_5, 16_384),
        ({"max_tokens": 10**9}, OPUS_5_5, 128_000),
        ({"max_completion_tokens": 10**9}, HAIKU_4_5, 64_000),
        ({"max_tokens": 5}, OPUS_5_5, 5),
    ],
)
def test_p16_limit(adapter: ClaudeAdapter, body: JsonObject, model: str, expected: int) -> None:
    wire, _, _ = to_wire(adapter, body, Call(model=model))
    assert expected == wire["max_tokens"]


ADAPTIVE = {"type": "adaptive", "display": "summarized"}


def enabled(budget: int) -> JsonObject:
    return {"type": "enabled", "budget_tokens": budget}


@pytest.mark.parametrize(
    ("model", "body", "thinking", "effort", "limit"),
    [
        pytest.param(OPUS_5_5, {}, None, None, 16_384, id="absent"),
        pytest.param(
            OPUS_5_5, {"include_reasoning": True}, ADAPTIVE, None, 16_384, id="wants-to-read"
        ),
        pytest.param(
            OPUS_5_5, {"reasoning_effort": "high"}, ADAPTIVE, "high", 16_384, id="P17-adaptive"
        ),
        pytest.param(
            HAIKU_4_5, {"reasoning_effort": "high"}, enabled(16_384), None, 32_768, id="P17-budget"
        ),
        pytest.param(
            HAIKU_4_5,
            {"reasoning_effort": "high", "max_tokens": 2_000},
            enabled(1_999),
            None,
            2_000,
            id="budget-stays-below-the-limit",
        ),
        pytest.param(
            OPUS_4_5,
            {"reasoning_effort": "minimal"},
            enabled(1_024),
            "low",
            17_408,
            id="budget-with-effort",
        ),
        pytest.param(
            OPUS_4_8, {"reasoning_effort": "none"}, {"type": "disabled"}, None, 16_384, id="P18-off"
        ),
        pytest.param(
            SONNET_5_5,
            {"reasoning_effort": "none"},
            {"type": "between_tools"},
            None,
            16_384,
            id="P18-between-tools",
        ),
        pytest.param(
            OPUS_5_5, {"reasoning_effort": "none"}, None, "low", 16_384, id="P18-cannot-be-off"
        ),
        pytest.param(
            SONNET_4_6, {"reasoning_effort": "xhigh"}, ADAPTIVE, "high", 16_384, id="P19-xhigh"
        ),
        pytest.param(SONNET_4_6, {"reasoning_effort": "max"}, ADAPTIVE, "max", 16_384, id="max"),
        pytest.param(
            OPUS_5_5,
            {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"},
            {"type": "adaptive"},
            "low",
            16_384,
            id="own-thinking-object-is-sent-as-it-is",
        ),
        pytest.param(
            HAIKU_4_5,
            {"thinking": enabled(4_096)},
            enabled(4_096),
            None,
            20_480,
            id="own-budget-is-room-on-top",
        ),
    ],
)
def test_thinking(
    adapter: ClaudeAdapter,
    model: str,
    body: JsonObject,
    thinking: JsonObject | None,
    effort: str | None,
    limit: int,
) -> None:
    wire, call, _ = to_wire(adapter, body, Call(model=model))
    told = (wire.get("thinking"), wire.get("output_config", {}).get("effort"), wire["max_tokens"])
    assert (thinking, effort, limit) == told
    assert call.dropped == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"max_tokens": 800}, id="P17-no-room"),
        pytest.param({"tools": TWO, "tool_choice": "required"}, id="forced-tool"),
        pytest.param({"messages": [ASK, {"role": "assistant", "content": "A"}]}, id="prefill"),
        pytest.param({"messages": [ASK, CALLED, ANSWERED]}, id="open-calls-without-signature"),
    ],
)
def test_a_budget_that_would_be_refused_is_dropped(
    adapter: ClaudeAdapter, body: JsonObject
) -> None:
    body = {"reasoning_effort": "high", **body}
    wire, call, _ = to_wire(adapter, body, Call(model=HAIKU_4_5))
    assert ("thinking" in wire, call.dropped) == (False, ["reasoning_effort"])


def test_a_model_that_cannot_think_drops_the_effort() -> None:
    capabilities = ModelCapabilities(thinking=frozenset(), efforts=frozenset())
    conversion = Conversion(capabilities=capabilities, default_max_tokens=9, user_key=b"k")
    for effort, dropped in (("high", ["reasoning_effort"]), ("none", [])):
        request = ChatCompletionRequest.from_wire({"messages": HI, "reasoning_effort": effort})
        call = Call(model="acme-1")
        body = request_to_wire(request, call, conversion)
        assert (dropped, False) == (call.dropped, "thinking" in body)


def test_a_model_that_always_thinks_drops_the_wish_not_to() -> None:
    capabilities = ModelCapabilities(efforts=frozenset())
    conversion = Conversion(capabilities=capabilities, default_max_tokens=9, user_key=b"k")
    request = ChatCompletionRequest.from_wire({"messages": HI, "reasoning_effort": "none"})
    call = Call(model="acme-1", strict_params=True)
    with pytest.raises(UnsupportedParameter):
        request_to_wire(request, call, conversion)


def test_a_forced_call_ends_thinking_where_both_do_not_go_together() -> None:
    body = {"tools": TWO, "tool_choice": "required", "reasoning_effort": "max", "messages": HI}
    request = ChatCompletionRequest.from_wire(body)
    told = []
    choices: list[list[ThinkingType]] = [["adaptive", "disabled"], ["adaptive"]]
    for types in choices:
        capabilities = ModelCapabilities(
            thinking=frozenset(types), forced_tools=True, forced_tools_with_thinking=False
        )
        conversion = Conversion(capabilities=capabilities, default_max_tokens=9, user_key=b"k")
        wire = request_to_wire(request, Call(model="acme-1"), conversion)
        told.append((wire.get("thinking"), wire["output_config"]))
    assert told == [({"type": "disabled"}, {"effort": "high"}), (None, {"effort": "max"})]


def test_a_budget_goes_with_signed_open_calls(adapter: ClaudeAdapter) -> None:
    signed = {"type": "thinking", "thinking": "t", "signature": "Sig"}
    messages = [ASK, {**CALLED, "thinking_blocks": [signed]}, ANSWERED]
    body = {"messages": messages, "reasoning_effort": "low"}
    wire, _, _ = to_wire(adapter, body, Call(model=HAIKU_4_5))
    assert enabled(2_048) == wire["thinking"]


def schema_format(schema: JsonObject | None, **more: Any) -> JsonObject:
    fields = {"name": "n", "schema": schema, **more}
    return {"response_format": {"type": "json_schema", "json_schema": fields}}


def test_p20_json_object_is_asked_for_in_words(adapter: ClaudeAdapter) -> None:
    body = {"messages": [SYSTEM, ASK], "response_format": {"type": "json_object"}}
    wire, _, _ = to_wire(adapter, body)
    assert text("be brief") == wire["system"][0]
    assert wire["system"][-1]["text"].startswith("Respond with one JSON object only")
    assert [user("x")] == wire["messages"]
    assert "output_config" not in wire


def test_json_schema_is_enforced(adapter: ClaudeAdapter) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    body = {**schema_format(schema, strict=True), "reasoning_effort": "low"}
    wire, call, _ = to_wire(adapter, body)
    enforced = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": '{pattern: "x"}'}},
        "additionalProperties": False,
    }
    config = {"effort": "low", "format": {"type": "json_schema", "schema": enforced}}
    assert (config, []) == (wire["output_config"], call.degraded)


def test_json_schema_that_cannot_be_enforced_is_asked_for_in_words(
    adapter: ClaudeAdapter,
) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    wire, call, _ = to_wire(adapter, schema_format(schema))
    assert wire["system"][-1]["text"].endswith(f"\n{orjson.dumps(schema).decode()}")
    assert call.degraded == ["response_format"]
    error = refusal(adapter, schema_format(schema), Call(model=OPUS_5_5, strict_params=True))
    assert error.param == "response_format"


def test_json_schema_that_cannot_be_sent_is_refused(adapter: ClaudeAdapter) -> None:
    error = refusal(adapter, schema_format({"default": 2**70}))
    assert (error.status, error.param) == (400, "response_format.json_schema.schema")


def test_json_schema_without_a_schema_is_any_object(adapter: ClaudeAdapter) -> None:
    wire, call, _ = to_wire(adapter, schema_format(None))
    assert len(wire["system"]) == 1
    assert call.degraded == []


def test_p22_knobs_are_dropped_and_told(adapter: ClaudeAdapter) -> None:
    body = {"seed": 1, "logit_bias": {"5": 1}, "verbosity": "low", "user": "u-1"}
    wire, call, _ = to_wire(adapter, body)
    assert sorted(call.dropped) == ["logit_bias", "seed", "verbosity"]
    assert wire["metadata"] == {"user_id": "u-1"}


@pytest.mark.parametrize("user_id", ["ann@example.org", "Ann Lee", "+47 22 33 44 55", "x" * 257])
def test_a_personal_user_id_is_hashed(adapter: ClaudeAdapter, user_id: str) -> None:
    wire, _, _ = to_wire(adapter, {"user": user_id})
    again, _, _ = to_wire(adapter, {"user": user_id})
    assert len(wire["metadata"]["user_id"]) == 64
    assert wire == again


def test_safety_identifier_comes_before_user(adapter: ClaudeAdapter) -> None:
    wire, _, _ = to_wire(adapter, {"user": "u", "safety_identifier": "s"})
    assert wire["metadata"] == {"user_id": "s"}


PREFILLED = {"messages": [ASK, {"role": "assistant", "content": "The answer is "}]}


def test_p23_prefill_loses_its_trailing_space(adapter: ClaudeAdapter) -> None:
    wire, _, _ = to_wire(adapter, PREFILLED, Call(model=SONNET_4_5))
    assert assistant("The answer is") == wire["messages"][-1]


def test_p23_prefill_is_refused_here_where_the_model_refuses_it(adapter: ClaudeAdapter) -> None:
    error = refusal(adapter, PREFILLED, Call(model=OPUS_5))
    assert (error.status, error.code, error.param) == (400, "unsupported_value", "messages")


def marked(value: str, **mark: Any) -> JsonObject:
    return {"type": "text", "text": value, **mark}


EXPLICIT = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}}
HOUR = {"type": "ephemeral", "ttl": "1h"}
MINUTES = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("marks", "written"),
    [
        pytest.param([EXPLICIT], [HOUR], id="P25-one"),
        pytest.param([EXPLICIT] * 6, [None, None, *[HOUR] * 4], id="P25-six"),
        pytest.param(
            [{"prompt_cache_breakpoint": {"mode": "explicit"}}], [HOUR], id="default-is-30-minutes"
        ),
        pytest.param(
            [{"cache_control": HOUR}, {"cache_control": MINUTES}, {"cache_control": HOUR}],
            [HOUR, MINUTES, MINUTES],
            id="none-outlives-an-earlier-one",
        ),
        pytest.param([{"cache_control": "yes"}, {"cache_control": {}}], [None, None], id="noise"),
    ],
)
def test_breakpoints(
    adapter: ClaudeAdapter, marks: list[JsonObject], written: list[JsonObject | None]
) -> None:
    parts = [marked(f"t{index}", **mark) for index, mark in enumerate(marks)]
    wire, _, _ = to_wire(adapter, {"messages": [{"role": "user", "content": parts}]})
    content = wire["messages"][0]["content"]
    assert written == [block.get("cache_control") for block in content]


def test_breakpoints_count_over_tools_system_and_messages(adapter: ClaudeAdapter) -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    body = {
        "tools": [{**tool(), **mark}],
        "messages": [
            {**SYSTEM, **mark},
            {"role": "user", "content": [{**image(IMAGE), **mark}]},
            CALLED,
            {"role": "tool", "tool_call_id": "c1", "content": [marked("r", **mark)]},
            {"role": "user", "content": "y", **mark},
        ],
    }
    wire, _, _ = to_wire(adapter, body)
    assert "cache_control" not in wire["tools"][0]
    assert wire["system"][0]["cache_control"] == MINUTES
    assert orjson.dumps(wire).count(b"cache_control") == 4


@pytest.mark.parametrize(
    ("model", "body", "sent", "dropped"),
    [
        (SONNET_4_6, {"temperature": 1.5}, {"temperature": 1.0}, []),
        (SONNET_4_6, {"top_p": 0.5}, {"top_p": 0.5}, []),
        (SONNET_4_5, {"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2}, ["top_p"]),
        (SONNET_4_6, {"temperature": 0, "reasoning_effort": "low"}, {}, ["temperature"]),
        (OPUS_5_5, {"temperature": 1, "top_p": 1}, {}, ["temperature", "top_p"]),
    ],
)
def test_sampling(
    adapter: ClaudeAdapter, model: str, body: JsonObject, sent: JsonObject, dropped: list[str]
) -> None:
    wire, call, version = to_wire(adapter, body, Call(model=model))
    assert sent == {key: wire[key] for key in ("temperature", "top_p") if key in wire}
    assert dropped == call.dropped
    assert ("2023-06-01" if sent else "2026-10-21") == version


@pytest.mark.parametrize(
    ("stop", "sent"),
    [("END", ["END"]), (["a", "\n", ""], ["a"]), (" ", None), ([], None)],
)
def test_blank_stop_sequences_stay_here(
    adapter: ClaudeAdapter, stop: Any, sent: list[str] | None
) -> None:
    wire, call, _ = to_wire(adapter, {"stop": stop})
    assert (sent, []) == (wire.get("stop_sequences"), call.dropped)


@pytest.mark.parametrize(
    ("tier", "sent", "dropped"),
    [
        ("auto", None, []),
        ("default", "standard_only", []),
        ("flex", "standard_only", []),
        ("priority", "auto", []),
        ("scale", "auto", []),
        ("fast", None, ["service_tier"]),
    ],
)
def test_service_tier(
    adapter: ClaudeAdapter, tier: str, sent: str | None, dropped: list[str]
) -> None:
    wire, call, _ = to_wire(adapter, {"service_tier": tier})
    assert (sent, dropped) == (wire.get("service_tier"), call.dropped)


def test_what_cannot_be_serialised_is_the_callers_mistake(adapter: ClaudeAdapter) -> None:
    deep: JsonObject = {}
    for _ in range(300):
        deep = {"a": deep}
    assert refusal(adapter, {"tools": [tool(parameters=deep)]}).status == 400
    assert refusal(adapter, {"messages": [{"role": "user", "content": "\ud800"}]}).status == 400


def test_the_credential_is_sent_as_anthropic_prefers_it(adapter: ClaudeAdapter) -> None:
    request = ChatCompletionRequest.from_wire({"messages": HI})
    wire = adapter.to_wire(request, Call(model=OPUS_5_5))
    assert (wire.method, wire.url) == ("POST", "https://api.anthropic.com/v1/messages")
    assert wire.headers["x-api-key"] == "sk-ant-test"
