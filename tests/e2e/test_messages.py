"""Anthropic's own SDK against models of any provider, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anthropic
import pytest

from one_api.converter.messages.thinking import SIGNATURE_PREFIX
from tests.e2e.conftest import API_KEY, CLAUDE_MODELS
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    DONE,
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    TOOL_CALL_WITHOUT_ARGUMENTS,
    Answer,
    Hang,
    TokenCount,
    openai_chunks,
    openai_completion,
    openai_frames,
    split,
    sse_reply,
)

HI: Any = [{"role": "user", "content": "Hello, world"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ANSWERS = [
    pytest.param(HELLO, id="text"),
    pytest.param(ONE_TOOL_CALL, id="tool call"),
    pytest.param(PARALLEL_TOOL_CALLS, id="tool calls"),
    pytest.param(TOOL_CALL_WITHOUT_ARGUMENTS, id="no arguments"),
    pytest.param(REASONED, id="reasoning"),
    pytest.param(Answer(usage=TokenCount(prompt=100, cached=80)), id="cached"),
    pytest.param(Answer(finish_reason="length"), id="cut"),
    pytest.param(Answer(words=()), id="nothing"),
]
SdkOf = Callable[[GatewayProcess], anthropic.Anthropic]


@pytest.fixture(scope="module")
def sdk_of() -> Iterator[SdkOf]:
    """Anthropic's SDK for a gateway; made once for each, since making one is slow."""
    clients: dict[GatewayProcess, anthropic.Anthropic] = {}

    def client_of(process: GatewayProcess) -> anthropic.Anthropic:
        if process not in clients:
            clients[process] = anthropic.Anthropic(
                base_url=process.url, api_key=API_KEY, max_retries=0, timeout=20
            )
        return clients[process]

    yield client_of
    for client in clients.values():
        client.close()


@pytest.fixture
def client(gateway: GatewayProcess, sdk_of: SdkOf) -> anthropic.Anthropic:
    return sdk_of(gateway)


@pytest.fixture
def any_client(any_gateway: GatewayProcess, sdk_of: SdkOf) -> anthropic.Anthropic:
    return sdk_of(any_gateway)


def streamed(client: anthropic.Anthropic, model: str, **fields: Any) -> anthropic.types.Message:
    """The message that the SDK accumulates from a stream."""
    with client.messages.stream(model=model, max_tokens=99, messages=HI, **fields) as events:
        return events.get_final_message()


def created(client: anthropic.Anthropic, model: str, **fields: Any) -> anthropic.types.Message:
    """The message that the SDK reads in a whole reply."""
    message: anthropic.types.Message = client.messages.create(
        model=model, max_tokens=99, messages=HI, **fields
    )
    return message


def facts(message: anthropic.types.Message) -> dict[str, Any]:
    """What a message says, without its id."""
    told: dict[str, Any] = message.to_dict(mode="json")
    for block in told["content"]:
        block.pop("parsed_output", None)
    return {key: value for key, value in told.items() if key != "id"}


# -- conversations


def test_echo_answers(any_client: anthropic.Anthropic) -> None:
    whole, stream = created(any_client, "echo"), streamed(any_client, "echo")
    (block,) = whole.content
    assert ("text", "Hello, world") == (block.type, getattr(block, "text", None))
    assert ("message", "assistant", "echo", "end_turn", (2, 2)) == (
        whole.type,
        whole.role,
        whole.model,
        whole.stop_reason,
        (whole.usage.input_tokens, whole.usage.output_tokens),
    )
    assert whole.id.startswith("msg_")
    assert facts(whole) == facts(stream)


@pytest.mark.parametrize("answer", ANSWERS)
def test_streams_and_whole_replies_say_the_same(
    client: anthropic.Anthropic, openai_scene: Scene, answer: Answer
) -> None:
    openai_scene.script(openai_completion(answer), sse_reply(openai_frames(openai_chunks(answer))))
    whole = created(client, openai_scene.model)
    assert facts(whole) == facts(streamed(client, openai_scene.model))


