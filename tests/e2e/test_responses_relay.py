"""Responses of a provider that has them itself: everything but name and credential is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import openai
import pytest

from tests.e2e.conftest import API_KEY, OPENAI_CREDENTIAL, StartGateway
from tests.e2e.exchanges import Answer, exchange, stream
from tests.e2e.gateways import GatewayProcess
from tests.e2e.scenes import Scene
from tests.scripted_upstream import (
    CHAT_PATH,
    HELLO,
    Close,
    Gate,
    Hang,
    Hold,
    Reset,
    Send,
    Step,
    bytes_reply,
    json_reply,
    openai_completion,
    openai_error_body,
    openai_stream,
    split,
    sse_frame,
    sse_reply,
)

PATH = "/v1/responses"
#: As no JSON library of ours would write it: order, spaces, escapes, unknown fields.
WHOLE = (
    b'{"status":"completed", "id":"resp_theirs","object":"response","created_at":5,"model":"m",'
    b'"x_future":{"a": [1, 2.50, 1e3]},"parallel_tool_calls":true,"tool_choice":"auto","tools":[],'
    b'"output":[{"type":"message","id":"msg_theirs","status":"completed","role":"assistant",'
    b'"content":[{"type":"output_text","text":"H\\u00e9\xc3\xa9\\/","annotations":[]}]}]}'
)
MESSAGE = b'{"type":"message","id":"i","status":"in_progress","role":"assistant","content":[]}'
FRAMES = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response": '
    b'{"id":"resp_theirs","object":"response","output":[]}}\n\n',
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added",'
    b'"output_index":0,"sequence_number":1,"item":' + MESSAGE + b"}\n\n",
    b'event: response.content_part.added\ndata: {"type":"response.content_part.added",'
    b'"item_id":"i","output_index":0,"content_index":0,"sequence_number":2,'
    b'"part":{"type":"output_text","text":"","annotations":[]}}\n\n',
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    b'"item_id":"i","output_index":0,"content_index":0,"sequence_number":3,"delta":"H\\u00e9",'
    b'"logprobs":[],"obfuscation":"xyz"}\n\n',
    b'event: response.output_item.done\ndata: {"type":"response.output_item.done",'
    b'"output_index":0,"sequence_number":4,"item":' + MESSAGE + b"}\n\n",
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":5,'
    b'"response":' + WHOLE.replace(b"msg_theirs", b"i") + b"}\n\n",
)


def asked(gateway: GatewayProcess, scene: Scene, **fields: Any) -> Answer:
    body = {"model": scene.model, "input": "Hello?", **fields}
    return exchange(f"{gateway.base_url}/responses", body, key=API_KEY)


def test_a_whole_response_leaves_as_the_bytes_that_arrived(
    any_gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(bytes_reply(200, WHOLE, "application/json"))
    answer = asked(any_gateway, openai_scene)
    assert (200, WHOLE) == (answer.status, answer.body)
    assert f"openai/{openai_scene.name}" == answer.headers["x-one-api-deployment"]


@pytest.mark.parametrize("size", [1, 7, 4096], ids=["bytes", "sevens", "whole"])
def test_a_stream_leaves_as_the_bytes_that_arrived(
    gateway: GatewayProcess, openai_scene: Scene, size: int
) -> None:
    openai_scene.script(sse_reply(split(FRAMES, size)))
    answer = asked(gateway, openai_scene, stream=True)
    assert b"".join(FRAMES) == answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_sdk_reads_the_stream(any_client: openai.OpenAI, openai_scene: Scene) -> None:
    openai_scene.script(sse_reply(FRAMES))
    with any_client.responses.stream(model=openai_scene.model, input="?") as events:
        response = events.get_final_response()
    assert ("resp_theirs", "Héé/") == (response.id, response.output_text)


def test_request_arrives_as_it_was_but_for_model_and_credential(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    openai_scene.script(bytes_reply(200, WHOLE, "application/json"))
    fields = {
        "previous_response_id": "resp_0",
        "store": True,
        "tools": [{"type": "web_search"}, {"type": "custom", "name": "c"}],
        "background": False,
        "conversation": None,
        "x_future": {"a": [1, 2.5]},
    }
    asked(gateway, openai_scene, **fields)
    request = openai_scene.request
    assert (PATH, f"Bearer {OPENAI_CREDENTIAL}") == (request.path, request.headers["authorization"])
    assert {"model": openai_scene.name, "input": "Hello?", **fields} == request.json
    assert API_KEY not in str(request.raw_headers)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([], id="ended"),
        pytest.param([Close()], id="closed"),
        pytest.param([Reset()], id="reset"),
        pytest.param([FRAMES[-1][:40], Close()], id="within an event"),
    ],
)
def test_a_stream_that_is_cut_ends_in_an_error(
    gateway: GatewayProcess, client: openai.OpenAI, openai_scene: Scene, end: Sequence[bytes | Step]
) -> None:
    openai_scene.script(sse_reply([*FRAMES[:4], *end]), repeat_last=True)
    answer = asked(gateway, openai_scene, stream=True)
    told = b"".join(FRAMES[:4])
    assert answer.body.startswith(told)
    last = answer.body.removeprefix(told)
    assert last.startswith(b'event: error\ndata: {"type":"error"')
    assert b'"sequence_number":4}' in last
    with (
        pytest.raises(openai.APIError) as caught,
        client.responses.stream(model=openai_scene.model, input="?") as events,
    ):
        events.until_done()
    assert "upstream_disconnected" == caught.value.code


def test_a_body_that_is_cut_is_an_error(gateway: GatewayProcess, openai_scene: Scene) -> None:
    head, _ = bytes_reply(200, WHOLE, "application/json")
    openai_scene.script([head, Send(WHOLE[:50]), Close()])
    answer = asked(gateway, openai_scene)
    assert (502, "upstream_disconnected") == (answer.status, answer.error["code"])


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_credential_is_ours(
    gateway: GatewayProcess, openai_scene: Scene, status: int, is_streamed: bool
) -> None:
    openai_scene.script(openai_scene.refused(status, f"Wrong key {OPENAI_CREDENTIAL}"))
    answer = asked(gateway, openai_scene, stream=is_streamed)
    assert (502, "upstream_authentication_error") == (answer.status, answer.error["code"])
    assert OPENAI_CREDENTIAL not in answer.body.decode()


@pytest.mark.parametrize("status", [400, 429, 500])
def test_other_errors_are_the_clients_to_see(
    gateway: GatewayProcess, openai_scene: Scene, status: int
) -> None:
    openai_scene.script(openai_scene.refused(status, "Their words.", retry_after="7"))
    answer = asked(gateway, openai_scene)
    assert (status, "Their words.", "7") == (
        answer.status,
        answer.error["message"],
        answer.headers["retry-after"],
    )


def test_what_was_not_found_there_is_told(gateway: GatewayProcess, openai_scene: Scene) -> None:
    body = openai_error_body("No such response.", param="previous_response_id")
    openai_scene.script(json_reply(404, body))
    answer = asked(gateway, openai_scene, previous_response_id="resp_0")
    assert (404, "No such response.") == (answer.status, answer.error["message"])


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(json_reply(404, {"detail": "Not Found"}), id="JSON"),
        pytest.param(bytes_reply(404, b"404 page not found", "text/plain"), id="text"),
        pytest.param(json_reply(405, openai_error_body("Not allowed.")), id="405"),
    ],
)
def test_an_endpoint_that_is_missing_all_the_same_is_made_up_for(
    client: openai.OpenAI, openai_scene: Scene, refusal: Sequence[Step]
) -> None:
    """The row for OpenAI is also the one for any other server, by its base URL."""
    openai_scene.script(refusal, openai_completion(HELLO), refusal, openai_stream(HELLO))
    response = client.responses.create(model=openai_scene.model, input="Hello?")
    assert HELLO.text == response.output_text
    with client.responses.stream(model=openai_scene.model, input="Hello?") as events:
        assert HELLO.text == events.get_final_response().output_text
    assert [PATH, CHAT_PATH] * 2 == [request.path for request in openai_scene.requests]


def test_an_error_instead_of_a_stream_has_its_status(
    client: openai.OpenAI, openai_scene: Scene
) -> None:
    openai_scene.script(openai_scene.refused(429))
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model=openai_scene.model, input="Hello?", stream=True)


def test_an_error_event_of_the_provider_is_the_end(
    gateway: GatewayProcess, openai_scene: Scene
) -> None:
    error = sse_frame({"type": "error", "code": "x", "message": "m", "param": None}, event="error")
    openai_scene.script(sse_reply([FRAMES[0], error]))
    assert FRAMES[0] + error == asked(gateway, openai_scene, stream=True).body


def test_leaving_midway_frees_the_provider(gateway: GatewayProcess, openai_scene: Scene) -> None:
    openai_scene.script(sse_reply([*FRAMES[:4], Hang()]))
    body = {"model": openai_scene.model, "input": "?", "stream": True}
    with stream(f"{gateway.base_url}/responses", body, key=API_KEY) as response:
        arrived = b""
        while FRAMES[3] not in arrived:
            arrived += response.read1()
    openai_scene.request.wait_closed(1.0)


def test_silence_is_bridged_until_the_first_event(
    start_gateway: StartGateway, providers: Mapping[str, str], scene: Scene
) -> None:
    early = start_gateway({**providers, "STREAM_OPEN_AFTER_S": "0.1"})
    gate = Gate()
    scene.script((Hold(gate), *scene.refused(429, "slow down")))
    body = {"model": scene.model, "input": "?", "stream": True}
    with stream(f"{early.base_url}/responses", body, key=API_KEY) as response:
        assert b": ping\n\n" == response.read1()
        gate.open()
        rest = response.read()
    assert b'"message":"slow down"' in rest
    assert 1 == rest.count(b"data:")
