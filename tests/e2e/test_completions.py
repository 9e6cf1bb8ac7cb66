"""Legacy text completions: passed on where the provider has them, else asked as a chat."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.conftest import API_KEY
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    DONE,
    HELLO,
    Chunk,
    Close,
    Head,
    Reply,
    json_reply,
    openai_error,
    sse_frame,
    sse_reply,
)

LOGPROBS = {
    "tokens": ["Hel", "lo"],
    "token_logprobs": [-0.1, -0.2],
    "top_logprobs": [{"Hel": -0.1}, {"lo": -0.2}],
    "text_offset": [0, 3],
}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
ENVELOPE = {"id": "cmpl-theirs", "object": "text_completion", "created": 1, "model": "theirs"}


def choice(text: str, index: int = 0, reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"text": text, "index": index, "finish_reason": reason, "logprobs": None, **more}


def whole(*choices: dict[str, Any]) -> Reply:
    return json_reply(200, {**ENVELOPE, "choices": choices, "usage": USAGE})


def frames(*choices: dict[str, Any]) -> list[bytes]:
    return [sse_frame({**ENVELOPE, "choices": [given]}) for given in choices]


STREAM = frames(choice("Hel", reason=None), choice("lo", reason=None), choice("", reason="length"))
USAGE_FRAME = sse_frame({**ENVELOPE, "choices": [], "usage": USAGE})


# -- passed on


def test_a_completion_is_passed_on_and_back(any_client: openai.OpenAI, openai_scene: Scene) -> None:
    """Prompts times `n` choices, numbered through."""
    choices = [choice(text, index) for index, text in enumerate("abcd")]
    choices[0]["logprobs"] = LOGPROBS
    openai_scene.script(whole(*choices))
    completion = any_client.completions.create(
        model=openai_scene.model,
        prompt=["one", "two"],
        n=2,
        best_of=2,
        echo=True,
        logprobs=1,
        suffix="!",
        extra_body={"min_p": 0.1},
    )
    assert "text_completion" == completion.object
    assert [(0, "a"), (1, "b"), (2, "c"), (3, "d")] == [
        (given.index, given.text) for given in completion.choices
    ]
    assert completion.choices[0].logprobs is not None
    assert LOGPROBS == completion.choices[0].logprobs.model_dump()
    assert completion.usage is not None
    assert 5 == completion.usage.total_tokens
    assert openai_scene.model == completion.model
    request = openai_scene.request
    assert "/v1/completions" == request.path
    assert {
        "model": openai_scene.name,
        "prompt": ["one", "two"],
        "n": 2,
        "best_of": 2,
        "echo": True,
        "logprobs": 1,
        "suffix": "!",
        "min_p": 0.1,
        "max_tokens": 16,
    } == request.json


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_is_passed_back(
    any_client: openai.OpenAI, openai_scene: Scene, include_usage: bool
) -> None:
    openai_scene.script(sse_reply([*STREAM, USAGE_FRAME, DONE]))
    chunks = list(
        any_client.completions.create(
            model=openai_scene.model,
            prompt="Hi",
            stream=True,
            stream_options={"include_usage": include_usage},
        )
    )
    texts = "".join(given.text for chunk in chunks for given in chunk.choices)
    assert "Hello" == texts
    assert ["length"] == [
        given.finish_reason for chunk in chunks for given in chunk.choices if given.finish_reason
    ]
    assert {"text_completion"} == {chunk.object for chunk in chunks}
    assert 1 == len({chunk.id for chunk in chunks})
    told = [chunk.usage.total_tokens for chunk in chunks if chunk.usage]
    assert ([5] if include_usage else []) == told
    assert {"include_usage": True} == openai_scene.request.json["stream_options"]


def test_a_cut_stream_tells_an_error(gateway: GatewayProcess, openai_scene: Scene) -> None:
    head = Head(200, (("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")))
    openai_scene.script((head, Chunk(STREAM[0]), Close()))
    body = {"model": openai_scene.model, "prompt": "Hi", "stream": True}
    answer = exchange(f"{gateway.base_url}/completions", body, key=API_KEY)
    assert 200 == answer.status
    assert "upstream_disconnected" == answer.events[-1]["error"]["code"]


@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("scripted", "status"),
    [
        (openai_error(404, "This is a chat model"), 404),
        (openai_error(429, "slow down"), 429),
        (openai_error(401, "bad key"), 502),
    ],
    ids=["404", "429", "401"],
)
def test_an_error_is_a_status(
    gateway: GatewayProcess, openai_scene: Scene, scripted: Reply, status: int, is_stream: bool
) -> None:
    openai_scene.script(scripted)
    body = {"model": openai_scene.model, "prompt": "Hi", "stream": is_stream}
    answer = exchange(f"{gateway.base_url}/completions", body, key=API_KEY)
    assert status == answer.status
    assert answer.error["message"]


@pytest.mark.parametrize(
    "scripted",
    [
        json_reply(200, {"error": {"message": "broken", "type": "server_error"}}),
        json_reply(200, []),
        json_reply(200, {"choices": []}),
        json_reply(200, {"choices": ["x"]}),
        json_reply(200, {"choices": [{"text": 1}]}),
    ],
    ids=["error", "list", "no choice", "no object", "no text"],
)
def test_a_reply_that_is_none_is_a_502(
    gateway: GatewayProcess, openai_scene: Scene, scripted: Reply
) -> None:
    openai_scene.script(scripted)
    body = {"model": openai_scene.model, "prompt": "Hi"}
    answer = exchange(f"{gateway.base_url}/completions", body, key=API_KEY)
    assert 502 == answer.status
    assert answer.error["message"]


def test_a_missing_usage_is_estimated(gateway: GatewayProcess, openai_scene: Scene) -> None:
    openai_scene.script(json_reply(200, {**ENVELOPE, "choices": [choice("eight ch")]}))
    body = {"model": openai_scene.model, "prompt": [1, 2, 3]}
    answer = exchange(f"{gateway.base_url}/completions", body, key=API_KEY)
    usage = answer.json["usage"]
    assert (3, 2) == (usage["prompt_tokens"], usage["completion_tokens"])


# -- as a chat


@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
def test_a_chat_model_continues_one_prompt(
    any_client: openai.OpenAI, claude_scene: Scene, is_stream: bool
) -> None:
    claude_scene.script(claude_scene.streamed())
    given = any_client.completions.create(
        model=claude_scene.model, prompt="Hello?", stop=["END"], temperature=1, stream=is_stream
    )
    completions = [given] if isinstance(given, openai.types.Completion) else list(given)
    text = "".join(c.text for completion in completions for c in completion.choices)
    assert HELLO.text == text
    assert {"text_completion"} == {completion.object for completion in completions}
    assert all(completion.id.startswith("cmpl-") for completion in completions)
    assert "stop" == completions[-1].choices[0].finish_reason
    body = claude_scene.request.json
    assert (16, ["END"]) == (body["max_tokens"], body["stop_sequences"])
    assert ["user"] == [message["role"] for message in body["messages"]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"suffix": "!"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"logprobs": 0}, "logprobs"),
        ({"best_of": 2}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
    ],
    ids=lambda value: str(value),
)
def test_what_no_chat_can_give_is_refused(
    gateway: GatewayProcess, fields: dict[str, object], param: str
) -> None:
    body = {"model": "echo", "prompt": "Hi", **fields}
    answer = exchange(f"{gateway.base_url}/completions", body, key=API_KEY)
    assert (400, "unsupported_parameter", param) == (
        answer.status,
        answer.error["code"],
        answer.error["param"],
    )


def test_what_asks_for_nothing_is_no_obstacle(gateway: GatewayProcess) -> None:
    fields = {"echo": False, "best_of": 1, "n": 1, "suffix": "", "prompt": ["Hello"]}
    answer = exchange(f"{gateway.base_url}/completions", {"model": "echo", **fields}, key=API_KEY)
    assert "Hello" == answer.json["choices"][0]["text"]


# -- requests


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1]"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"best_of": 21}, "best_of"),
        ({"best_of": 1, "n": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"stream_options": {}}, "stream_options"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
    ],
    ids=lambda value: str(value),
)
def test_a_wrong_request_names_its_field(
    gateway: GatewayProcess, fields: dict[str, object], param: str
) -> None:
    body = {"model": "echo", "prompt": "Hi", **fields}
    answer = exchange(f"{gateway.base_url}/completions", body, key=API_KEY)
    assert (400, param) == (answer.status, answer.error["param"])
    assert "unsupported_parameter" != answer.error["code"]