@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["bytes", "sevens", "whole"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_stream_may_come_in_any_pieces(
    client: anthropic.Anthropic, openai_scene: Scene, answer: Answer, size: int
) -> None:
    frames = openai_frames(openai_chunks(answer))
    openai_scene.script(sse_reply(frames), sse_reply(split(frames, size)))
    expected = facts(streamed(client, openai_scene.model))
    assert expected == facts(streamed(client, openai_scene.model))


def test_p38_a_call_and_cached_tokens(client: anthropic.Anthropic, openai_scene: Scene) -> None:
    answer = Answer(
        words=("x",),
        tool_calls=ONE_TOOL_CALL.tool_calls,
        usage=TokenCount(prompt=100, completion=9, cached=80),
    )
    openai_scene.script(openai_completion(answer))
    message = created(client, openai_scene.model, tools=[WEATHER])
    assert [
        {"type": "text", "text": "x"},
        {
            "type": "tool_use",
            "id": "call_paris",
            "name": "get_weather",
            "input": {"city": "Paris"},
        },
    ] == facts(message)["content"]
    assert ("tool_use", 20, 80, 9) == (
        message.stop_reason,
        message.usage.input_tokens,
        message.usage.cache_read_input_tokens,
        message.usage.output_tokens,
    )


def test_a_turn_with_parallel_calls_goes_round(
    client: anthropic.Anthropic, openai_scene: Scene
) -> None:
    """What the SDK got can be sent back as it is, and the provider knows its calls again."""
    openai_scene.script(
        sse_reply(openai_frames(openai_chunks(PARALLEL_TOOL_CALLS))), openai_completion(HELLO)
    )
    asked = streamed(client, openai_scene.model, tools=[WEATHER])
    uses = [block for block in asked.content if block.type == "tool_use"]
    results: Any = [
        {"type": "tool_result", "tool_use_id": use.id, "content": f"result of {use.name}"}
        for use in uses
    ]
    reply = client.messages.create(
        model=openai_scene.model,
        max_tokens=9,
        tools=[WEATHER],
        messages=[*HI, asked.to_param(), {"role": "user", "content": results}],
    )
    assert "end_turn" == reply.stop_reason
    _, said, first, second = openai_scene.requests[-1].json["messages"]
    assert "Let me look." == said["content"]
    assert ["call_paris", "call_time"] == [call["id"] for call in said["tool_calls"]]
    assert [
        {"role": "tool", "tool_call_id": "call_paris", "content": "result of get_weather"},
        {"role": "tool", "tool_call_id": "call_time", "content": "result of get_time"},
    ] == [first, second]


def test_the_provider_gets_a_chat_request(client: anthropic.Anthropic, openai_scene: Scene) -> None:
    openai_scene.script(openai_completion())
    client.beta.messages.create(
        model=openai_scene.model,
        max_tokens=7,
        system="be brief",
        stop_sequences=["X"],
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "adaptive"},
        context_management={"edits": []},
        betas=["context-management-2025-06-27"],
        messages=HI,
    )
    request = openai_scene.request
    assert {
        "model": openai_scene.name,
        "messages": [{"role": "system", "content": "be brief"}, *HI],
        "max_completion_tokens": 7,
        "stop": ["X"],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": WEATHER["name"],
                    "description": WEATHER["description"],
                    "parameters": WEATHER["input_schema"],
                },
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    } == request.json
    assert not [name for name in request.headers if name.startswith("anthropic")]
    assert API_KEY not in str(request.raw_headers)


