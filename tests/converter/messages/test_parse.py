"""Requests of Anthropic's clients as chat requests, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from one_api.converter.messages import Translation, chat_request
from one_api.errors import InvalidRequest, UnsupportedParameter
from one_api.schemas import JsonObject
from one_api.schemas.anthropic import MessagesRequest, PromptRequest

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
PNG: JsonObject = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
IMAGE = {"type": "image", "source": PNG}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
LONG_ID = "toolu_" + "x" * 60


def text(value: str, **more: Any) -> JsonObject:
    return {"type": "text", "text": value, **more}


def use(call_id: str, name: str = "f", **arguments: Any) -> JsonObject:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id: str, content: Any = None, **more: Any) -> JsonObject:
    told = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": call_id, **told, **more}


def call(call_id: str, arguments: str = "{}", name: str = "f") -> JsonObject:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def translated(honoured: tuple[str, ...] = (), **fields: Any) -> Translation:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **fields}
    return chat_request(MessagesRequest.from_wire(body), honoured=honoured)


def sent(**fields: Any) -> JsonObject:
    """The body of the chat request."""
    return translated(**fields).request.to_wire()


def messages(*given: Any, honoured: tuple[str, ...] = (), **fields: Any) -> list[Any]:
    """The messages of the chat request for `given`."""
    told: list[Any] = translated(honoured, messages=list(given), **fields).request.to_wire()[
        "messages"
    ]
    return told


# -- instructions


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        pytest.param("be brief", "be brief", id="P35 string"),
        pytest.param([text("a"), text("b")], "a\n\nb", id="P35 blocks"),
        pytest.param([text("a", cache_control={"type": "ephemeral"})], "a", id="cache control"),
        pytest.param([text("x-anthropic-billing-header: v=1"), text("b")], "b", id="attribution"),
    ],
)
def test_system_is_one_message(system: Any, expected: str) -> None:
    assert [{"role": "system", "content": expected}, USER] == messages(USER, system=system)


@pytest.mark.parametrize("system", ["", [], None, [text("x-anthropic-billing-header: v=1")]])
def test_no_system_is_no_message(system: Any) -> None:
    assert [USER] == messages(USER, system=system)


def test_instructions_inside_the_conversation_stay_where_they_are() -> None:
    told = messages(
        USER,
        {"role": "system", "content": [text("be brief"), {"type": "unknown"}, text("please")]},
        {"role": "assistant", "content": "ok"},
        {"role": "system", "content": "go on"},
    )
    assert [
        USER,
        {"role": "system", "content": "be brief\n\nplease"},
        {"role": "assistant", "content": "ok"},
        {"role": "system", "content": "go on"},
    ] == told


# -- what users and tools say


@pytest.mark.parametrize(
    ("blocks", "content"),
    [
        pytest.param([text("q")], "q", id="P35 single text"),
        pytest.param([text("a"), text("b")], [text("a"), text("b")], id="texts"),
        pytest.param([text("a"), IMAGE], [text("a"), IMAGE_PART], id="image"),
        pytest.param([IMAGE], [IMAGE_PART], id="image only"),
        pytest.param(
            [{"type": "image", "source": {"type": "url", "url": "https://h/i.png"}}],
            [{"type": "image_url", "image_url": {"url": "https://h/i.png"}}],
            id="image by URL",
        ),
        pytest.param(
            [{"type": "document", "source": PDF, "title": "a.pdf"}],
            [
                {
                    "type": "file",
                    "file": {
                        "filename": "a.pdf",
                        "file_data": "data:application/pdf;base64,JVBE",
                    },
                }
            ],
            id="PDF",
        ),
        pytest.param(
            [
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "body"},
                    "title": "T",
                    "context": "C",
                }
            ],
            "T\nC\nbody",
            id="text document",
        ),
        pytest.param(
            [
                {
                    "type": "document",
                    "source": {"type": "content", "content": [text("a"), IMAGE]},
                    "title": "T",
                }
            ],
            [text("T"), text("a"), IMAGE_PART],
            id="document of blocks",
        ),
        pytest.param(
            [{"type": "search_result", "source": "s", "title": "T", "content": [text("found")]}],
            "T\ns\nfound",
            id="search result",
        ),
    ],
)
def test_user_blocks_become_parts(blocks: list[Any], content: Any) -> None:
    said = {"role": "user", "content": blocks}
    assert [{"role": "user", "content": content}] == messages(said)


def test_p37_results_come_first_and_in_the_clients_order() -> None:
    told = messages(
        USER,
        {"role": "assistant", "content": [text("let me see"), use("a", city="Paris"), use("b")]},
        {"role": "user", "content": [result("b", "two"), result("a", "one"), text("q")]},
    )
    assert [
        USER,
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [call("a", '{"city":"Paris"}'), call("b")],
        },
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "user", "content": "q"},
    ] == told


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param(result("a"), "", id="nothing"),
        pytest.param(result("a", "done"), "done", id="string"),
        pytest.param(result("a", [text("x"), text("y")]), "x\ny", id="texts"),
        pytest.param(result("a", "boom", is_error=True), "Error: boom", id="error"),
        pytest.param(result("a", is_error=True), "Error: (no output)", id="silent error"),
        pytest.param(result("a", [], is_error=True), "Error: (no output)", id="empty error"),
        pytest.param(
            result("a", [text("x"), {"type": "tool_reference", "tool_name": "g"}]),
            "x",
            id="tool reference",
        ),
    ],
)
def test_a_result_is_text(block: JsonObject, expected: str) -> None:
    told = messages({"role": "user", "content": [block]})
    assert [{"role": "tool", "tool_call_id": "a", "content": expected}] == told


def test_images_of_results_follow_after_all_results() -> None:
    told = messages(
        {
            "role": "user",
            "content": [
                result("a", [text("see"), IMAGE]),
                result("b", [{"type": "document", "source": PDF}]),
                text("what is it?"),
            ],
        }
    )
    file_part = {
        "type": "file",
        "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"},
    }
    assert [
        {"role": "tool", "tool_call_id": "a", "content": "see\n[image attached below]"},
        {"role": "tool", "tool_call_id": "b", "content": "[file attached below]"},
        {"role": "user", "content": [IMAGE_PART, file_part, text("what is it?")]},
    ] == told


@pytest.mark.parametrize(
    ("content", "param"),
    [
        pytest.param(
            [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
            "messages[0].content[0].source",
            id="image kept by Anthropic",
        ),
        pytest.param(
            [result("a", [{"type": "document", "source": {"type": "file", "file_id": "f"}}])],
            "messages[0].content[0].content[0].source",
            id="document kept by Anthropic",
        ),
        pytest.param(
            [{"type": "document", "source": {"type": "url", "url": "https://h/a.pdf"}}],
            "messages[0].content[0].source",
            id="document by URL",
        ),
    ],
)
def test_what_only_anthropic_can_fetch_is_refused(content: list[Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        messages({"role": "user", "content": content})
    assert param == caught.value.param
    assert param in caught.value.message


# -- what the model said


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("ok", {"content": "ok"}, id="string"),
        pytest.param([text("a"), text("b")], {"content": "ab"}, id="texts"),
        pytest.param([use("a")], {"content": None, "tool_calls": [call("a")]}, id="calls only"),
        pytest.param([], {"content": ""}, id="nothing"),
        pytest.param(
            [{"type": "thinking", "thinking": "hm", "signature": "s"}, text("a")],
            {"content": "a"},
            id="thinking",
        ),
        pytest.param(
            [
                {"type": "redacted_thinking", "data": "x"},
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                text("a"),
            ],
            {"content": "a"},
            id="Anthropic's own",
        ),
    ],
)
def test_assistant_blocks_become_one_message(content: Any, expected: JsonObject) -> None:
    told = messages(USER, {"role": "assistant", "content": content})
    assert [USER, {"role": "assistant", **expected}] == told


@pytest.mark.parametrize(
    ("content", "reasoning"),
    [
        ([{"type": "thinking", "thinking": "a"}, {"type": "thinking", "thinking": "b"}], "a\n\nb"),
        ([use("a")], ""),
    ],
    ids=["thinking", "none"],
)
def test_thinking_goes_to_models_that_want_it_back(content: list[Any], reasoning: str) -> None:
    told = messages(
        USER, {"role": "assistant", "content": content}, honoured=("reasoning_content",)
    )
    assert reasoning == told[1]["reasoning_content"]


# -- ids and names


def test_long_ids_and_names_are_shortened_alike_everywhere() -> None:
    name = "mcp__server__" + "tool" * 20
    translation = translated(
        messages=[
            USER,
            {"role": "assistant", "content": [use(LONG_ID, name)]},
            {"role": "user", "content": [result(LONG_ID, "r")]},
        ],
        tools=[{**TOOL, "name": name}],
        tool_choice={"type": "tool", "name": name},
    )
    body = translation.request.to_wire()
    (called,) = body["messages"][1]["tool_calls"]
    short = called["function"]["name"]
    assert called["id"] == body["messages"][2]["tool_call_id"]
    assert len(called["id"]) <= 40
    assert short == body["tools"][0]["function"]["name"]
    assert short == body["tool_choice"]["function"]["name"]
    assert len(short) <= 64
    assert {short: name} == translation.names


def test_names_that_fit_are_left_alone() -> None:
    assert {} == translated(tools=[TOOL]).names


# -- fields


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"max_tokens": 5}, {"max_completion_tokens": 5}, id="max_tokens"),
        pytest.param({"stop_sequences": ["X"]}, {"stop": ["X"]}, id="P36 one stop"),
        pytest.param({"stop_sequences": []}, {}, id="no stops"),
        pytest.param({"stop_sequences": [""]}, {}, id="empty stop"),
        pytest.param(
            {"stop_sequences": ["", *"12345"]}, {"stop": [*"12345"]}, id="more than OpenAI's 4"
        ),
        pytest.param({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1.0}, id="t"),
        pytest.param({"stream": True}, {"stream": True}, id="stream"),
        pytest.param({"stream": False}, {}, id="no stream"),
        pytest.param({"metadata": {"user_id": "u"}}, {"safety_identifier": "u"}, id="user"),
        pytest.param({"metadata": {"user_id": None}, "temperature": None}, {}, id="nulls"),
        pytest.param(
            {"tools": [{**TOOL, "description": "d", "strict": True, "cache_control": {}}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "f",
                            "description": "d",
                            "parameters": TOOL["input_schema"],
                            "strict": True,
                        },
                    }
                ]
            },
            id="tool",
        ),
        pytest.param(
            {
                "tools": [TOOL],
                "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            },
            {"tools": [CHAT_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
            id="P36 any",
        ),
        pytest.param(
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
            {
                "tools": [CHAT_TOOL],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
            id="named tool",
        ),
        pytest.param(
            {"tools": [TOOL], "tool_choice": {"type": "none"}},
            {"tools": [CHAT_TOOL], "tool_choice": "none"},
            id="no tool",
        ),
        pytest.param(
            {"tools": [TOOL], "tool_choice": {"type": "auto"}},
            {"tools": [CHAT_TOOL], "tool_choice": "auto"},
            id="auto",
        ),
        pytest.param({"tool_choice": {"type": "auto"}}, {}, id="choice of nothing"),
        pytest.param(
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "schema": {"type": "object"}},
                }
            },
            id="format",
        ),
        pytest.param(
            {"context_management": {"edits": []}, "container": "c", "betas": ["b"], "x": 1},
            {},
            id="unknown",
        ),
    ],
)
def test_field(given: JsonObject, expected: JsonObject) -> None:
    plain = sent()
    body = sent(**given)
    assert {**plain, **expected} == body


@pytest.mark.parametrize(
    ("given", "effort"),
    [
        pytest.param({"thinking": {"type": "disabled"}}, "none", id="disabled"),
        pytest.param({"thinking": {"type": "between_tools"}}, "none", id="between tools"),
        pytest.param({"thinking": {"type": "adaptive"}}, None, id="adaptive"),
        pytest.param({"output_config": {"effort": "xhigh"}}, "xhigh", id="effort alone"),
        pytest.param(
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max", id="both"
        ),
        pytest.param(
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
            "none",
            id="disabled wins",
        ),
        *[
            pytest.param(
                {"thinking": {"type": "enabled", "budget_tokens": budget}}, effort, id=str(budget)
            )
            for budget, effort in [
                (1_024, "low"),
                (2_047, "low"),
                (2_048, "medium"),
                (8_191, "medium"),
                (8_192, "high"),
                (24_575, "high"),
                (24_576, "xhigh"),
            ]
        ],
        pytest.param({}, None, id="nothing"),
    ],
)
def test_thinking_is_asked_for_as_effort(given: JsonObject, effort: str | None) -> None:
    assert effort == sent(**given).get("reasoning_effort")


def test_a_long_user_id_is_hashed() -> None:
    """Claude Code sends a JSON text there."""
    given = '{"device_id":"' + "d" * 100 + '"}'
    told = sent(metadata={"user_id": given})["safety_identifier"]
    assert 64 == len(told)
    assert told == sent(metadata={"user_id": given})["safety_identifier"]


@pytest.mark.parametrize(
    ("given", "honoured", "dropped"),
    [
        ({"top_k": 5}, (), ("top_k",)),
        ({"top_k": 5}, ("top_k",), ()),
        (
            {"tools": [TOOL, {"type": "web_search_20260209", "name": "web_search"}]},
            (),
            ("tools[1]",),
        ),
        ({"tools": [TOOL]}, (), ()),
    ],
    ids=["top_k", "honoured", "server tool", "nothing"],
)
def test_what_has_no_effect_is_listed(
    given: JsonObject, honoured: tuple[str, ...], dropped: tuple[str, ...]
) -> None:
    translation = translated(honoured, **given)
    assert dropped == translation.dropped
    assert ("top_k" in honoured) == ("top_k" in translation.request.to_wire())


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (
            {
                "tools": [{"type": "web_search_20260209", "name": "web_search"}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "tool_choice.name",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ],
    ids=["server tool", "unknown tool", "no tool"],
)
def test_a_call_that_cannot_be_made_is_not_demanded(given: JsonObject, param: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        translated(**given)
    assert param == caught.value.param


def test_a_prompt_to_be_counted_needs_no_bound() -> None:
    prompt = PromptRequest.from_wire({"model": "m", "messages": [USER], "system": "s"})
    body = chat_request(prompt).request.to_wire()
    assert [{"role": "system", "content": "s"}, USER] == body["messages"]
    assert "max_completion_tokens" not in body


def test_input_nested_too_deeply_is_the_callers_mistake() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest) as caught:
        messages(USER, {"role": "assistant", "content": [use("a", deep=deep)]})
    assert "messages[1].content[0].input" == caught.value.param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        pytest.param({"max_tokens": None}, "max_tokens", id="no bound"),
        pytest.param({"max_tokens": -1}, "max_tokens", id="negative bound"),
        pytest.param({"max_tokens": True}, "max_tokens", id="bound is no number"),
        pytest.param({"messages": []}, "messages", id="no messages"),
        pytest.param({"messages": [{"role": "robot"}]}, "messages[0]", id="role"),
        pytest.param(
            {"messages": [{"role": "user"}]}, "messages[0].content", id="message without content"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": []}]}, "messages[0].content", id="empty"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            id="text without text",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "messages[0].content[0]",
            id="unknown block",
        ),
        pytest.param(
            {"messages": [{"role": "assistant", "content": [{**use("a"), "input": "{}"}]}]},
            "messages[0].content[0].input",
            id="input is no object",
        ),
        pytest.param({"system": [{"type": "image"}]}, "system[0].type", id="system"),
        pytest.param({"tools": [{"name": "f"}]}, "tools[0].input_schema", id="tool"),
        pytest.param({"tool_choice": "auto"}, "tool_choice", id="choice"),
        pytest.param({"tool_choice": {"type": "tool"}}, "tool_choice.name", id="choice's name"),
        pytest.param({"stop_sequences": "X"}, "stop_sequences", id="stop"),
        pytest.param({"stop_sequences": ["x"] * 65}, "stop_sequences", id="stops"),
        pytest.param({"temperature": 1.5}, "temperature", id="temperature"),
        pytest.param({"thinking": {"type": "maybe"}}, "thinking.type", id="thinking"),
        pytest.param({"output_config": {"effort": "some"}}, "output_config.effort", id="effort"),
        pytest.param({"stream": "yes"}, "stream", id="stream"),
        pytest.param({"model": ""}, "model", id="model"),
    ],
)
def test_a_wrong_field_is_named(fields: JsonObject, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(**fields)
    assert param == caught.value.param
    assert param in caught.value.message
