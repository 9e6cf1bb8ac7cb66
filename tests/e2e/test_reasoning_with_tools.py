"""Chats that reason with tools, of models that do so in responses only: the official SDK's view."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageFunctionToolCall

from tests.e2e.conftest import API_KEY, OPENAI_CREDENTIAL
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    Answer,
    Close,
    Reply,
    openai_error,
    sse_frame,
    sse_reply,
)

RESPONSES_PATH = "/v1/responses"
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_weather", "get_time")
]
ADVICE = (
    "Function tools with reasoning_effort are not supported for this model in "
    "/v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to "
    "'none'."
)
REFUSAL = openai_error(400, ADVICE)


def response_frames(answer: Answer) -> list[bytes]:
    """`answer` as the events of a streamed response."""
    response = {"id": "resp_scripted", "object": "response", "output": [], "model": answer.model}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": response}]
    for word in answer.words:
        at = {"item_id": "msg_0", "output_index": 0, "content_index": 0}
        events.append({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []})
    for index, call in enumerate(answer.tool_calls, start=1):
        place = {"output_index": index}
        item = {"id": f"fc_{index}", "type": "function_call", "status": "in_progress"}
        begun = {**item, "call_id": call.id, "name": call.name, "arguments": ""}
        events.append({"type": "response.output_item.added", **place, "item": begun})
        events += [
            {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            for piece in call.arguments
        ]
    assert answer.usage is not None
    usage = {
        "input_tokens": answer.usage.prompt,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": answer.usage.completion,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": answer.usage.prompt + answer.usage.completion,
    }
    ended = {**response, "status": "completed", "usage": usage}
    events.append({"type": "response.completed", "response": ended})
    return [
        sse_frame({**event, "sequence_number": number}, event=event["type"])
        for number, event in enumerate(events)
    ]


def responded(answer: Answer) -> Reply:
    """The reply to a request for a response."""
    return sse_reply(response_frames(answer))


def asked(
    client: openai.OpenAI, scene: Scene, *, is_streamed: bool, **fields: Any
) -> ChatCompletion:
    """The answer to a chat with tools."""
    given: dict[str, Any] = {
        "model": scene.model,
        "messages": [{"role": "user", "content": "Weather?"}],
        "tools": TOOLS,
        "reasoning_effort": "low",
        **fields,
    }
    if not is_streamed:
        completion: ChatCompletion = client.chat.completions.create(**given)
        return completion
    given["stream_options"] = {"include_usage": True}
    with client.chat.completions.stream(**given) as stream:
        return stream.get_final_completion()


def calls_of(completion: ChatCompletion) -> list[tuple[str, str, Any]]:
    calls = completion.choices[0].message.tool_calls or ()
    return [
        (call.id, call.function.name, json.loads(call.function.arguments))
        for call in calls
        if isinstance(call, ChatCompletionMessageFunctionToolCall)
    ]


def told_calls(answer: Answer) -> list[tuple[str, str, Any]]:
    return [(call.id, call.name, json.loads("".join(call.arguments))) for call in answer.tool_calls]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_refused_chat_is_answered_by_a_response_and_the_next_one_at_once(
    any_client: openai.OpenAI, openai_scene: Scene, is_streamed: bool
) -> None:
    answers = (PARALLEL_TOOL_CALLS, ONE_TOOL_CALL)
    openai_scene.script(REFUSAL, *(responded(answer) for answer in answers))
    for answer in answers:
        completion = asked(any_client, openai_scene, is_streamed=is_streamed)
        choice = completion.choices[0]
        assert (told_calls(answer), "tool_calls") == (calls_of(completion), choice.finish_reason)
        assert answer.text == (choice.message.content or "")
        assert openai_scene.model == completion.model
        assert completion.usage is not None
        assert (11, 7) == (completion.usage.prompt_tokens, completion.usage.completion_tokens)
        details = completion.usage.completion_tokens_details
        assert details is not None
        assert 2 == details.reasoning_tokens
    paths = [request.path for request in openai_scene.requests]
    assert [CHAT_PATH, RESPONSES_PATH, RESPONSES_PATH] == paths


def test_the_provider_is_asked_in_its_own_terms(client: openai.OpenAI, openai_scene: Scene) -> None:
    openai_scene.script(REFUSAL, responded(ONE_TOOL_CALL), responded(HELLO))
    first = asked(client, openai_scene, is_streamed=False)
    question = {"role": "user", "content": "Weather?"}
    turn = first.choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": "call_paris", "content": "sunny"}
    second = asked(
        client,
        openai_scene,
        is_streamed=False,
        messages=[question, turn, result],
        max_completion_tokens=500,
    )
    assert (HELLO.text, "stop") == (
        second.choices[0].message.content,
        second.choices[0].finish_reason,
    )
    request = openai_scene.requests[2]
    assert f"Bearer {OPENAI_CREDENTIAL}" == request.headers["authorization"]
    call = {"call_id": "call_paris", "name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert {
        "model": openai_scene.name,
        "input": [
            {"type": "message", **question},
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": "call_paris", "output": "sunny"},
        ],
        "tools": [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS],
        "reasoning": {"effort": "low"},
        "max_output_tokens": 500,
        "store": False,
        "stream": True,
    } == request.json


def test_messages_are_answered_so_too(gateway: GatewayProcess, openai_scene: Scene) -> None:
    openai_scene.script(REFUSAL, responded(PARALLEL_TOOL_CALLS))
    tools = [{"name": "get_weather", "input_schema": {"type": "object"}}]
    body = openai_scene.ask(tools=tools, max_tokens=500)
    answer = exchange(f"{gateway.base_url}/messages", body, key=API_KEY)
    assert (200, "tool_use") == (answer.status, answer.json["stop_reason"])
    assert ["text", "tool_use", "tool_use"] == [b["type"] for b in answer.json["content"]]
    assert [CHAT_PATH, RESPONSES_PATH] == [request.path for request in openai_scene.requests]


def test_what_has_no_effect_is_told(gateway: GatewayProcess, openai_scene: Scene) -> None:
    openai_scene.script(REFUSAL, responded(HELLO))
    body = openai_scene.ask(tools=TOOLS, reasoning_effort="low", seed=5)
    answer = exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    assert (200, "seed") == (answer.status, answer.headers["x-one-api-dropped-params"])


def test_what_a_response_cannot_give_is_refused(client: openai.OpenAI, openai_scene: Scene) -> None:
    openai_scene.script(REFUSAL)
    with pytest.raises(openai.BadRequestError) as caught:
        asked(client, openai_scene, is_streamed=False, n=2)
    assert ("unsupported_parameter", "n") == (caught.value.code, caught.value.param)
    assert [CHAT_PATH] == [request.path for request in openai_scene.requests]


def test_a_response_that_is_cut_ends_in_an_error(
    client: openai.OpenAI, openai_scene: Scene
) -> None:
    cut = sse_reply([*response_frames(HELLO)[:3], Close()])
    openai_scene.script(REFUSAL, cut, repeat_last=True)
    with pytest.raises(openai.APIError) as caught:
        asked(client, openai_scene, is_streamed=True)
    assert "upstream_disconnected" == caught.value.code


def test_reasoning_switched_off_stays_a_chat(client: openai.OpenAI, openai_scene: Scene) -> None:
    openai_scene.script(openai_scene.whole(ONE_TOOL_CALL))
    completion = asked(client, openai_scene, is_streamed=False, reasoning_effort="none")
    assert told_calls(ONE_TOOL_CALL) == calls_of(completion)
    assert CHAT_PATH == openai_scene.request.path