def test_long_tool_names_come_back_as_they_were(
    client: anthropic.Anthropic, openai_scene: Scene
) -> None:
    name = "mcp__a_server_with_a_long_name__" + "x" * 60
    openai_scene.script(openai_completion(HELLO))
    created(client, openai_scene.model, tools=[{**WEATHER, "name": name}])
    short = openai_scene.request.json["tools"][0]["function"]["name"]
    assert len(short) <= 64
    (call,) = ONE_TOOL_CALL.tool_calls
    renamed = type(call)(short, call.arguments, call.id)
    answer = Answer(words=(), tool_calls=(renamed,))
    openai_scene.script(sse_reply(openai_frames(openai_chunks(answer))))
    message = streamed(client, openai_scene.model, tools=[{**WEATHER, "name": name}])
    assert [name] == [block.name for block in message.content if block.type == "tool_use"]


def test_reasoning_is_thinking_with_our_signature(
    client: anthropic.Anthropic, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion(REASONED))
    thinking, text = created(client, openai_scene.model).content
    assert thinking.type == "thinking"
    assert REASONED.reasoning_text == thinking.thinking
    assert thinking.signature.startswith(SIGNATURE_PREFIX)
    assert "text" == text.type


FIVE_STOPS = ["1", "2", "3", "4", "###"]
COUNTED = Answer(words=("one #", "# two #", "## three"))


def test_more_stop_sequences_than_the_provider_takes_end_the_answer(
    any_client: anthropic.Anthropic, openai_scene: Scene
) -> None:
    openai_scene.script(
        openai_completion(COUNTED),
        # Nothing but the stop sequence ends this one.
        sse_reply([*openai_frames(openai_chunks(COUNTED)[:-2], done=False), Hang()]),
    )
    for message in (
        created(any_client, openai_scene.model, stop_sequences=FIVE_STOPS),
        streamed(any_client, openai_scene.model, stop_sequences=FIVE_STOPS),
    ):
        told = facts(message)
        assert [{"type": "text", "text": "one ## two "}] == told["content"]
        assert ("stop_sequence", "###") == (message.stop_reason, message.stop_sequence)
        assert message.usage.input_tokens > 0
        assert message.usage.output_tokens > 0
    whole, stream = openai_scene.requests
    assert [False, False] == ["stop" in request.json for request in (whole, stream)]
    stream.wait_closed()


def test_stop_sequences_that_the_answer_has_not_leave_it_whole(
    client: anthropic.Anthropic, openai_scene: Scene
) -> None:
    replies = (openai_completion(COUNTED), sse_reply(openai_frames(openai_chunks(COUNTED))))
    openai_scene.script(*replies, *replies)
    absent = [*"12345"]
    expected = facts(created(client, openai_scene.model))
    assert ("end_turn", None) == (expected["stop_reason"], expected["stop_sequence"])
    assert expected == facts(streamed(client, openai_scene.model))
    assert expected == facts(created(client, openai_scene.model, stop_sequences=absent))
    assert expected == facts(streamed(client, openai_scene.model, stop_sequences=absent))


def test_a_model_without_stop_sequences_keeps_to_them(client: anthropic.Anthropic) -> None:
    for message in (
        created(client, "echo", stop_sequences=["wo"]),
        streamed(client, "echo", stop_sequences=["wo"]),
    ):
        assert [{"type": "text", "text": "Hello, "}] == facts(message)["content"]
        assert ("stop_sequence", "wo") == (message.stop_reason, message.stop_sequence)


def test_usage_that_the_provider_never_tells_is_estimated(
    client: anthropic.Anthropic, openai_scene: Scene
) -> None:
    silent = Answer(usage=None)
    openai_scene.script(sse_reply(openai_frames(openai_chunks(silent))), openai_completion(silent))
    for message in (streamed(client, openai_scene.model), created(client, openai_scene.model)):
        assert "end_turn" == message.stop_reason
        assert message.usage.input_tokens
        assert message.usage.output_tokens


# -- the stream as bytes


def named(body: bytes) -> list[str]:
    """The names of the events of a stream."""
    frames = body.split(b"\n\n")
    assert b"" == frames.pop()
    return [frame.split(b"\n")[0].removeprefix(b"event: ").decode() for frame in frames]


