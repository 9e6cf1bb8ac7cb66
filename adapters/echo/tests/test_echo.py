"""The echo says what was said, counts it exactly, and keeps every rule of the contract."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    ConfigurationError,
    Event,
    Finish,
    HTTPTransport,
    ModelInfo,
    ModelNotFound,
    Start,
    TextDelta,
    Timeouts,
    ToolCallDelta,
    UnsupportedParameter,
    UpstreamSettings,
    UpstreamUnreachable,
    Usage,
    UsageReport,
    WireReply,
    WireRequest,
)
from one_api_echo import EchoAdapter


class NoNetwork(HTTPTransport):
    """A transport for what must not need one."""

    @override
    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        raise UpstreamUnreachable("there is no network here")


def make_echo(**environment: str) -> EchoAdapter:
    context = AdapterContext(http=NoNetwork(), logger=logging.getLogger("echo"))
    adapter = EchoAdapter.build("echo", environment, context)["echo"]
    assert isinstance(adapter, EchoAdapter)
    return adapter


ECHO = make_echo()
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("get_weather", "get_time")]


async def answer(text: object, **fields: Any) -> list[Event]:
    """The events for one user message and more `fields`."""
    return await answer_to([{"role": "user", "content": text}], **fields)


async def answer_to(messages: list[dict[str, Any]], **fields: Any) -> list[Event]:
    request = ChatCompletionRequest.from_wire({"model": "echo", "messages": messages, **fields})
    return [event async for event in ECHO.generate_completion(request, Call(model="echo"))]


def words(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


def usage(prompt: int, completion: int) -> UsageReport:
    return UsageReport(Usage(prompt_tokens=prompt, completion_tokens=completion))


async def test_a_reply_is_start_words_finish_usage() -> None:
    assert [
        Start(),
        TextDelta("Good"),
        TextDelta(" morning,"),
        TextDelta(" gateway"),
        Finish("stop"),
        usage(3, 3),
    ] == await answer("Good morning, gateway")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("a", ["a"]),
        (" a  b ", [" a", "  b "]),
        ("a\n\nb\tc", ["a", "\n\nb", "\tc"]),
        ("   ", ["   "]),
        ("早上好 世界", ["早上好", " 世界"]),
        ("e\u0301 \U0001f469\u200d\U0001f680", ["e\u0301", " \U0001f469\u200d\U0001f680"]),
    ],
    ids=["empty", "one", "spaces", "lines", "blank", "Chinese", "joined"],
)
async def test_a_word_comes_with_the_white_space_before_it(text: str, wanted: list[str]) -> None:
    assert wanted == words(await answer(text))


@given(st.text())
async def test_nothing_is_lost_and_every_word_is_counted(text: str) -> None:
    events = await answer(text)
    said = words(events)
    assert text == "".join(said)
    assert "" not in said
    assert usage(len(said), len(said)) == events[-1]


async def test_the_users_last_message_is_answered_and_all_are_counted() -> None:
    events = await answer_to(
        [
            {"role": "system", "content": "Be very brief"},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": "two three"},
            {"role": "assistant", "content": "and"},
        ]
    )
    assert ["two", " three"] == words(events)
    assert usage(3 + 1 + 1 + 2 + 1, 2) == events[-1]


async def test_of_parts_the_texts_are_answered() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://host.example/a.png"}}
    parts = [{"type": "text", "text": "one "}, image, {"type": "text", "text": "two"}]
    assert ["one", " two"] == words(await answer(parts))


async def test_without_a_user_message_nothing_is_said() -> None:
    events = await answer_to([{"role": "system", "content": "Be brief"}])
    assert [Start(), Finish("stop"), usage(2, 0)] == events


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("limit", "told", "reason"),
    [(1, 1, "length"), (2, 2, "length"), (3, 3, "stop"), (9, 3, "stop")],
)
async def test_the_completion_limit_cuts_and_says_so(
    field: str, limit: int, told: int, reason: Any
) -> None:
    events = await answer("one two three", **{field: limit})
    assert ["one", " two", " three"][:told] == words(events)
    assert [Finish(reason), usage(3, told)] == events[-2:]


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("what does get_time say?", None, "get_time"),
        ("what does get_time say?", "auto", "get_time"),
        ("what does get_time say?", "none", None),
        ("hello", None, None),
        ("hello", "required", "get_weather"),
        ("hello", {"type": "function", "function": {"name": "get_time"}}, "get_time"),
    ],
)
async def test_a_tool_is_called_when_it_must_be_or_is_named(
    text: str, choice: object, called: str | None
) -> None:
    fields = {} if choice is None else {"tool_choice": choice}
    events = await answer(text, tools=TOOLS, **fields)
    calls = [event for event in events if isinstance(event, ToolCallDelta)]
    if called is None:
        assert [] == calls
        assert text == "".join(words(events))
        return
    assert [ToolCallDelta(0, "call_echo", called, "{}")] == calls
    assert [] == words(events)
    assert Finish("tool_calls") == events[-2]


async def test_a_tools_result_is_not_answered_with_another_call() -> None:
    call = {
        "id": "call_echo",
        "type": "function",
        "function": {"name": "get_time", "arguments": ""},
    }
    events = await answer_to(
        [
            {"role": "user", "content": "what does get_time say?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_echo", "content": "12:00"},
        ],
        tools=TOOLS,
    )
    assert [] == [event for event in events if isinstance(event, ToolCallDelta)]


async def test_only_echo_is_served() -> None:
    assert [ModelInfo(id="echo", owned_by="one_api", display_name="Echo")] == list(
        await ECHO.list_models()
    )
    request = ChatCompletionRequest.from_wire(
        {"model": "x", "messages": [{"role": "user", "content": "Hi"}]}
    )
    with pytest.raises(ModelNotFound):
        await anext(aiter(ECHO.generate_completion(request, Call(model="gpt"))))


@pytest.mark.parametrize(
    ("fields", "dropped"),
    [
        ({"max_tokens": 1, "tools": TOOLS, "tool_choice": "auto"}, ()),
        ({"temperature": 0.5, "seed": 1}, ("seed", "temperature")),
        ({"top_k": 5}, ("top_k",)),
    ],
    ids=["honoured", "quality", "unknown"],
)
def test_what_has_no_effect_is_told(fields: dict[str, Any], dropped: tuple[str, ...]) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], **fields}
    request = ChatCompletionRequest.from_wire(body)
    assert dropped == ECHO.parameters("echo").settle(request, strict=False)


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}])
def test_what_would_change_the_reply_is_refused(fields: dict[str, Any]) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}], **fields}
    request = ChatCompletionRequest.from_wire(body)
    with pytest.raises(UnsupportedParameter) as caught:
        ECHO.parameters("echo").settle(request, strict=False)
    assert next(iter(fields)) == caught.value.param


@pytest.mark.parametrize("value", ["slow", "-1", "nan", "1e9"])
def test_a_wrong_delay_is_named(value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_echo(ECHO_DELAY_MS=value)
    assert "ECHO_DELAY_MS" == caught.value.variable


def test_a_delay_is_read_in_milliseconds() -> None:
    assert 1.5 == make_echo(ECHO_DELAY_MS="1.5").settings.delay_ms
    assert 0 == make_echo(ECHO_DELAY_MS="").settings.delay_ms


def upstream_echo(**options: str) -> EchoAdapter:
    upstream = UpstreamSettings(provider="echo", options=options)
    adapter = EchoAdapter.build_upstream("eu", upstream, ECHO.context)
    assert isinstance(adapter, EchoAdapter)
    return adapter


def test_upstream_is_set_up_by_options() -> None:
    assert 2.5 == upstream_echo(delay_ms="2.5").settings.delay_ms
    assert not upstream_echo().continues("echo")


@pytest.mark.parametrize("options", [{"delay_ms": "-1"}, {"other": "1"}], ids=str)
def test_wrong_option_of_an_upstream_is_named(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        upstream_echo(**options)
    assert f"options.{next(iter(options))}" == caught.value.variable
