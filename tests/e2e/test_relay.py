"""What speaks OpenAI's format already is passed on, not rewritten; what is ours stays ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from tests.e2e.conftest import API_KEY, CLAUDE_CREDENTIAL, OPENAI_CREDENTIAL
from tests.e2e.exchanges import exchange
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    DONE,
    HELLO,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    Answer,
    anthropic_stream,
    openai_chunks,
    openai_completion,
    openai_completion_body,
    openai_frames,
    split,
    sse_frame,
    sse_reply,
)

MESSAGES: Any = [{"role": "user", "content": "Hello?"}]
#: A stream as no JSON library of ours would write it: order, spaces, escapes, unknown fields.
HAND_WRITTEN = (
    b'data: {"created": 5,  "id":"c-1", "model":"m","object":"chat.completion.chunk",'
    b'"choices":[{"delta":{"role":"assistant","content":""},"index":0,"finish_reason":null}]}\n\n',
    b'data: {"x_future":{"a": [1, 2.50, 1e3]},"id":"c-1","created":5,"model":"m",'
    b'"object":"chat.completion.chunk",'
    b'"choices":[{"index":0,"delta":{"content":"\\u00e9\xc3\xa9\\/"},"finish_reason":null}]}\n\n',
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":5,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c-1","object":"chat.completion.chunk","created":5,"model":"m",'
    b'"choices":[], "usage":{"prompt_tokens":1, "completion_tokens":1,"total_tokens":2}}\n\n',
    DONE,
)
LONG = Answer(words=tuple(f"word{number} " for number in range(300)))


def relayed(gateway: GatewayProcess, scene: Scene, **fields: Any) -> bytes:
    answer = exchange(
        f"{gateway.base_url}/chat/completions", scene.ask(stream=True, **fields), key=API_KEY
    )
    assert 200 == answer.status
    return answer.body


@pytest.mark.parametrize("size", [1, 7, 4096], ids=["bytes", "sevens", "whole"])
@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(openai_frames(openai_chunks(HELLO)), id="text"),
        pytest.param(openai_frames(openai_chunks(ONE_TOOL_CALL)), id="tool call"),
        pytest.param(openai_frames(openai_chunks(PARALLEL_TOOL_CALLS)), id="tool calls"),
        pytest.param(HAND_WRITTEN, id="hand-written"),
    ],
)
def test_a_stream_leaves_as_the_bytes_that_arrived(
    gateway: GatewayProcess, openai_scene: Scene, frames: Sequence[bytes], size: int
) -> None:
    openai_scene.script(sse_reply(split(frames, size)))
    body = relayed(gateway, openai_scene, stream_options={"include_usage": True})
    assert b"".join(frames) == body


def test_a_long_stream_is_relayed_by_every_server(
    any_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    frames = openai_frames(openai_chunks(LONG))
    openai_scene.script(sse_reply(split(frames, 1000)))
    body = relayed(any_gateway, openai_scene, stream_options={"include_usage": True})
    assert b"".join(frames) == body


def test_usage_that_was_not_asked_for_is_all_that_is_missing(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    """The provider is always asked for it: the gateway itself wants to know."""
    frames = openai_frames(openai_chunks(HELLO))
    openai_scene.script(sse_reply(frames))
    body = relayed(gateway, openai_scene)
    assert b"".join([*frames[:-2], DONE]) == body
    assert {"include_usage": True} == openai_scene.request.json["stream_options"]


def test_a_whole_reply_leaves_as_the_bytes_that_arrived(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion())
    answer = exchange(f"{gateway.base_url}/chat/completions", openai_scene.ask(), key=API_KEY)
    wanted = json.dumps(openai_completion_body(), ensure_ascii=False, separators=(",", ":"))
    assert wanted.encode() == answer.body


# -- requests


def test_unknown_fields_reach_an_openai_upstream(
    any_client: openai.OpenAI, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion())
    extra = {"top_k": 40, "provider": {"order": ["a"]}, "chat_template_kwargs": {"on": True}}
    any_client.chat.completions.create(
        model=openai_scene.model, messages=MESSAGES, temperature=0.25, extra_body=extra
    )
    wanted = {"model": openai_scene.name, "messages": MESSAGES, "temperature": 0.25, **extra}
    assert wanted == openai_scene.request.json


def test_unknown_fields_of_messages_reach_an_openai_upstream(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion())
    messages = [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}], "y": [2]}]
    body = {**openai_scene.ask(), "messages": messages}
    exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    assert messages == openai_scene.request.json["messages"]


def test_large_bodies_reach_the_upstream_whole(
    any_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion())
    body = openai_scene.ask("é" * 1_500_000)
    answer = exchange(f"{any_gateway.base_url}/chat/completions", body, key=API_KEY)
    assert 200 == answer.status
    assert body["messages"] == openai_scene.request.json["messages"]


def test_of_duplicate_keys_the_upstream_gets_the_one_that_was_authorised(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    """Two readers of one body may take different duplicates: only our own reading is sent on."""
    openai_scene.script(openai_completion())
    body = (
        b'{"model":"echo","messages":[{"role":"user","content":"first"}],'
        b'"messages":[{"role":"user","content":"last"}],"model":"%b"}'
    ) % openai_scene.model.encode()
    answer = exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    assert 200 == answer.status
    sent = openai_scene.request.body
    assert (1, 1) == (sent.count(b'"model"'), sent.count(b'"messages"'))
    assert [{"role": "user", "content": "last"}] == openai_scene.request.json["messages"]


HOSTILE_HEADERS = {
    "X-Api-Key": "callers-own",
    "OpenAI-Organization": "org-of-the-caller",
    "Cookie": "session=callers",
    "X-Forwarded-For": "203.0.113.9",
    "Anthropic-Version": "1999-01-01",
    "X-Request-Id": "req-of-the-caller",
    "User-Agent": "callers-agent/1.0",
}


def test_no_header_of_the_client_reaches_openai(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(openai_completion())
    url = f"{gateway.base_url}/chat/completions"
    exchange(url, openai_scene.ask(), headers=HOSTILE_HEADERS, key=API_KEY)
    headers = openai_scene.request.headers
    assert f"Bearer {OPENAI_CREDENTIAL}" == headers["authorization"]
    assert not {*HOSTILE_HEADERS.values(), API_KEY} & {*headers.values()}
    assert {"host", "authorization", "content-type", "content-length", "user-agent"} <= {*headers}
    assert not {"cookie", "x-api-key", "x-forwarded-for", "openai-organization"} & {*headers}


def test_no_header_of_the_client_reaches_claude(
    gateway: GatewayProcess, claude_scene: Scene
) -> None:
    claude_scene.script(anthropic_stream())
    url = f"{gateway.base_url}/chat/completions"
    exchange(url, claude_scene.ask(), headers=HOSTILE_HEADERS, key=API_KEY)
    headers = claude_scene.request.headers
    assert CLAUDE_CREDENTIAL == headers["x-api-key"]
    assert not {*HOSTILE_HEADERS.values(), API_KEY} & {*headers.values()}
    assert not {"authorization", "cookie", "x-forwarded-for"} & {*headers}


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://127.0.0.1:1/v1", "api_base": "http://127.0.0.1:1/v1"},
        {"api_key": "callers-own", "organization": "callers", "extra_headers": {"x-evil": "1"}},
    ],
    ids=["host", "credential"],
)
def test_no_field_of_the_client_changes_who_is_asked_or_as_whom(
    gateway: GatewayProcess, openai_scene: Scene, fields: dict[str, Any]
) -> None:
    openai_scene.script(openai_completion())
    body = openai_scene.ask(**fields)
    answer = exchange(f"{gateway.base_url}/chat/completions", body, key=API_KEY)
    assert 200 == answer.status
    headers = openai_scene.request.headers
    assert f"Bearer {OPENAI_CREDENTIAL}" == headers["authorization"]
    assert "x-evil" not in headers


def test_frames_with_comments_and_odd_line_ends_are_mended(
    client: openai.OpenAI, openai_scene: Scene
) -> None:
    frames = openai_frames(openai_chunks(HELLO))
    sloppy = [b": hello\n\n", *(frame.replace(b"\n", b"\r\n") for frame in frames)]
    openai_scene.script(sse_reply(split(sloppy, 5)))
    with client.chat.completions.create(
        model=openai_scene.model, messages=MESSAGES, stream=True
    ) as stream:
        assert HELLO.text == "".join(c.choices[0].delta.content or "" for c in stream)


def test_a_frame_that_is_not_json_is_left_out(client: openai.OpenAI, openai_scene: Scene) -> None:
    frames = openai_frames(openai_chunks(HELLO))
    openai_scene.script(sse_reply([*frames[:2], sse_frame(b"{oops"), *frames[2:]]))
    with client.chat.completions.create(
        model=openai_scene.model, messages=MESSAGES, stream=True
    ) as stream:
        assert HELLO.text == "".join(c.choices[0].delta.content or "" for c in stream)