def ask(
    gateway: GatewayProcess, model: str, path: str = "/messages?beta=true", **fields: Any
) -> Any:
    body = {"model": model, "max_tokens": 99, "messages": HI, **fields}
    return exchange(f"{gateway.base_url}{path}", body, headers={"x-api-key": API_KEY})


def test_p39_every_event_is_named_and_in_order(
    any_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(sse_reply(openai_frames(openai_chunks(HELLO))))
    answer = ask(any_gateway, openai_scene.model, stream=True)
    assert "text/event-stream; charset=utf-8" == answer.headers["content-type"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == named(answer.body)
    assert DONE not in answer.body


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(openai_frames(openai_chunks(HELLO))[:2], id="cut"),
        pytest.param(
            [
                *openai_frames(openai_chunks(HELLO))[:2],
                b'data: {"error":{"message":"scripted failure","code":502}}\n\n',
            ],
            id="told",
        ),
    ],
)
def test_a_failure_after_the_first_words_is_an_event(
    client: anthropic.Anthropic, openai_scene: Scene, frames: Sequence[bytes]
) -> None:
    openai_scene.script(sse_reply(frames), sse_reply(frames))
    with pytest.raises(anthropic.APIStatusError) as caught:
        streamed(client, openai_scene.model)
    body: Any = caught.value.body
    assert ("error", "api_error") == (body["type"], body["error"]["type"])


def test_dropped_parameters_are_told(gateway: GatewayProcess) -> None:
    search = {"type": "web_search_20260209", "name": "web_search"}
    answer = ask(gateway, "echo", top_k=3, temperature=0.5, tools=[WEATHER, search])
    assert 200 == answer.status
    assert "temperature,tools[1],top_k" == answer.headers["x-one-api-dropped-params"]


# -- no tokens, counting, models


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_p41_no_tokens_are_answered_without_asking_anybody(
    gateway: GatewayProcess, openai_scene: Scene, stream: bool
) -> None:
    answer = ask(gateway, openai_scene.model, max_tokens=0, stream=stream)
    assert 200 == answer.status
    if stream:
        assert ["message_start", "message_delta", "message_stop"] == named(answer.body)
    else:
        assert ([], "max_tokens") == (answer.json["content"], answer.json["stop_reason"])
    assert [] == openai_scene.requests


def test_tokens_are_counted_here(client: anthropic.Anthropic, openai_scene: Scene) -> None:
    few = client.messages.count_tokens(model=openai_scene.model, messages=HI)
    more = client.messages.count_tokens(
        model=openai_scene.model, messages=HI, system="be brief " * 20, tools=[WEATHER]
    )
    assert 0 < few.input_tokens < more.input_tokens
    assert [] == openai_scene.requests


def test_models_are_listed_and_found(client: anthropic.Anthropic) -> None:
    (name,) = CLAUDE_MODELS
    assert name in {model.id for model in client.models.list(limit=1000)}
    assert name == client.models.retrieve(name).id
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("no-such/model")
    assert "not_found_error" == caught.value.type


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_p41_claude_code_is_greeted(any_gateway: GatewayProcess, method: str) -> None:
    assert 200 == exchange(f"{any_gateway.url}/api/hello", method=method).status


def test_claude_codes_request_is_understood(gateway: GatewayProcess, openai_scene: Scene) -> None:
    openai_scene.script(sse_reply(openai_frames(openai_chunks(HELLO))))
    answer = ask(
        gateway,
        openai_scene.model,
        stream=True,
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2"},
            {"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}},
        ],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": [{"type": "text", "text": "c"}]},
            {"role": "system", "content": "It is late."},
        ],
        thinking={"type": "adaptive"},
        output_config={"effort": "medium"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": json.dumps({"device_id": "d" * 64, "session_id": "s" * 36})},
    )
    assert 200 == answer.status
    told = openai_scene.request.json
    assert [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "system", "content": "It is late."},
    ] == told["messages"]
    assert ("medium", 64) == (told["reasoning_effort"], len(told["safety_identifier"]))
    assert "context_management" not in told
