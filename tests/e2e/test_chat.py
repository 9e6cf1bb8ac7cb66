"""Chat with the official SDK: the same words whoever serves the gateway and whoever answers."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.e2e.conftest import API_KEY
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    anthropic_stream,
    openai_completion,
)

HELLO_MESSAGES: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Good morning, gateway"},
]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {}, "additionalProperties": True},
        },
    }
    for name in ("get_weather", "get_time", "ping")
]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


def told_calls(answer: Answer) -> list[tuple[str, str, Any]]:
    """Id, name and decoded arguments of each call of `answer`."""
    return [
        (call.id, call.name, json.loads("".join(call.arguments) or "{}"))
        for call in answer.tool_calls
    ]


# -- echo


def test_echo_answers_with_the_users_words(any_client: openai.OpenAI) -> None:
    reply = any_client.chat.completions.create(model="echo", messages=HELLO_MESSAGES)
    assert "Good morning, gateway" == reply.choices[0].message.content
    assert "stop" == reply.choices[0].finish_reason
    assert reply.usage is not None
    assert (5, 3, 8) == (
        reply.usage.prompt_tokens,
        reply.usage.completion_tokens,
        reply.usage.total_tokens,
    )


def test_echo_keeps_to_stop_sequences(client: openai.OpenAI) -> None:
    """A provider that knows none: the gateway enforces them, and says nothing of dropping any."""
    raw = client.chat.completions.with_raw_response.create(
        model="echo", messages=HELLO_MESSAGES, stop=["x", "ing, g"]
    )
    assert "x-one-api-dropped-params" not in raw.headers
    (choice,) = raw.parse().choices
    assert ("Good morn", "stop") == (choice.message.content, choice.finish_reason)
    chunks = client.chat.completions.create(
        model="echo",
        messages=HELLO_MESSAGES,
        stop="ing, g",
        stream=True,
        stream_options={"include_usage": True},
    )
    told = list(chunks)
    assert "Good morn" == "".join(c.choices[0].delta.content or "" for c in told if c.choices)
    assert ["stop"] == [
        c.choices[0].finish_reason for c in told if c.choices and c.choices[0].finish_reason
    ]
    usage = told[-1].usage
    assert usage is not None
    assert usage.completion_tokens > 0


def test_echo_streams_word_by_word(any_client: openai.OpenAI) -> None:
    with any_client.chat.completions.create(
        model="echo", messages=HELLO_MESSAGES, stream=True
    ) as stream:
        chunks = list(stream)
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert ["Good", " morning,", " gateway"] == words
    assert ["assistant"] == [c.choices[0].delta.role for c in chunks if c.choices[0].delta.role]
    assert "stop" == chunks[-1].choices[0].finish_reason
    assert 1 == len({chunk.id for chunk in chunks})


async def test_async_client_streams_too(any_gateway: GatewayProcess) -> None:
    async with openai.AsyncOpenAI(
        base_url=any_gateway.base_url, api_key=API_KEY, max_retries=0
    ) as client:
        whole = await client.chat.completions.create(model="echo", messages=HELLO_MESSAGES)
        stream = await client.chat.completions.create(
            model="echo", messages=HELLO_MESSAGES, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert whole.choices[0].message.content == text


# -- scripted providers


def test_text_arrives_whole(any_client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.whole())
    reply = any_client.chat.completions.create(model=scene.model, messages=HELLO_MESSAGES)
    assert HELLO.text == reply.choices[0].message.content
    assert "stop" == reply.choices[0].finish_reason
    assert reply.usage is not None
    assert (11, 7) == (reply.usage.prompt_tokens, reply.usage.completion_tokens)


def test_text_arrives_streamed(any_client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.streamed())
    with any_client.chat.completions.create(
        model=scene.model, messages=HELLO_MESSAGES, stream=True
    ) as stream:
        chunks = list(stream)
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert list(HELLO.words) == words
    assert "stop" == chunks[-1].choices[0].finish_reason


def test_stream_helper_accumulates_the_reply(client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.streamed(PARALLEL_TOOL_CALLS))
    with client.chat.completions.stream(
        model=scene.model,
        messages=HELLO_MESSAGES,
        tools=TOOLS,
        stream_options={"include_usage": True},
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        reply = stream.get_final_completion()
    message = reply.choices[0].message
    assert PARALLEL_TOOL_CALLS.text == "".join(deltas)
    assert PARALLEL_TOOL_CALLS.text == message.content
    assert told_calls(PARALLEL_TOOL_CALLS) == [
        (call.id, call.function.name, json.loads(call.function.arguments))
        for call in message.tool_calls or ()
        if call.type == "function"
    ]
    assert reply.usage is not None
    assert 18 == reply.usage.total_tokens


CALLING = pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ONE_TOOL_CALL, id="one"),
        pytest.param(PARALLEL_TOOL_CALLS, id="parallel"),
        pytest.param(TOOL_CALL_WITHOUT_ARGUMENTS, id="without arguments"),
    ],
)


@CALLING
def test_tool_calls_arrive_whole(client: openai.OpenAI, scene: Scene, answer: Answer) -> None:
    scene.script(scene.whole(answer))
    reply = client.chat.completions.create(model=scene.model, messages=HELLO_MESSAGES, tools=TOOLS)
    assert "tool_calls" == reply.choices[0].finish_reason
    assert told_calls(answer) == [
        (call.id, call.function.name, json.loads(call.function.arguments))
        for call in reply.choices[0].message.tool_calls or ()
        if call.type == "function"
    ]


@CALLING
def test_tool_calls_arrive_streamed(client: openai.OpenAI, scene: Scene, answer: Answer) -> None:
    """Ids and names come once, arguments in pieces that make JSON."""
    scene.script(scene.streamed(answer))
    with client.chat.completions.create(
        model=scene.model, messages=HELLO_MESSAGES, tools=TOOLS, stream=True
    ) as stream:
        chunks = list(stream)
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or ():
            id_, name, arguments = calls.setdefault(delta.index, ["", "", ""])
            function = delta.function
            calls[delta.index] = [
                id_ + (delta.id or ""),
                name + ((function and function.name) or ""),
                arguments + ((function and function.arguments) or ""),
            ]
    assert told_calls(answer) == [
        (id_, name, json.loads(arguments)) for id_, name, arguments in calls.values()
    ]
    assert "tool_calls" == chunks[-1].choices[0].finish_reason


def test_a_conversation_with_tool_results_reaches_the_provider(
    client: openai.OpenAI, scene: Scene
) -> None:
    scene.script(scene.whole())
    call = {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    client.chat.completions.create(
        model=scene.model,
        tools=TOOLS,
        messages=[
            {"role": "user", "content": "The weather in Paris?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": call}],  # type: ignore[typeddict-item] # mypy widens `call`
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
        ],
    )
    told = json.dumps(scene.request.json["messages"])
    for word in ("Paris", "call_1", "get_weather", "21 degrees"):
        assert word in told


def test_images_reach_the_provider(client: openai.OpenAI, scene: Scene) -> None:
    scene.script(scene.whole())
    client.chat.completions.create(
        model=scene.model,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                ],
            }
        ],
    )
    (message,) = scene.request.json["messages"]
    image = message["content"][1]
    if scene.is_openai:
        assert {"type": "image_url", "image_url": {"url": PIXEL}} == image
    else:
        source = image["source"]
        assert ("base64", "image/png") == (source["type"], source["media_type"])
        assert PIXEL.partition("base64,")[2] == source["data"]


def test_the_system_prompt_reaches_claude_as_such(
    client: openai.OpenAI, claude_scene: Scene
) -> None:
    claude_scene.script(anthropic_stream())
    client.chat.completions.create(model=claude_scene.model, messages=HELLO_MESSAGES)
    body = claude_scene.request.json
    assert "Be brief." in json.dumps(body["system"])
    assert ["user"] == [message["role"] for message in body["messages"]]
    assert body["max_tokens"] > 0


# -- usage


def test_usage_chunk_comes_last_and_only_when_asked_for(
    any_client: openai.OpenAI, scene: Scene
) -> None:
    scene.script(scene.streamed(), scene.streamed())
    with any_client.chat.completions.create(
        model=scene.model, messages=HELLO_MESSAGES, stream=True
    ) as stream:
        unasked = list(stream)
    with any_client.chat.completions.create(
        model=scene.model,
        messages=HELLO_MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        asked = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in unasked)
    assert all(chunk.usage is None for chunk in asked[:-1])
    usage = asked[-1].usage
    assert [] == asked[-1].choices
    assert usage is not None
    assert (11, 7, 18) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)


# -- headers


def test_raw_response_headers_tell_what_happened(
    any_client: openai.OpenAI, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion())
    raw = any_client.chat.completions.with_raw_response.create(
        model=openai_scene.model,
        messages=HELLO_MESSAGES,
        extra_headers={"x-request-id": "req-given.by:client_1"},
    )
    assert "req-given.by:client_1" == raw.headers["x-request-id"]
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert openai_scene.name == raw.headers["x-one-api-model"]
    assert f"openai/{openai_scene.name}" == raw.headers["x-one-api-deployment"]
    assert "1" == raw.headers["x-one-api-attempts"]
    assert "application/json" == raw.headers["content-type"]


@pytest.mark.parametrize(
    "given", [None, "with space", "x" * 65], ids=["none", "ill-formed", "long"]
)
def test_a_request_id_is_made_where_none_is_usable(
    gateway: GatewayProcess, given: str | None
) -> None:
    headers = {} if given is None else {"x-request-id": given}
    body = {"model": "echo", "messages": HELLO_MESSAGES}
    ids = [
        exchange(
            f"{gateway.base_url}/chat/completions", body, headers=headers, key=API_KEY
        ).headers["x-request-id"]
        for _ in range(2)
    ]
    assert 2 == len(set(ids))
    assert all(id_.startswith("req_") for id_ in ids)


def test_dropped_parameters_are_told(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="echo", messages=HELLO_MESSAGES, temperature=0.5, seed=7
    )
    assert "seed,temperature" == raw.headers["x-one-api-dropped-params"]


# -- streams as HTTP


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/event-stream"])
def test_stream_in_the_body_wins_over_the_accept_header(
    any_gateway: GatewayProcess, accept: str
) -> None:
    """SDKs send `Accept: application/json` even when they ask for a stream."""
    answer = exchange(
        f"{any_gateway.base_url}/chat/completions",
        {"model": "echo", "messages": HELLO_MESSAGES, "stream": True},
        headers={"Accept": accept},
        key=API_KEY,
    )
    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert "no-cache" == answer.headers["cache-control"]
    assert "no" == answer.headers["x-accel-buffering"]
    assert "content-length" not in answer.headers
    assert "[DONE]" == answer.events[-1]
    assert answer.body.endswith(b"data: [DONE]\n\n")
