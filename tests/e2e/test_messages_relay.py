"""A provider that speaks Anthropic's format gets what came, and its reply leaves as it came."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

from one_api.converter.messages.thinking import SIGNATURE_PREFIX
from tests.e2e.conftest import API_KEY, CLAUDE_CREDENTIAL
from tests.e2e.exchanges import Answer, exchange, stream
from tests.e2e.gateways import GatewayProcess, Server
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    HELLO,
    MESSAGES_PATH,
    ONE_TOOL_CALL,
    PARALLEL_TOOL_CALLS,
    REASONED,
    Hang,
    Reset,
    anthropic_error,
    anthropic_error_body,
    anthropic_events,
    anthropic_frames,
    anthropic_message,
    anthropic_message_body,
    bytes_reply,
    json_reply,
    split,
    sse_reply,
)

HI: Any = [{"role": "user", "content": "Hello?"}]
FRAMES = anthropic_frames(anthropic_events(HELLO))


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=gateway.url, api_key=API_KEY, max_retries=0, timeout=20
    ) as client:
        yield client


def ask(gateway: GatewayProcess, scene: Scene, query: str = "", **fields: Any) -> Answer:
    body = {"model": scene.model, "max_tokens": 9, "messages": HI, **fields}
    url = f"{gateway.base_url}/messages{query}"
    return exchange(url, body, headers={"x-api-key": API_KEY})


# -- requests


def test_unknown_fields_and_headers_reach_the_provider(
    any_gateway: GatewayProcess, claude_scene: Scene
) -> None:
    claude_scene.script(anthropic_message())
    body: dict[str, Any] = {
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "x_future": [1, 2.5, None, {"ä": "ö"}],
        "model": claude_scene.model,
        "max_tokens": 0,
        "system": [{"type": "text", "text": "x-anthropic-billing-header: v=1"}],
        "messages": [{"role": "user", "content": [{"type": "hologram"}]}],
    }
    headers = {
        "x-api-key": API_KEY,
        "Authorization": f"Bearer {API_KEY}",
        "anthropic-version": "2031-01-01",
        "anthropic-beta": "a-2026-01-01,b-2026-02-02",
        "anthropic-x-new": "yes",
        "cookie": "c=1",
    }
    url = f"{any_gateway.base_url}/messages?beta=true"
    assert 200 == exchange(url, body, headers=headers).status
    request = claude_scene.request
    assert (MESSAGES_PATH, "beta=true") == (request.path, request.query)
    assert {**body, "model": claude_scene.name} == request.json
    assert list(body) == list(request.json)
    given = {name: value for name, value in request.headers.items() if name.startswith("anthropic")}
    assert {name: value for name, value in headers.items() if "anthropic" in name} == given
    assert CLAUDE_CREDENTIAL == request.headers["x-api-key"]
    assert API_KEY not in str(request.raw_headers)
    assert "cookie" not in request.headers


def test_without_a_version_the_provider_gets_one(
    gateway: GatewayProcess, claude_scene: Scene
) -> None:
    claude_scene.script(anthropic_message())
    assert 200 == ask(gateway, claude_scene, temperature=0.5).status
    assert "2023-06-01" == claude_scene.request.headers["anthropic-version"]


def test_thinking_of_other_models_is_not_sent(gateway: GatewayProcess, claude_scene: Scene) -> None:
    claude_scene.script(anthropic_message())
    ours = {"type": "thinking", "thinking": "a", "signature": f"{SIGNATURE_PREFIX}00"}
    said = {"type": "text", "text": "b"}
    messages = [*HI, {"role": "assistant", "content": [ours, said]}, *HI]
    assert 200 == ask(gateway, claude_scene, messages=messages).status
    assert [said] == claude_scene.request.json["messages"][1]["content"]


# -- replies


def test_a_whole_reply_leaves_as_the_bytes_that_arrived(
    any_gateway: GatewayProcess, claude_scene: Scene
) -> None:
    raw = json.dumps({**anthropic_message_body(), "x_future": 1.50}, indent=1).encode()
    claude_scene.script(bytes_reply(200, raw, "application/json"))
    answer = ask(any_gateway, claude_scene)
    assert (200, raw) == (answer.status, answer.body)
    assert "application/json" == answer.headers["content-type"]
    assert f"claude/{claude_scene.name}" == answer.headers["x-one-api-deployment"]
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("size", [1, 7, 100_000], ids=["bytes", "sevens", "whole"])
@pytest.mark.parametrize(
    "scripted", [HELLO, PARALLEL_TOOL_CALLS, REASONED], ids=["text", "calls", "thinking"]
)
def test_a_stream_leaves_as_the_bytes_that_arrived(
    gateway: GatewayProcess, claude_scene: Scene, scripted: Any, size: int
) -> None:
    frames = anthropic_frames(anthropic_events(scripted))
    claude_scene.script(sse_reply(split(frames, size)))
    assert b"".join(frames) == ask(gateway, claude_scene, stream=True).body


def test_every_server_relays_a_stream(any_gateway: GatewayProcess, claude_scene: Scene) -> None:
    claude_scene.script(sse_reply(split(FRAMES, 50)))
    answer = ask(any_gateway, claude_scene, stream=True)
    assert b"".join(FRAMES) == answer.body
    assert "text/event-stream" == answer.headers["content-type"].partition(";")[0]


@pytest.mark.parametrize("server", ["one-api", "uvicorn"])
def test_a_client_that_leaves_frees_the_provider(
    shared_gateway: Callable[[Server], GatewayProcess], claude_scene: Scene, server: Server
) -> None:
    claude_scene.script(sse_reply([*FRAMES[:4], Hang()]))
    body = claude_scene.ask(stream=True, max_tokens=9)
    url = f"{shared_gateway(server).base_url}/messages"
    with stream(url, body, key=API_KEY) as response:
        assert response.read1().startswith(FRAMES[0])
    claude_scene.request.wait_closed(1.0)


def test_the_sdk_reads_both_forms_alike(client: anthropic.Anthropic, claude_scene: Scene) -> None:
    claude_scene.script(
        anthropic_message(ONE_TOOL_CALL),
        sse_reply(anthropic_frames(anthropic_events(ONE_TOOL_CALL))),
    )
    asked: Any = {"model": claude_scene.model, "max_tokens": 9, "messages": HI}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        streamed = events.get_final_message()
    assert whole.content == streamed.content
    assert ONE_TOOL_CALL.model == whole.model == streamed.model


def test_tokens_are_counted_by_the_provider(
    client: anthropic.Anthropic, claude_scene: Scene
) -> None:
    claude_scene.script(json_reply(200, {"input_tokens": 4711}))
    counted = client.messages.count_tokens(model=claude_scene.model, messages=HI)
    assert 4711 == counted.input_tokens
    assert f"{MESSAGES_PATH}/count_tokens" == claude_scene.request.path
    assert claude_scene.name == claude_scene.request.json["model"]


# -- errors


@pytest.mark.parametrize(
    ("status", "kind", "error_class"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (404, "not_found_error", anthropic.NotFoundError),
        (413, "request_too_large", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (529, "overloaded_error", anthropic.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_providers_errors_are_its_own(
    client: anthropic.Anthropic,
    claude_scene: Scene,
    status: int,
    kind: str,
    error_class: type[anthropic.APIStatusError],
    stream: bool,
) -> None:
    """Claude Code mends its request by the very words."""
    message = "messages.1: `tool_use` ids were found without `tool_result` blocks"
    claude_scene.script(anthropic_error(status, kind, message, {"retry-after": "3"}))
    with pytest.raises(error_class) as caught:
        client.messages.create(model=claude_scene.model, max_tokens=9, messages=HI, stream=stream)
    assert status == caught.value.status_code
    assert anthropic_error_body(kind, message) == caught.value.body
    assert "3" == caught.value.response.headers["retry-after"]


@pytest.mark.parametrize("status", [401, 403])
def test_our_refused_credential_is_not_the_clients_401(
    client: anthropic.Anthropic, claude_scene: Scene, status: int
) -> None:
    claude_scene.script(
        anthropic_error(status, "authentication_error", f"invalid x-api-key {CLAUDE_CREDENTIAL}")
    )
    with pytest.raises(anthropic.InternalServerError) as caught:
        client.messages.create(model=claude_scene.model, max_tokens=9, messages=HI)
    assert (502, "api_error") == (caught.value.status_code, caught.value.type)
    assert CLAUDE_CREDENTIAL not in str(caught.value.body)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(sse_reply(FRAMES[:4]), id="ended"),
        pytest.param(sse_reply([*FRAMES[:4], Reset()]), id="reset"),
        pytest.param(sse_reply([*FRAMES[:4], FRAMES[4][:20]]), id="in an event"),
        pytest.param(sse_reply(FRAMES[:-1]), id="before message_stop"),
    ],
)
def test_a_cut_stream_ends_in_an_error(
    gateway: GatewayProcess, claude_scene: Scene, frames: Any
) -> None:
    claude_scene.script(frames)
    answer = ask(gateway, claude_scene, stream=True)
    assert answer.body.startswith(b"".join(FRAMES[:4]))
    *_, last, nothing = answer.body.split(b"\n\n")
    assert b"" == nothing
    name, data = last.split(b"\n")
    assert b"event: error" == name
    told = json.loads(data.removeprefix(b"data: "))
    assert ("error", "api_error", answer.headers["request-id"]) == (
        told["type"],
        told["error"]["type"],
        told["request_id"],
    )


def test_an_error_told_in_a_stream_stays_the_only_one(
    gateway: GatewayProcess, claude_scene: Scene
) -> None:
    frames = [*FRAMES[:4], claude_scene.error_frame()]
    claude_scene.script(sse_reply(frames))
    assert b"".join(frames) == ask(gateway, claude_scene, stream=True).body
